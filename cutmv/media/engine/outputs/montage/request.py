"""What is asked for: one film of many clips of a source."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Piece:
    """The picture of a clip, at `path`; `start` and `end` are seconds on the source's clock."""

    path: str
    start: Fraction
    end: Fraction


@dataclass(frozen=True, slots=True)
class Montage:
    """A film at `path` of `pieces`, in their order, and of their sound in `source`.

    `video` is the index of the picture's stream in the source, `tracks` those of each track of the
    sound, as in a `Request`; the film has a `loudness` in LUFS and a rate in
    `hertz` where they are wanted.
    """

    source: str
    demuxer: str
    path: str
    muxer: str
    pieces: tuple[Piece, ...]
    video: int
    tracks: tuple[tuple[int, ...], ...]
    loudness: float | None = None
    hertz: int | None = None

    def to_json(self) -> dict[str, Any]:
        """This as JSON has it; fractions as "NUMERATOR/DENOMINATOR"."""
        pieces = [
            {"path": each.path, "start": str(each.start), "end": str(each.end)}
            for each in self.pieces
        ]
        return asdict(self) | {"pieces": pieces}

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Self:
        """The inverse of `to_json`."""
        pieces = tuple(
            Piece(each["path"], Fraction(each["start"]), Fraction(each["end"]))
            for each in plain["pieces"]
        )
        return cls(**{**plain, "pieces": pieces, "tracks": tuple(map(tuple, plain["tracks"]))})
