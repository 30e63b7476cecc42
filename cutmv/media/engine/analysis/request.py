"""What a parent asks for when it wants to know where a video may be cut."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Analyse:
    """Look at the picture `video` of `source`, and listen to its sound `audio`, if any.

    `start` is where the file starts on its own clock, and `length` how long it is, in seconds;
    `rate` the pictures a second. With `keys_only` only key pictures are decoded.
    """

    source: str
    demuxer: str
    video: int
    audio: int | None
    start: Fraction
    length: Fraction
    rate: Fraction
    keys_only: bool = False

    def to_json(self) -> dict[str, Any]:
        """This as JSON has it; fractions as "NUMERATOR/DENOMINATOR"."""
        times = {name: str(getattr(self, name)) for name in ("start", "length", "rate")}
        return asdict(self) | times

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Self:
        """The inverse of `to_json`."""
        times = {name: Fraction(plain[name]) for name in ("start", "length", "rate")}
        return cls(**{**plain, **times})
