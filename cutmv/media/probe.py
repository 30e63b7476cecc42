"""Probe a video: have the engine look at what is in it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from cutmv.media.engine.protocol import Look
from cutmv.media.errors import MediaError
from cutmv.media.info import AudioStream, MediaInfo, VideoStream
from cutmv.media.limits import FileLimits
from cutmv.media.plan import RenderPlan
from cutmv.media.plan import plan as plan_of
from cutmv.media.products.animations import LADDER
from cutmv.media.products.spec import SOUNDS
from cutmv.media.remote.cache import Cache
from cutmv.media.running.engine_process import look_at
from cutmv.media.source import demuxer_of, readable
from cutmv.media.source_warnings import of_file
from cutmv.media.times import is_timecode

#: What is said of a picture that the libraries tell too little of.
UNREADABLE = "The video's picture can't be read: its codec is damaged or unknown."
#: Seconds that looking at a file may take, over a slow network too.
PROBE_TIMEOUT_S = 60.0
#: Seconds for reading all packets of a file: the largest upload, from a slow disk.
ALL_PACKETS_TIMEOUT_S = 600.0
#: The difference between average and base frame rate, as a part of the latter, up to which frames
#: count as evenly spaced.
MAX_RATE_DIFFERENCE = Fraction(1, 200)
#: How many times as wide as high, or as high as wide, a pixel may be: those of any camera are far
#: below. Else a picture could be shown in no width at all.
WIDEST_PIXEL = 16
#: Containers whose clock starts anywhere: a file's time counts from the first picture shown.
CLOCKS_OF_THEIR_OWN = frozenset({"mpegts", "avi"})


def probe(
    source: str | Path,
    *,
    timeout_s: float = ALL_PACKETS_TIMEOUT_S,
    cancelled: Callable[[], bool] | None = None,
    cache: Cache | None = None,
) -> MediaInfo:
    """What is in the video `source`, a path or an HTTP URL, whose bytes `cache` keeps.

    Raises MediaError when it is no video we can read, MediaUnavailable when the network failed,
    Cancelled within a second of `cancelled()`.
    """
    with readable(source, cache) as opened:
        demuxer = demuxer_of(opened.name)
        found = look_at(Look(opened.name, demuxer), cancelled=cancelled, timeout_s=timeout_s)
    return _info(found, demuxer)


def survey(source: str | Path, *, timeout_s: float = ALL_PACKETS_TIMEOUT_S) -> dict[str, Any]:
    """All that a look at `source` shows, as JSON has it, for people. Raises as `probe` does.

    `picture` and `sound` are what is cut, `streams` all there is; of what only packets tell the
    first seconds are read. `refused` says why no clip can be cut, none where one can.
    """
    with readable(source) as opened:
        demuxer = demuxer_of(opened.name)
        wanted = Look(opened.name, demuxer, streams=True)
        found = look_at(wanted, cancelled=None, timeout_s=timeout_s)
    info, refused = None, None
    try:
        info = _info(found, demuxer)
    except MediaError as error:
        refused = str(error)
    plain = info.to_dict() if info else {}
    picture = plain.get("video")
    if info and info.video and picture:
        picture |= {"hdr": info.video.hdr}
    uncopyable = refused or found["uncopyable"]
    return {
        "container": demuxer,
        "size_bytes": int(found["size"] or 0),
        "duration_s": info.duration_s if info else float(_time(found["duration"]) or 0),
        "start_s": info.start_s if info else float(_time(found["start"]) or 0),
        "bit_rate": found["bit_rate"],
        "timecode": found["timecode"],
        "picture": picture,
        "sound": plain.get("audio"),
        "streams": found["streams"],
        "keyframes": found["keyframes"],
        "open_groups": found["open_groups"],
        "smart_cut": {"possible": uncopyable is None, "reason": uncopyable},
        "chapters": found["chapters"],
        "refused": refused,
        "warnings": of_file(info, found),
    }


def _info(found: dict[str, Any], demuxer: str) -> MediaInfo:
    """What a look has found, as cutting uses it. Raises MediaError where nothing can be cut."""
    video, audio = found["video"], found["audio"]
    if video is None:
        if found["undecodable"]:
            raise MediaError("The video's codec is not supported: convert it to H.264.")
        only = (
            "The file's only picture is its cover" if found["cover"] else "The file has no picture"
        )
        raise MediaError(f"{only}: send a video.")
    limits = FileLimits.of_environment()
    width, height = int(video["width"]), int(video["height"])
    if not width or not height:
        raise MediaError(UNREADABLE)
    if width * height > limits.pixels:
        raise MediaError(
            f"The video's picture has {width}×{height} pixels: at most {limits.pixels:,} are read"
            " (CUTMV_MAX_FILE_PIXELS)."
        )
    start = _time(found["start"]) or Fraction(0)
    if demuxer not in CLOCKS_OF_THEIR_OWN:
        # No player shows what an encoder puts before zero to start up.
        start = max(Fraction(0), start)
    duration = _time(found["duration"]) or Fraction(0)
    first, last = _time(video.get("first_packet")), _time(video.get("last_packet"))
    rate, variable = _rate(video, first, last)
    if not duration and first is not None and last is not None:
        duration = last + 1 / rate - start
    if demuxer in CLOCKS_OF_THEIR_OWN:
        shown = _time(video.get("first"))
        if shown is not None and shown > start:
            start, duration = shown, duration - (shown - start)
    if duration <= 0:
        raise MediaError("The file has no length: it is cut short, or not a finished video.")
    if duration > limits.seconds:
        raise MediaError(
            f"The video says that it lasts {float(duration / 3600):.1f} hours: at most"
            f" {limits.seconds / 3600:g} are read (CUTMV_MAX_FILE_SECONDS)."
        )
    begins = _time(video.get("first")) or _time(video["start"])
    begins = start if begins is None else max(begins, start)
    lasts = _time(video["duration"])
    timecode = found["timecode"]
    ends = start + duration if lasts is None else (_time(video["start"]) or start) + lasts
    return MediaInfo(
        container=demuxer,
        size_bytes=int(found["size"] or 0),
        duration_s=float(duration),
        start_s=float(start),
        video=_video(video, rate, variable, float(begins), float(ends - begins)),
        audio=AudioStream(**audio) if audio else None,
        sounds=tuple(AudioStream(**each) for each in found["sounds"]),
        unknown_sound=bool(found["unknown_sound"]),
        timecode=timecode if timecode and is_timecode(timecode, rate) else None,
    )


def entries(
    source: str | Path,
    info: MediaInfo,
    near: Sequence[Fraction],
    *,
    cancelled: Callable[[], bool] | None = None,
    timeout_s: float = PROBE_TIMEOUT_S,
    cache: Cache | None = None,
) -> list[Fraction]:
    """When the key pictures before some times are shown, in seconds on the file's own clock.

    Reads little but the file's index. Raises as `probe` does.
    """
    with readable(source, cache) as opened:
        wanted = Look(opened.name, info.container, near=tuple(str(at) for at in near))
        found = look_at(wanted, cancelled=cancelled, timeout_s=timeout_s)
    return [Fraction(at) for at in found.get("near", ())]


def without_bars(
    name: str, plan: RenderPlan, cancelled: Callable[[], bool] | None = None
) -> RenderPlan:
    """The plan of an output without its black bars, where that is wanted and they are sure.

    `name` is an opened source. Raises as `probe` does, and as `plan`.
    """
    info, spec = plan.info, plan.spec
    if not spec.remove_bars or spec.kind in SOUNDS or plan.video.inside:
        return plan
    start = plan.start - (plan.part[0] if plan.part else 0)
    span = (str(start), str(start + plan.clip.end - plan.clip.start))
    wanted = Look(name, info.container, bars=span)
    inside = look_at(wanted, cancelled=cancelled, timeout_s=ALL_PACKETS_TIMEOUT_S)["inside"]
    if inside is None:
        return plan
    found = replace(info, video=plan.video.without_bars(tuple(inside)))
    return plan_of(found, plan.clip, spec, plan.animation or LADDER[0], plan.part)


def keyframes(source: str | Path, *, timeout_s: float = ALL_PACKETS_TIMEOUT_S) -> list[float]:
    """The times of all keyframes of the first picture, in seconds from the file's start.

    Reads the whole file, without decoding it. Raises as `probe` does.
    """
    info = probe(source, timeout_s=timeout_s)
    with readable(source) as opened:
        wanted = Look(opened.name, info.container, keyframes=True)
        found = look_at(wanted, cancelled=None, timeout_s=timeout_s)
    times = (found["video"] or {}).get("keyframes", ())
    return [round(float(Fraction(at)) - info.start_s, 6) for at in times]


def _rate(
    video: dict[str, Any], first: Fraction | None, last: Fraction | None
) -> tuple[Fraction, bool]:
    """The pictures a second, and whether they are not evenly spaced."""
    average, base = _time(video["average_rate"]), _time(video["base_rate"])
    if average is None and first is not None and last is not None and last > first:
        # Without an average the base rate is the container's clock, and no rate of frames.
        measured = Fraction((video["packets"] - 1) / (last - first)).limit_denominator(1001)
        return measured, True
    rate = average or base
    if rate is None or rate <= 0:
        raise MediaError(UNREADABLE)
    # The base rate is the more exact of the two: an average suffers from a last short frame.
    if base and abs(rate - base) <= base * MAX_RATE_DIFFERENCE:
        return base, False
    return rate, True


def _video(
    video: dict[str, Any], rate: Fraction, variable: bool, start_s: float, duration_s: float
) -> VideoStream:
    width, height = int(video["width"]), int(video["height"])
    pixel = _time(video["pixel"]) or Fraction(1)
    if not 1 / WIDEST_PIXEL <= pixel <= WIDEST_PIXEL:
        pixel = Fraction(1)  # a damaged header says so, and no camera
    shown = (max(1, round(width * pixel)), height)
    turned = video["rotation"] % 180
    same = ("index", "codec", "rotation", "mirrored", "interlaced", "transparent", "quantizer")
    colours = ("color_range", "color_primaries", "color_transfer", "color_space")
    return VideoStream(
        **{name: video[name] for name in (*same, *colours)},
        width=shown[1] if turned else shown[0],
        height=shown[0] if turned else shown[1],
        coded_width=width,
        coded_height=height,
        frame_rate=rate,
        variable=variable,
        time_base=Fraction(video["time_base"]),
        start_s=start_s,
        duration_s=duration_s,
        pix_fmt=str(video["pix_fmt"] or "unknown"),
    )


def _time(text: Any) -> Fraction | None:
    return None if text is None else Fraction(text)
