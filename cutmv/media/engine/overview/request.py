"""What a parent asks for when it wants to show a whole video at once."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class OverviewRequest:
    """Make small pictures of the picture `video` of `source`, and peaks of its sound `audio`.

    `start` is where the file starts on its own clock, and `length` how long it is, in seconds. A
    small picture is scaled to `width` and `height` in pixels, and then goes through `filters`, each
    with its options, which turn it. With `every_picture` all are decoded, else key pictures alone.
    """

    source: str
    demuxer: str
    video: int
    audio: int | None
    start: Fraction
    length: Fraction
    width: int
    height: int
    filters: tuple[tuple[str, str], ...] = ()
    every_picture: bool = False

    def to_json(self) -> dict[str, Any]:
        """This as JSON has it; fractions as "NUMERATOR/DENOMINATOR"."""
        return asdict(self) | {"start": str(self.start), "length": str(self.length)}

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Self:
        """The inverse of `to_json`."""
        times = {name: Fraction(plain[name]) for name in ("start", "length")}
        filters = tuple((name, options) for name, options in plain["filters"])
        return cls(**{**plain, **times, "filters": filters})
