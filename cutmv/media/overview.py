"""Have the engine show a whole video at once: small pictures of it, and how loud it is."""

from base64 import b64decode
from collections.abc import Callable
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol, Self

from cutmv.media.engine.overview.request import OverviewRequest
from cutmv.media.errors import MediaError
from cutmv.media.info import MediaInfo, VideoStream
from cutmv.media.remote.cache import Cache
from cutmv.media.running.engine_process import overview as have_overview
from cutmv.media.source import readable

#: The version of what is found, and of how; what another version kept is found anew.
VERSION = 1
#: Pixels of a small picture's height, and of its width at most.
HEIGHT, WIDEST = 90, 240
#: Pixels of the largest video of which each picture is decoded, all its pictures together: a minute
#: of 1080p at 30 pictures a second. Of a larger one key pictures are.
ALL_PICTURES_PIXELS = 4e9
#: Seconds that an overview may take for its start, for each second of the video, and for each
#: million bytes of it.
START_S, OF_SECOND_S, OF_MILLION_S = 120.0, 0.1, 0.2


@dataclass(frozen=True)
class Sheet:
    """Small pictures in one JPEG, `columns` in a row; `times` (s) are when each is shown."""

    times: tuple[float, ...]
    columns: int


@dataclass(frozen=True)
class Overview:
    """What is known of a whole video at once; all times in seconds from the file's start.

    Small pictures, of `width` and `height` in pixels, are on `sheets`. There are `peaks` of the
    sound, so many a second, or none yet; of all of it, or `rough`. `keys` are when key pictures are
    shown, as far as that is known.
    """

    width: int
    height: int
    sheets: tuple[Sheet, ...] = ()
    peaks: float | None = None
    rough: bool = True
    keys: tuple[float, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """This as JSON has it, with the version."""
        return {"version": VERSION} | asdict(self)

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Self | None:
        """The inverse of `to_json`; none of another version's."""
        if plain.get("version") != VERSION:
            return None
        sheets = tuple(Sheet(tuple(each["times"]), each["columns"]) for each in plain["sheets"])
        told = {name: each for name, each in plain.items() if name != "version"}
        return cls(**told | {"sheets": sheets, "keys": tuple(plain["keys"])})


class OverviewTaker(Protocol):
    """Who is told of a video, part by part; what it raises ends the looking."""

    def sheet(self, sheet: Sheet, jpeg: bytes) -> None:
        """Take some small pictures."""

    def peaks(self, a_second: float, peaks: bytes, *, rough: bool) -> None:
        """Take the peaks of the sound, lowest and highest of each while, as signed bytes."""

    def keys(self, times: tuple[float, ...]) -> None:
        """Take when key pictures are shown (s)."""


def empty_overview(info: MediaInfo) -> Overview:
    """The overview of a video of which nothing is seen yet."""
    video = _picture(info)
    width, height = _size(video)
    return Overview(*((height, width) if video.rotation % 180 else (width, height)))


def overview_limit_s(info: MediaInfo) -> float:
    """The seconds that the overview of a video may take."""
    return START_S + float(info.length) * OF_SECOND_S + info.size_bytes / 1e6 * OF_MILLION_S


def overview(
    source: str | Path,
    info: MediaInfo,
    taker: OverviewTaker,
    *,
    on_progress: Callable[[float], None] = lambda _percent: None,
    cancelled: Callable[[], bool] | None = None,
    timeout_s: float | None = None,
    cache: Cache | None = None,
) -> None:
    """Tell `taker` of `source`, a path or an HTTP URL, of which `info` is known.

    `cache` keeps its bytes. Raises MediaError when it can't be seen, RenderTimeout after
    `timeout_s` seconds (default: `overview_limit_s`), MediaUnavailable when the network failed,
    Cancelled within a second of `cancelled()`, and what `taker` raises.
    """
    video = _picture(info)
    width, height = _size(video)
    pixels = video.coded_width * video.coded_height * float(video.frame_rate * info.length)
    with readable(source, cache) as opened:
        wanted = OverviewRequest(
            source=opened.name,
            demuxer=info.container,
            video=video.index,
            audio=info.audio.index if info.audio else None,
            start=Fraction(info.start_s),
            length=info.length,
            width=width,
            height=height,
            filters=_turning(video),
            every_picture=pixels <= ALL_PICTURES_PIXELS,
        )
        hearers: dict[str, Callable[[Any], None]] = {
            "sheet": lambda told: taker.sheet(
                Sheet(tuple(map(float, told["times"])), int(told["columns"])),
                b64decode(told["jpeg"]),
            ),
            "peaks": lambda told: taker.peaks(
                float(told["a_second"]), b64decode(told["peaks"]), rough=not told["whole"]
            ),
            "keys": lambda told: taker.keys(tuple(map(float, told["times"]))),
            "progress": lambda told: on_progress(100.0 * told["pictures"] / max(1, told["of"])),
        }
        have_overview(
            wanted,
            hearers,
            cancelled=cancelled,
            timeout_s=overview_limit_s(info) if timeout_s is None else timeout_s,
        )
    on_progress(100.0)


def _picture(info: MediaInfo) -> VideoStream:
    if info.video is None:
        raise MediaError("The file has no picture: send a video.")
    return info.video


def _size(video: VideoStream) -> tuple[int, int]:
    """The size of a small picture before it is turned, both even."""
    width = min(WIDEST, max(2, round(HEIGHT * video.width / video.height / 2) * 2))
    return (HEIGHT, width) if video.rotation % 180 else (width, HEIGHT)


def _turning(video: VideoStream) -> tuple[tuple[str, str], ...]:
    """The filters that turn a small picture as it is shown."""
    mirrored = (("hflip", ""),) if video.mirrored else ()
    turns = {
        90: (("transpose", "clock"),),
        180: (("hflip", ""), ("vflip", "")),
        270: (("transpose", "cclock"),),
    }
    return mirrored + turns.get(video.rotation, ())
