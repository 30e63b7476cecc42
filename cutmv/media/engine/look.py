"""Looks at a source: what its headers say, and what its first picture and its packets show."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from math import atan2, degrees
from typing import Any, TypeVar, cast

from av.audio.stream import AudioStream
from av.container import InputContainer
from av.sidedata.sidedata import Type
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from cutmv.media.engine.codecs.base import TOP_FIRST, has_alpha_beside
from cutmv.media.engine.codecs.decoders import is_allowed
from cutmv.media.engine.protocol import Look
from cutmv.media.engine.source.bars import inside_bars
from cutmv.media.engine.source.entries import entries_near
from cutmv.media.engine.source.fields import rate_of_pairs
from cutmv.media.engine.source.file import (
    Times,
    bounded,
    decode,
    opened,
    rewind,
    side_data,
    tick_of,
)
from cutmv.media.engine.source.joins import Joined
from cutmv.media.engine.source.quantizers import quantizer_of
from cutmv.media.engine.source.reader import is_relay
from cutmv.media.engine.source.survey import survey

#: Packets of the picture in which the first that can be decoded is searched: a minute of any video.
SEARCHED = 3600
#: The part by which a rate that was measured may differ from the one that a header tells.
NEAR = Fraction(1, 50)
#: FFmpeg's numbers of colours (libavutil/pixfmt.h, after ITU-T H.273), and its filters' names.
PRIMARIES = {1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "film",
             9: "bt2020", 10: "smpte428", 11: "smpte431", 12: "smpte432"}  # fmt: skip
TRANSFERS = {1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "linear",
             9: "log100", 10: "log316", 11: "iec61966-2-4", 12: "bt1361e", 13: "iec61966-2-1",
             14: "bt2020-10", 15: "bt2020-12", 16: "smpte2084", 17: "smpte428",
             18: "arib-std-b67"}  # fmt: skip
MATRICES = {0: "gbr", 1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m",
            8: "ycgco", 9: "bt2020nc", 10: "bt2020c", 14: "ictcp"}  # fmt: skip
RANGES = {1: "tv", 2: "pc"}

Found = dict[str, Any]
S = TypeVar("S", AudioStream, VideoStream)


def look(wanted: Look) -> Found:
    """Return what is in a source, as JSON has it. Raises SourceError."""
    with opened(wanted.source, wanted.demuxer) as container:
        found = _of_container(container)
        video = next(iter(_usable(_pictures(container))), None)
        if video is None:
            return found | (survey(container, None) if wanted.streams else {})
        found["video"] = _of_header(video)
        found["timecode"] = _timecode(container, video)
        if isinstance(container, Joined):
            found["video"]["duration"] = None  # that of a stream is the first recording's
        first = _first(container, video)
        if first is not None:
            found["video"] |= _of_picture(video, *first)
        if wanted.bars:
            begin, end = (Fraction(at) for at in wanted.bars)
            return found | {"inside": inside_bars(container, video, begin, end)}
        if found["video"]["interlaced"] and video.codec_context.name == "h264":
            found["video"] |= _of_fields(container, video)
        if wanted.near:
            times = entries_near(container, video, [Fraction(at) for at in wanted.near])
            found["near"] = [str(at) for at in times]
            return found
        if not wanted.keyframes:
            all_over = not is_relay(wanted.source)
            found["video"]["quantizer"] = quantizer_of(container, video, all_over=all_over)
        unknown = not container.duration or not video.average_rate
        if unknown or wanted.keyframes:
            found["video"] |= _of_packets(container, video, wanted.keyframes)
        return found | (survey(container, video) if wanted.streams else {})


def _of_container(container: InputContainer) -> Found:
    return {
        "size": container.size,
        "start": _seconds(container.start_time),
        "duration": _seconds(container.duration),
        "video": None,
        "timecode": None,
        "audio": _of_sound(_heard(container, _usable(container.streams.audio))),
        "sounds": [_of_track(each) for each in _usable(container.streams.audio)],
        "unknown_sound": bool(container.streams.audio) and not _usable(container.streams.audio),
        "cover": bool(container.streams.video) and not _pictures(container),
        "undecodable": bool(_pictures(container)),
    }


def _pictures(container: InputContainer) -> list[VideoStream]:
    return [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]


def _heard(container: InputContainer, streams: list[AudioStream]) -> list[AudioStream]:
    """Return those of several tracks that have packets, as far as a look at the file shows."""
    if len(streams) < 2 or any(each.frames for each in streams):
        return streams
    seen = set()
    for count, packet in enumerate(container.demux(streams)):
        if packet.size:
            seen.add(packet.stream_index)
        if len(seen) == len(streams) or count >= SEARCHED:
            break
    found = [each for each in streams if each.index in seen]
    if found:
        rewind(container, found[0], None)
    return found or streams


def _usable(streams: Sequence[S]) -> list[S]:
    """Return those of the streams that hold what can be decoded, as far as headers tell."""
    found = [each for each in streams if cast("object | None", each.codec_context) is not None]
    known = [each for each in found if is_allowed(each.codec_context.name)]
    return [each for each in known if each.frames] or known


def _of_sound(streams: list[AudioStream]) -> Found | None:
    """Return the sound that a player would play: the container's default, or the first.

    Two tracks of one channel of PCM each are a camera's left and right.
    """
    if not streams:
        return None
    default = [each for each in streams if each.disposition & Disposition.default]
    chosen = default[0] if len(default) == 1 else streams[0]
    shapes = {(each.codec_context.name, each.rate) for each in streams}
    mono = all(each.codec_context.layout.nb_channels == 1 for each in streams)
    pcm = all(name.startswith("pcm_") for name, _ in shapes)
    pair = len(streams) == 2 and len(shapes) == 1 and mono and pcm
    if pair:
        return _of_track(streams[0]) | {"channels": 2, "right": streams[1].index}
    return _of_track(chosen)


def _of_track(stream: AudioStream) -> Found:
    return {
        "index": stream.index,
        "codec": stream.codec_context.name,
        "channels": stream.codec_context.layout.nb_channels,
        "sample_rate": stream.rate or 0,
        "language": None if stream.language == "und" else stream.language,
    }


def _timecode(container: InputContainer, video: VideoStream) -> str | None:
    """Return the timecode of the first frame, as the picture, the file or another track tells it.

    Matroska has names of tags in capitals.
    """
    for tags in (video.metadata, container.metadata, *(s.metadata for s in container.streams)):
        for name, value in tags.items():
            if name.lower() == "timecode":
                return str(value)
    return None


def _of_header(stream: VideoStream) -> Found:
    context, tick = stream.codec_context, tick_of(stream)
    return {
        "index": stream.index,
        "codec": context.codec.canonical_name,
        "width": context.width,
        "height": context.height,
        "pixel": _text(stream.sample_aspect_ratio),
        "average_rate": _text(stream.average_rate),
        "base_rate": _text(stream.base_rate),
        "time_base": _text(tick),
        "start": _times(stream.start_time, tick),
        "duration": _times(stream.duration, tick),
        "pix_fmt": context.pix_fmt,
        "rotation": 0,
        "mirrored": False,
        "transparent": has_alpha_beside(stream),
        "interlaced": None,
        "color_range": RANGES.get(context.color_range),
        "color_primaries": PRIMARIES.get(context.color_primaries),
        "color_transfer": TRANSFERS.get(context.color_trc),
        "color_space": MATRICES.get(context.colorspace),
    }


def _first(container: InputContainer, stream: VideoStream) -> tuple[VideoFrame, int] | None:
    """Return the first picture that can be decoded, and when it is shown, in ticks."""
    times, from_decoder = Times(), container.format.name == "avi"
    for count, packet in enumerate(container.demux(stream)):
        for frame in decode(stream, packet if packet.size else None):
            at = times.of(frame) if from_decoder else frame.pts
            if at is not None:
                return frame, at
        if count >= SEARCHED:
            return None
    return None


def _of_picture(stream: VideoStream, frame: VideoFrame, at: int) -> Found:
    rotation, mirrored = _turned(frame)
    told: Found = {"first": _times(at, tick_of(stream)), "pix_fmt": frame.format.name}
    told |= {"rotation": rotation, "mirrored": mirrored}
    if any(component.is_alpha for component in frame.format.components):
        told["transparent"] = True
    if frame.interlaced_frame:
        told["interlaced"] = "tff" if stream.codec_context.field_order in TOP_FIRST else "bff"
    return told


def _of_fields(container: InputContainer, stream: VideoStream) -> Found:
    """Return the rate of pictures where packets are fields, of which a header tells the rate."""
    rewind(container, stream, None)
    measured = rate_of_pairs(container, stream)
    if measured is None:
        return {}
    told = stream.average_rate or measured
    exact = [each for each in (told, told / 2) if abs(each / measured - 1) < NEAR]
    rate = _text(exact[0] if exact else measured)
    return {"average_rate": rate, "base_rate": rate}


def _turned(frame: VideoFrame) -> tuple[int, bool]:
    """Return by how many degrees clockwise a picture is to be turned, and whether mirrored after.

    ISO 14496-12, 8.3.2: a matrix of which the first two columns turn and scale.
    """
    data = side_data(frame, Type.DISPLAYMATRIX)
    if data is None:
        return 0, False
    a, b, _, c, d = struct.unpack_from("5i", data)
    mirrored = a * d - b * c < 0
    # A mirrored picture is mirrored first, from left to right.
    angle = degrees(atan2(b, -a if mirrored else a)) if mirrored else degrees(atan2(b, a))
    return round(angle / 90) * 90 % 360, mirrored


def _of_packets(container: InputContainer, stream: VideoStream, keyframes: bool) -> Found:
    """Return what all packets of the picture show. Decodes nothing, and reads the whole file."""
    container.seek(0)
    tick, count = tick_of(stream), 0
    first: int | None = None
    last = 0
    keys: list[int] = []
    for packet in bounded(container.demux(stream)):
        at = packet.dts if packet.pts is None else packet.pts
        if not packet.size or at is None or packet.is_discard:
            continue
        count += 1
        first, last = at if first is None else min(first, at), max(last, at)
        if keyframes and packet.is_keyframe:
            keys.append(at)
    if first is None:
        return {}
    measured = {"packets": count, "first_packet": _times(first, tick)}
    measured |= {"last_packet": _times(last, tick)}
    return measured | {"keyframes": [_times(at, tick) for at in sorted(keys)]}


def _times(ticks: int | None, tick: Fraction) -> str | None:
    return None if ticks is None else str(ticks * tick)


def _seconds(microseconds: int | None) -> str | None:
    return None if microseconds is None else str(Fraction(microseconds, 1_000_000))


def _text(value: Fraction | None) -> str | None:
    return str(Fraction(value)) if value else None
