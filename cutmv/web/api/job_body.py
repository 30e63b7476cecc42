"""What a job is asked for by, as a pydantic model, which checks and documents it."""

from collections.abc import Collection, Mapping
from typing import Annotated, Any, cast

from pydantic import BaseModel, ConfigDict, Field, create_model

from cutmv.jobs import OPTIONS, JobRequest, Option, Wanted, WantedClip, usual_aspects

#: Characters of a clip and its label, and of a list of as many clips as a job may have.
MAX_CLIP_CHARS, MAX_CLIP_LIST_CHARS = 200, 50_000
#: Clips of each kind in a body.
MAX_CLIPS = 200

Word = Annotated[str, Field(min_length=1, max_length=20)]
Part = Annotated[float, Field(ge=0, le=1)]


def _field(option: Option) -> tuple[Any, Any]:
    """What pydantic makes the field for an option of."""
    told: Any = Field(
        default=option.default,
        description=option.asked.told,
        ge=option.asked.least,
        strict=True if option.form == "flag" else None,
    )
    bounded = {"point": tuple[Part, Part], "words": tuple[Word, ...]}
    return bounded.get(option.form, option.hint), told


def _own_field(option: Option) -> tuple[Any, Any]:
    """The same for an option of one clip, of which nothing need be said."""
    kind, told = _field(option)
    told.default = None
    return kind | None, told


_WANTED: dict[str, Any] = {name: _field(option) for name, option in OPTIONS.items()}
#: Whether clips are one film is a matter of all of them.
_OWN: dict[str, Any] = {n: _own_field(each) for n, each in OPTIONS.items() if n != "join"}


class _Clip(BaseModel):
    """A clip with wishes of its own: what is not among them is as the job has it."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    text: str = Field(description="START-END, as in `clips`.", max_length=MAX_CLIP_CHARS)
    label: str = Field(default="", description="It names the results.", max_length=MAX_CLIP_CHARS)

    def to_wanted(self, of_job: Mapping[str, Any]) -> WantedClip:
        """The clip as the dispatcher takes it, with what else the job wants."""
        own = {name: getattr(self, name) for name in self.model_fields_set & OPTIONS.keys()}
        # What can't be none is left to the job where it is.
        own = {n: v for n, v in own.items() if v is not None or OPTIONS[n].default is None}
        wanted = Wanted(**_with_shapes({**of_job, **own}, own)) if own else None
        return WantedClip(self.text, self.label, wanted)


WantedClipBody = create_model("WantedClip", __base__=_Clip, **_OWN)


class _Clips(BaseModel):
    """What to make of an upload."""

    model_config = ConfigDict(extra="forbid", title="JobRequest", allow_inf_nan=False)

    upload_id: str = Field(
        description="The id that POST /api/uploads answered.", pattern="^[0-9a-z-]{1,64}$"
    )
    clips: list[Annotated[str, Field(max_length=MAX_CLIP_CHARS)]] = Field(
        default=[],
        description="START-END each: seconds, MM:SS.mmm or HH:MM:SS:FF; END is not part of it."
        " A label may stand before or after.",
        examples=[["0:05-0:12.5", "63-70 Chorus"]],
        min_length=1,
        max_length=MAX_CLIPS,
    )
    wanted_clips: list[WantedClipBody] = Field(  # type: ignore[valid-type]  # made above
        default=[],
        description="More clips, each with a label and with wishes of its own; what it does not"
        " wish is as for the others.",
        max_length=MAX_CLIPS,
    )
    clip_list: str = Field(
        default="",
        description="More clips, as a text of lines: clips with labels, chapters, CSV or an EDL.",
        examples=["0:00 Intro\n0:31 Verse"],
        max_length=MAX_CLIP_LIST_CHARS,
    )

    def to_request(self) -> JobRequest:
        """The request as the dispatcher takes it."""
        of_all = {name: getattr(self, name) for name in OPTIONS}
        wanted = _with_shapes(of_all, self.model_fields_set)
        own = cast(list[_Clip], self.wanted_clips)
        return JobRequest(
            **wanted,
            upload_id=self.upload_id,
            clips=tuple(self.clips),
            wanted_clips=tuple(each.to_wanted(wanted) for each in own),
            clip_list=self.clip_list,
        )


#: The clips, and what to make of each.
JobBody = create_model("JobBody", __base__=_Clips, **_WANTED)


def _with_shapes(wanted: dict[str, Any], given: Collection[str]) -> dict[str, Any]:
    """What is wanted, in the shapes that are usual beside the outputs that are `given`, if any."""
    others = ("presets", "canvas", "sounds")
    if "aspects" in given or not set(others) & set(given):
        return wanted
    return {**wanted, "aspects": usual_aspects(*(wanted[name] for name in others))}
