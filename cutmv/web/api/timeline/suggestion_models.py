"""The query and the answer of suggestions, as pydantic models; see `models`."""

from pydantic import BaseModel, ConfigDict, Field

from cutmv.jobs import DerivativeState
from cutmv.media import (
    MOST_SUGGESTED,
    SHORTEST_SUGGESTED_S,
    SUGGESTED_CLIPS,
    SUGGESTED_S,
    BeginOn,
)
from cutmv.web.api.models import Seconds


class SuggestionsQuery(BaseModel):
    """Which clips to suggest."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    clips: int = Field(default=SUGGESTED_CLIPS, ge=1, le=MOST_SUGGESTED)
    length_s: float = Field(
        default=SUGGESTED_S, ge=SHORTEST_SUGGESTED_S, description="Seconds of each, at most."
    )
    on: BeginOn = Field(default="any", description="What clips begin on.")


class SuggestionOut(BaseModel):
    """A clip that is suggested: from `start` to before `end`, in seconds."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field(description="The clip, as POST /api/jobs takes it.")
    start: Seconds
    end: Seconds
    score: float = Field(ge=0, le=1)
    label: str
    reasons: list[str]


class SuggestionsOut(BaseModel):
    """Suggestions, the best first, or how far the analysis is that they need."""

    model_config = ConfigDict(extra="forbid")

    state: DerivativeState
    percent: float = Field(ge=0, le=100)
    notes: list[str]
    clips: list[SuggestionOut]
    scenes: list[Seconds] = Field(description="When scenes begin, but the first.")
    beats: list[Seconds] = Field(description="When the pictures nearest to the beats are shown.")
