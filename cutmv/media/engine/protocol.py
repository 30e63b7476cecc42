"""What a parent asks of the engine, and what it is told: JSON documents, one a line."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from fractions import Fraction
from typing import Any, Literal, Self

#: Whether packets are copied: wherever that is exact, never, or else nothing is made.
Copying = Literal["auto", "never", "always"]


@dataclass(frozen=True, slots=True)
class Look:
    """A look at what is in `source`.

    With `keyframes` it tells when each keyframe is shown, with `near` when those before some times
    are, and with `bars` what lies inside the black bars from one time to another; all are in
    seconds on the file's own clock, and fractions are "NUMERATOR/DENOMINATOR". With `streams` it
    tells of each stream and chapter.
    """

    source: str
    demuxer: str
    keyframes: bool = False
    near: tuple[str, ...] = ()
    bars: tuple[str, str] | None = None
    streams: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a film's picture, at `path`: a film without sound, encoded by itself.

    It begins at `start`, in seconds on the source's clock.
    """

    path: str
    start: Fraction


@dataclass(frozen=True, slots=True)
class Like:
    """A picture in a file, as a `Request` has it, that another is encoded like.

    The other has a quality of its own, as x264's CRF.
    """

    source: str
    demuxer: str
    video: int
    crf: float


@dataclass(frozen=True, slots=True)
class Output:
    """One output of a clip, at `path`.

    A film is muxed by the engine into a container, `muxer`, with the clip's sound; what is none is
    written by the program alone. `filters` bring the pictures into the output's shape, and
    `arguments` encode them. `copying` is for a film that keeps the source's pictures as they are.
    The filters of a film make as many `pictures`, where not one of each of the clip's, and last
    `length_s` seconds, where not as long as the clip. A `silent` film has no sound; in others it
    fades in and out in `fade_s` seconds, as the filters have the picture do, and has a `loudness`
    in LUFS where one is wanted, and a rate in `hertz` with two channels at most. What is `alone` is
    the sound without a picture, as "m4a", "mp3", "wav" or "flac". With `sharpest` the clip's
    sharpest picture stands for all. Where there are `parts` they are joined, and no picture is
    encoded. What is made of the clip's beginning alone is made of what comes before its `end`, in
    seconds on the file's own clock. `holds` are the bytes of memory that it takes to make it,
    about, and `weight` is how long that takes beside others, by which they share time. A film
    `with_texts` has the source's texts and chapters. What will be
    `joined` with others has edges even where nothing lies between them; what comes of another
    source is encoded `like` their picture. With `neighbours` the
    picture right before the clip goes through the filters, too, and the one right after, and they
    drop these.
    """

    path: str
    filters: str
    arguments: tuple[str, ...]
    muxer: str | None = None
    copying: Copying = "never"
    pictures: int | None = None
    length_s: float | None = None
    silent: bool = False
    fade_s: float = 0.0
    loudness: float | None = None
    hertz: int | None = None
    alone: str | None = None
    sharpest: bool = False
    with_texts: bool = False
    joined: bool = False
    like: Like | None = None
    parts: tuple[Part, ...] = ()
    end: Fraction | None = None
    holds: int = 0
    weight: float = 1.0
    neighbours: tuple[bool, bool] = (False, False)


@dataclass(frozen=True, slots=True)
class Request:
    """A clip of `source`, from `start` to before `end` in seconds on the file's own clock.

    `video` is the index of the picture's stream, `tracks` those of each track of the sound: one, or
    one of the left channel and one of the right. A film has all tracks, what is sound alone the
    first.
    `program` is the FFmpeg that filters and encodes. The outputs account for all time `since` then,
    in seconds of the system's monotonic clock.
    """

    source: str
    demuxer: str
    start: Fraction
    end: Fraction
    video: int
    tracks: tuple[tuple[int, ...], ...]
    program: str
    outputs: tuple[Output, ...]
    threads: int | None = None
    since: float | None = None

    def to_json(self) -> dict[str, Any]:
        """This as JSON has it; fractions as "NUMERATOR/DENOMINATOR"."""
        plain = asdict(self) | {"start": str(self.start), "end": str(self.end)}
        for each in plain["outputs"]:
            each["end"] = each["end"] and str(each["end"])
            for part in each["parts"]:
                part["start"] = str(part["start"])
        return plain

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Self:
        """The inverse of `to_json`."""
        outputs = tuple(
            Output(
                **{
                    **each,
                    "arguments": tuple(each["arguments"]),
                    "parts": _parts(each),
                    "like": each["like"] and Like(**each["like"]),
                    "end": each["end"] and Fraction(each["end"]),
                }
            )
            for each in plain["outputs"]
        )
        times = {name: Fraction(plain[name]) for name in ("start", "end")}
        tracks = tuple(map(tuple, plain["tracks"]))
        return cls(**{**plain, **times, "outputs": outputs, "tracks": tracks})


def _parts(output: dict[str, Any]) -> tuple[Part, ...]:
    return tuple(Part(each["path"], Fraction(each["start"])) for each in output["parts"])


@dataclass(frozen=True, slots=True)
class Made:
    """An output that is finished: pictures in it, how many of them are copied, its length (s).

    `sound` is "copied" or "encoded", none where there is none; `reason` says why nothing is copied
    where that was asked for. `left_out` is a sentence about what else the source has, if it has;
    `warnings` are others about the source, as far as the clip reaches. `seconds` are those of each
    stage: "open" the source, "find" the clip in it, "copy", wait for the "edges", decode
    and "encode" whole outputs, "sound", "write", "check", and all "other"; what several share is
    divided. `read_bytes` are those of the source that the engine had read when it was finished,
    again where it read them again.
    """

    path: str
    pictures: int
    copied: int
    length_s: float
    width: int
    height: int
    sound: str | None = None
    reason: str | None = None
    left_out: str | None = None
    warnings: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    read_bytes: int = 0

    def to_json(self) -> dict[str, Any]:
        """This as JSON has it."""
        return asdict(self)

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Self:
        """The inverse of `to_json`."""
        return cls(**{**plain, "warnings": tuple(plain["warnings"])})


@dataclass(frozen=True, slots=True)
class Failed:
    """An output that could not be made, and why.

    `kind` says whose the message is: the engine's own, of the "source", of what is "uncopyable" or
    "unjoinable"; the system's, whose disk does not give the source, which is "lost"; FFmpeg's
    "program"; FFmpeg's "libraries", which say more on standard error.
    """

    path: str
    kind: Literal["source", "lost", "uncopyable", "unjoinable", "program", "libraries"]
    message: str
