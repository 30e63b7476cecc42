"""Probe a video: ask ffprobe what is in it."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from cutmv.media.errors import MediaError
from cutmv.media.ffprobe import ask
from cutmv.media.info import AudioStream, MediaInfo, VideoStream
from cutmv.media.source import demuxer_of, readable
from cutmv.media.timeline import from_first_keyframe, measured

#: Seconds that reading a file's headers may take, over a slow network too.
PROBE_TIMEOUT_S = 60.0
#: The difference between average and base frame rate, as a part of the latter, up to which frames
#: count as evenly spaced.
MAX_RATE_DIFFERENCE = Fraction(1, 200)


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
        container, streams = found.get("format", {}), found.get("streams", [])
        video = _first(streams, "video")
        audio = _first(streams, "audio")
        if video is None:
            raise MediaError("The file has no picture: send a video.")
        duration_s = _number(container.get("duration")) or 0.0
        # No player shows what an encoder puts before zero to start up.
        start_s = max(0.0, _number(container.get("start_time")) or 0.0)
        picture = _video(video, start_s, duration_s)
        if duration_s <= 0 or _fraction(video.get("avg_frame_rate")) is None:
            picture = measured(name, demuxer, picture, cancelled=cancelled)
            duration_s = duration_s or picture.start_s + picture.duration_s - start_s
        if demuxer == "avi":  # its times are those of decoding: frames are shown this much later
            held_s = float(int(video.get("has_b_frames", 0)) * picture.time_base)
            picture = replace(picture, start_s=picture.start_s + held_s)
            start_s, duration_s = picture.start_s, duration_s - held_s
        if demuxer == "mpegts":  # its clock starts anywhere, and the sound may come first
            whole_s = picture.duration_s
            picture = from_first_keyframe(
                name, demuxer, picture, timeout_s=timeout_s, cancelled=cancelled
            )
            start_s, duration_s = picture.start_s, duration_s - (whole_s - picture.duration_s)
    if duration_s <= 0:
        raise MediaError("The file has no length: it is cut short, or not a finished video.")
    return MediaInfo(
        container=demuxer,
        size_bytes=int(container.get("size", 0)),
        duration_s=duration_s,
        start_s=start_s,
        video=picture,
        audio=_audio(audio) if audio else None,
    )


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


def _video(stream: dict[str, Any], start_s: float, duration_s: float) -> VideoStream:
    average, base = _fraction(stream.get("avg_frame_rate")), _fraction(stream.get("r_frame_rate"))
    rate = average or base
    width, height = int(stream.get("width", 0)), int(stream.get("height", 0))
    if rate is None or not width or not height:
        raise MediaError("The video's picture can't be read: its codec is damaged or unknown.")
    # The base rate is the more exact of the two: an average suffers from a last short frame.
    # Without an average it is the container's clock, and no rate of frames.
    even = (
        average is not None and base is not None and abs(rate - base) <= base * MAX_RATE_DIFFERENCE
    )
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


def _first(streams: list[dict[str, Any]], kind: str) -> dict[str, Any] | None:
    """The first stream of a kind that is no cover picture."""
    for stream in streams:
        cover = stream.get("disposition", {}).get("attached_pic")
        if stream.get("codec_type") == kind and not cover:
            return stream
    return None


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
