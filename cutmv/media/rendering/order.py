"""An output as it is ordered, and as it is finished."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from cutmv.media.engine.protocol import Like, Part
from cutmv.media.errors import MediaError, MediaUnavailable
from cutmv.media.plan import RenderPlan
from cutmv.media.rendering.progress import Progress


@dataclass(frozen=True)
class Rendered:
    """A finished output: seconds, frames, bytes, pixels.

    `copied` frames are the source's own, bit for bit; `reason` says why none are where all could
    have been. Of a film that is encoded whole `encoder` is FFmpeg's name of what encoded it, and
    `quality` says how finely, and why. `sound` is "copied" or "encoded", none where there is none.
    `seconds` are those of each stage (see `engine.protocol.Made`), and of what outputs that were
    made together shared a part: time is divided among those that were in the making then, by what
    each is expected to take, so that all add up to what was spent. `read_bytes` are those of the
    source that came from the storage, by so many `requests`; of a file on this machine, for which
    there are none, those that were read: until it was finished, and for those beside it, too.
    `warnings` are sentences about the source and the sound.
    """

    duration_s: float
    frames: int
    size_bytes: int
    width: int
    height: int
    copied: int = 0
    reason: str | None = None
    encoder: str | None = None
    quality: str | None = None
    sound: str | None = None
    read_bytes: int | None = None
    requests: int | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """This as JSON has it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Self:
        """The inverse of `to_dict`; what a later version has told beside it is left out."""
        known = {each.name: plain[each.name] for each in fields(cls) if each.name in plain}
        return cls(**{**known, "warnings": tuple(known.get("warnings", ()))})


@dataclass(frozen=True)
class Order:
    """One output to make at `destination`, and who is told of its progress, and when it is there.

    The picture is joined of `parts` where there are some, or encoded, perhaps `like` another.
    """

    plan: RenderPlan
    destination: Path
    on_progress: Callable[[Progress], None] = lambda _progress: None
    parts: tuple[Part, ...] = ()
    on_made: Callable[[Rendered], None] = lambda _rendered: None
    like: Like | None = None


#: An output that is made, or why it could not be.
Result = Rendered | MediaError | MediaUnavailable
