"""Ask ffprobe what is in a file."""

import json
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from cutmv.media.binaries import ffprobe_path
from cutmv.media.child import Limits, run
from cutmv.media.errors import MediaError, explain
from cutmv.media.info import AudioStream, MediaInfo, VideoStream
from cutmv.media.source import demuxer_of, input_args, readable

#: Seconds for looking at a file's headers, over a slow network too.
PROBE_TIMEOUT_S = 60.0
#: Bytes of memory that looking may take.
PROBE_MEMORY_BYTES = 4 * 2**30
#: How far apart, in relation, the average and the base frame rate of an even video may be.
EVEN_RATE = Fraction(1, 200)


def probe(
    source: str | Path,
    *,
    timeout_s: float = PROBE_TIMEOUT_S,
    cancelled: Callable[[], bool] | None = None,
) -> MediaInfo:
    """What is in the video `source`, a path or an HTTP URL.

    Raises MediaError when it is no video we can read, MediaUnavailable when the network failed,
    Cancelled within a second of `cancelled()`.
    """
    shown = ["-show_format", "-show_streams"]
    with readable(source) as name:
        demuxer = demuxer_of(name)
        found = ask(name, demuxer, shown, timeout_s=timeout_s, cancelled=cancelled)
    container = found.get("format", {})
    streams = found.get("streams", [])
    video = next((s for s in streams if s.get("codec_type") == "video" and not _is_cover(s)), None)
    audio = next((s for s in streams if s.get("codec_type") == "audio"), None)
    duration_s = _number(container.get("duration")) or 0.0
    # What an encoder puts before zero to get going, no player shows.
    start_s = max(0.0, _number(container.get("start_time")) or 0.0)
    picture = _video(video, start_s, duration_s) if video else None
    if picture and demuxer == "mpegts":  # its clock has no zero, and starts with the sound's
        start_s = picture.start_s
    info = MediaInfo(
        container=demuxer,
        size_bytes=int(container.get("size", 0)),
        duration_s=duration_s,
        start_s=start_s,
        video=picture,
        audio=_audio(audio) if audio else None,
    )
    if info.video is None:
        raise MediaError("The file has no picture: send a video.")
    if info.duration_s <= 0:
        raise MediaError("The file has no length: it is cut short, or not a finished video.")
    return info


def keyframes(source: str | Path, *, timeout_s: float = PROBE_TIMEOUT_S) -> list[float]:
    """The times of all keyframes of the first picture, in seconds from the file's start.

    Reads the whole file, without decoding it. Raises as `probe` does.
    """
    info = probe(source, timeout_s=timeout_s)
    picture = str(info.video.index) if info.video else "v:0"
    shown = ["-show_entries", "packet=pts_time,flags", "-select_streams", picture]
    with readable(source) as name:
        found = ask(name, info.container, shown, timeout_s=timeout_s)
    return sorted(
        round(float(packet["pts_time"]) - info.start_s, 6)
        for packet in found.get("packets", [])
        if packet.get("flags", "").startswith("K") and _number(packet.get("pts_time")) is not None
    )


def ask(
    source: str,
    demuxer: str,
    shown: Sequence[str],
    *,
    timeout_s: float,
    what: str = "The video can't be read",
    cancelled: Callable[[], bool] | None = None,
) -> dict[str, Any]:
    """The JSON that ffprobe answers about `source`, a readable name, for `shown`, its options.

    Raises as `probe` does, RenderTimeout after `timeout_s` seconds, and Cancelled.
    """
    lines: list[str] = []
    argv = [ffprobe_path(), "-v", "error", "-print_format", "json", *shown]
    limits = Limits(memory_bytes=PROBE_MEMORY_BYTES, output_bytes=0, time_s=timeout_s)
    argv += input_args(source, demuxer)
    ended = run(argv, limits=limits, on_line=lines.append, cancelled=cancelled)
    if ended.code != 0:
        raise explain(what, ended.code, ended.stderr, source)
    found: dict[str, Any] = json.loads("\n".join(lines))
    return found


def _video(stream: dict[str, Any], start_s: float, duration_s: float) -> VideoStream:
    average, base = _fraction(stream.get("avg_frame_rate")), _fraction(stream.get("r_frame_rate"))
    rate = average or base
    width, height = int(stream.get("width", 0)), int(stream.get("height", 0))
    if rate is None or not width or not height:
        raise MediaError("The video's picture can't be read: its codec is damaged or unknown.")
    # The base rate is the more exact of the two: an average suffers from a last short frame.
    even = base is not None and abs(rate - base) <= base * EVEN_RATE
    rotation = _rotation(stream)
    pixel = _fraction(str(stream.get("sample_aspect_ratio")).replace(":", "/"))
    shown = (round(width * (pixel or 1)), height)
    own_start_s = _number(stream.get("start_time"))
    return VideoStream(
        index=int(stream["index"]),
        codec=str(stream.get("codec_name", "unknown")),
        width=shown[1] if rotation % 180 else shown[0],
        height=shown[0] if rotation % 180 else shown[1],
        coded_width=width,
        coded_height=height,
        rotation=rotation,
        frame_rate=base if even and base else rate,
        variable=not even,
        time_base=_fraction(stream.get("time_base")) or Fraction(1, 90_000),
        start_s=start_s if own_start_s is None else own_start_s,
        duration_s=_number(stream.get("duration")) or duration_s,
        pix_fmt=str(stream.get("pix_fmt", "unknown")),
        color_range=_known(stream.get("color_range")),
        color_primaries=_known(stream.get("color_primaries")),
        color_transfer=_known(stream.get("color_transfer")),
        color_space=_known(stream.get("color_space")),
    )


def _audio(stream: dict[str, Any]) -> AudioStream:
    return AudioStream(
        index=int(stream["index"]),
        codec=str(stream.get("codec_name", "unknown")),
        channels=int(stream.get("channels", 0)),
        sample_rate=int(stream.get("sample_rate", 0)),
    )


def _is_cover(stream: dict[str, Any]) -> bool:
    return bool(stream.get("disposition", {}).get("attached_pic"))


def _rotation(stream: dict[str, Any]) -> int:
    """Degrees clockwise, of the display matrix: ffprobe gives them counter-clockwise."""
    for data in stream.get("side_data_list", ()):
        if "rotation" in data:
            return -int(data["rotation"]) % 360
    return 0


def _fraction(text: Any) -> Fraction | None:
    try:
        value = Fraction(str(text))
    except (ValueError, ZeroDivisionError):
        return None
    return value if value > 0 else None


def _number(text: Any) -> float | None:
    try:
        return float(text)
    except (TypeError, ValueError):
        return None


def _known(text: Any) -> str | None:
    return None if text in (None, "unknown", "unspecified") else str(text)
