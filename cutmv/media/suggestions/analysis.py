"""What is known of a video by looking at it and listening to it."""

from dataclasses import asdict, dataclass
from typing import Any, Self

#: The version of what is found, and of how; what another version kept is found anew.
VERSION = 1
#: Seconds for which one figure of `loudness` and of `movement` stands.
STRIDE_S = 0.5

Span = tuple[float, float]


@dataclass(frozen=True)
class Analysis:
    """What was seen and heard; all times in seconds from the file's start.

    Pictures are shown from `first` to `end`, `rate` a second, unless they are not evenly spaced;
    then `rate` is none. `scenes` are the first pictures of scenes but the first. `loudness` is in
    decibels below full scale and `movement` the mean change of a pixel (of 255) from picture to
    picture, each by half second. `tempo` is in beats a minute, none without a beat; `meter` counts
    the beats of a bar, none where that is not clear. `beat_pictures` has the picture that is
    nearest to each of `beats`, and `half_pictures` the first of each half second. With `rough` only
    key pictures were looked at.
    """

    length_s: float
    rate: float | None
    first: float
    end: float
    scenes: tuple[float, ...]
    black: tuple[Span, ...]
    movement: tuple[float, ...]
    half_pictures: tuple[float, ...]
    sound: bool
    silence: tuple[Span, ...] = ()
    loudness: tuple[float, ...] = ()
    tempo: float | None = None
    meter: int | None = None
    beats: tuple[float, ...] = ()
    downbeats: tuple[float, ...] = ()
    beat_pictures: tuple[float, ...] = ()
    rough: bool = False

    def to_json(self) -> dict[str, Any]:
        """This as JSON has it, with the version."""
        return {"version": VERSION} | asdict(self)

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Self | None:
        """The inverse of `to_json`; none of another version's."""
        if plain.get("version") != VERSION:
            return None
        spans = {name: tuple(map(tuple, plain[name])) for name in ("black", "silence")}
        lists = {name: tuple(each) for name, each in plain.items() if isinstance(each, list)}
        return cls(**{**{k: v for k, v in plain.items() if k != "version"}, **lists, **spans})
