"""The body and the answer of lists of clips, as pydantic models; see `models`."""

from pydantic import BaseModel, ConfigDict, Field

from cutmv.web.api.job_body import MAX_CLIP_LIST_CHARS
from cutmv.web.api.models import Seconds


class ClipListBody(BaseModel):
    """A list of clips, in any form that is read."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field(
        description="Clips with labels, chapters, CSV or an EDL.",
        examples=["0:00 Intro\n0:31 Verse"],
        max_length=MAX_CLIP_LIST_CHARS,
    )


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ListedClipOut(_Answer):
    """A clip of a list: from `start` to before `end`, in seconds; its label may be empty."""

    text: str = Field(description="The clip, as POST /api/jobs takes it.")
    label: str
    start: Seconds
    end: Seconds


class WrongLineOut(_Answer):
    """A line that can't be read, by its number from 1."""

    line: int
    text: str
    why: str


class ClipListOut(_Answer):
    """What a list names, in its order, and a few of the lines that can't be read."""

    clips: list[ListedClipOut]
    wrong: list[WrongLineOut]
