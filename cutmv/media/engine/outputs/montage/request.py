"""What is asked for: one film of many clips."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Source:
    """One source of the clips, as a `Request` has it: its picture's stream, and those of sound."""

    name: str
    demuxer: str
    video: int
    tracks: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """The picture of a clip, at `path`; `start` and `end` are seconds on its source's clock.

    `source` is the place of that among others. A clip without a `label` is called as the source's
    chapter there, or else by its `text`.
    """

    path: str
    start: Fraction
    end: Fraction
    source: int = 0
    label: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Montage:
    """A film at `path` of `pieces`, in their order, and of their sound in the `sources`.

    A film `with_texts` has the sources' texts and chapters, and a chapter for each clip. It has a
    `loudness` in LUFS and a rate in `hertz` where they are wanted.
    """

    sources: tuple[Source, ...]
    path: str
    muxer: str
    pieces: tuple[Piece, ...]
    with_texts: bool = False
    loudness: float | None = None
    hertz: int | None = None

    def to_json(self) -> dict[str, Any]:
        """This as JSON has it; fractions as "NUMERATOR/DENOMINATOR"."""
        pieces = [
            asdict(each) | {"start": str(each.start), "end": str(each.end)} for each in self.pieces
        ]
        return asdict(self) | {"pieces": pieces}

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Self:
        """The inverse of `to_json`."""
        pieces = tuple(
            Piece(**{**each, "start": Fraction(each["start"]), "end": Fraction(each["end"])})
            for each in plain["pieces"]
        )
        sources = tuple(
            Source(**{**each, "tracks": tuple(map(tuple, each["tracks"]))})
            for each in plain["sources"]
        )
        return cls(**{**plain, "pieces": pieces, "sources": sources})
