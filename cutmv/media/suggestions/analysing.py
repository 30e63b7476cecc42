"""Have the engine look at a whole video and listen to it."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

from cutmv.install import install_command, missing_packages
from cutmv.media.engine.analysis.request import Analyse
from cutmv.media.errors import MediaError
from cutmv.media.info import MediaInfo
from cutmv.media.remote.cache import Cache
from cutmv.media.running.engine_process import analyse as have_analysed
from cutmv.media.source import readable
from cutmv.media.suggestions.analysis import Analysis

#: The modules that an analysis needs beyond those of a cut, and the extra that installs them.
PACKAGES, EXTRA = ("scenedetect", "cv2", "numpy"), "suggest"
#: Seconds of the longest video that is analysed.
LONGEST_S = 3 * 3600.0
#: Pixels of the largest video of which each picture is decoded, all its pictures together: an hour
#: of 1080p at 30 pictures a second, which two cores decode in six minutes.
ALL_PICTURES_PIXELS = 230e9
#: Seconds that an analysis may take for its start, and for each 10⁸ pixels.
START_S, HUNDRED_MILLION_S = 60.0, 3.0


def analysis_limit_s(info: MediaInfo) -> float:
    """The seconds that the analysis of a video may take."""
    return START_S + float(info.length) + _pixels(info) / 1e8 * HUNDRED_MILLION_S


def analyse(
    source: str | Path,
    info: MediaInfo,
    *,
    on_progress: Callable[[float], None] = lambda _percent: None,
    cancelled: Callable[[], bool] | None = None,
    timeout_s: float | None = None,
    cache: Cache | None = None,
) -> Analysis:
    """Look at `source`, a path or an HTTP URL, of which `info` is known; `cache` keeps its bytes.

    `on_progress` is given the percent of the video that is read. Raises MediaError when it can't
    be analysed, RenderTimeout after `timeout_s` seconds (default: `analysis_limit_s`),
    MediaUnavailable when the network failed, Cancelled within a second of `cancelled()`.
    """
    if missing_packages(PACKAGES):
        raise MediaError(f"Suggestions need more packages: {install_command(EXTRA)}")
    video = info.video
    if video is None:
        raise MediaError("The file has no picture: send a video.")
    if info.length > LONGEST_S:
        hours = LONGEST_S / 3600
        raise MediaError(f"The video is longer than {hours:.0f} hours: suggestions are of less.")
    rough = _pixels(info) > ALL_PICTURES_PIXELS
    with readable(source, cache) as opened:
        wanted = Analyse(
            source=opened.name,
            demuxer=info.container,
            video=video.index,
            audio=info.audio.index if info.audio else None,
            start=Fraction(info.start_s),
            length=info.length,
            rate=video.frame_rate,
            keys_only=rough,
        )
        found = have_analysed(
            wanted,
            on_progress=lambda told: on_progress(100.0 * told["pictures"] / max(1, told["of"])),
            cancelled=cancelled,
            timeout_s=analysis_limit_s(info) if timeout_s is None else timeout_s,
        )
    on_progress(100.0)
    return _analysis(info, found, rough)


def _analysis(info: MediaInfo, found: dict[str, Any], rough: bool) -> Analysis:
    pictures, sound = found["pictures"], found.get("sound")
    heard = (
        {
            "silence": tuple((start, end) for start, end in sound["silence"]),
            "loudness": tuple(sound["loudness"]),
            "tempo": sound["tempo"],
            "meter": sound["meter"],
            "beats": tuple(sound["beats"]),
            "downbeats": tuple(sound["downbeats"]),
            "beat_pictures": tuple(found["starts"]["beats"]),
        }
        if sound
        else {}
    )
    video = info.video
    evenly = video is not None and not video.variable
    return Analysis(
        length_s=float(info.length),
        rate=float(video.frame_rate) if video and evenly else None,
        first=pictures["first"],
        end=pictures["end"],
        scenes=tuple(pictures["scenes"]),
        black=tuple((start, end) for start, end in found["black"]["spans"]),
        movement=tuple(pictures["movement"]),
        half_pictures=tuple(found["found"]["halves"]),
        sound=sound is not None,
        rough=rough,
        **heard,
    )


def _pixels(info: MediaInfo) -> float:
    video = info.video
    if video is None:
        return 0.0
    return video.coded_width * video.coded_height * float(video.frame_rate * info.length)
