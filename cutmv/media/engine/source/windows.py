"""Finds the packets of a clip: where their reading begins, and which pictures they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from cutmv.media.engine.codecs import Codec, Opaque, Uncopyable, codec_of
from cutmv.media.engine.codecs.intra import INTRA
from cutmv.media.engine.source.damage import marked
from cutmv.media.engine.source.fields import pictures_of
from cutmv.media.engine.source.file import (
    SourceError,
    Times,
    bounded,
    decode,
    expect,
    forget,
    rewind,
    tick_of,
)
from cutmv.media.engine.timeline.pictures import (
    Entry,
    Picture,
    Timeline,
    with_dts,
    without_holes,
    without_overlap,
)

#: Seconds before a clip at which reading begins, one for each attempt: a demuxer may find the
#: entry before a time only roughly. The last attempt reads from the start.
PREROLLS_S = (0, 2, 6, 20, None)
#: That of the first attempt in a transport stream, which is found by when pictures are decoded, and
#: not by when they are shown.
DECODED_S = Fraction(1, 4)
#: Seconds by which a clock may step back in a clip, where recordings were joined.
STEP_BACK_S = 1
#: Codecs whose pictures are shown in the order of their packets, which is all that AVI tells.
IN_ORDER = INTRA | {"ffv1"}
#: What is said of a clip without any.
NO_PICTURE = "The file has no picture there that can be decoded."
#: Containers by whose index a picture is found at once, though not always the one that is wanted.
NEAR = frozenset({"mov", "matroska"})


@dataclass(frozen=True, slots=True)
class Window:
    """The packets of a clip: where their reading begins, and its pictures.

    `seek_to` is the time, in ticks of the picture's clock, at which the demuxer is asked for the
    entry before; none for the file's start. `skipped` packets of the picture come before the
    timeline's first. With `by_decoding` packets do not tell when pictures are shown, and the
    timeline holds what the decoder gives, in its order.
    """

    seek_to: int | None
    skipped: int
    timeline: Timeline
    codec: Codec
    by_decoding: bool = False


def windows(
    container: InputContainer, stream: VideoStream, start: int, end: int
) -> Iterator[Window]:
    """Yield windows of the pictures that are seen from `start` to before `end`, in ticks.

    Each begins earlier than the one before: from where a demuxer finds an entry not every picture
    may be decoded. Raises SourceError when the file has no such picture.
    """
    tick = tick_of(stream)
    places: set[int | None] = set()
    least = DECODED_S if container.format.name == "mpegts" else 0
    for preroll in (least, *PREROLLS_S[1:]):
        seek_to = None if preroll is None else start - round(preroll / tick)
        found = _window(container, stream, seek_to, start, end)
        if found is not None and found.timeline.pictures[0].pts not in places:
            places.add(found.timeline.pictures[0].pts)
            yield found
    if not places:
        raise SourceError(NO_PICTURE)


def _window(
    container: InputContainer, stream: VideoStream, seek_to: int | None, start: int, end: int
) -> Window | None:
    """Return the window when reading from `seek_to`; none when it begins too late."""
    if container.format.name == "avi" and stream.codec_context.name not in IN_ORDER:
        return _window_by_decoding(container, stream, seek_to, start, end)
    rewind(container, stream, seek_to)
    expect(container, stream, start if seek_to is None else seek_to, end)
    codec = codec_of(stream)
    pictures: list[Picture] = []
    skipped, over, begun = 0, False, False
    for packet in bounded(pictures_of(container.demux(stream), stream)):
        if not packet.size:
            continue  # the end
        if packet.pts is None:
            return _window_by_decoding(container, stream, seek_to, start, end)
        try:
            entry = codec.entry(packet)
        except Uncopyable as reason:
            codec = Opaque(str(reason))
            entry = codec.entry(packet)
        if not pictures and entry is Entry.NONE:
            skipped += 1
            continue
        pictures.append(Picture(packet.pts, packet.dts, entry, not packet.is_discard, packet.size))
        if packet.dts is not None and packet.dts > end:
            over = True
            break
        begun = begun or packet.pts <= start
        if not begun and seek_to is not None and packet.dts is not None and packet.dts > start:
            return None  # nor does a later one begin by then
    pictures, back = without_overlap(pictures)
    if back:
        _refuse_step_back(back * tick_of(stream))
        codec = Opaque("its clock steps back in the clip")
    timeline = _trimmed(Timeline(with_dts(pictures)), start, end)
    if timeline is None:
        return None
    if seek_to is not None and timeline.between(start, end)[0].pts > start:
        return None
    skipped += len(pictures) - len(timeline.pictures)
    finish = None if over else max(picture.pts for picture in pictures)
    return Window(seek_to, skipped, Timeline(timeline.pictures, finish), codec)


def _refuse_step_back(back_s: Fraction) -> None:
    if back_s > STEP_BACK_S:
        raise SourceError(f"the file's clock steps back by {float(back_s):.3f} s there.")


def _window_by_decoding(
    container: InputContainer,
    stream: VideoStream,
    seek_to: int | None,
    start: int,
    end: int,
) -> Window | None:
    """Return the window of what is known by decoding alone, and so is not copied."""
    rewind(container, stream, seek_to)
    expect(container, stream, start if seek_to is None else seek_to, end)
    times, why = None, "some of its pictures have no time"
    if container.format.name == "avi":
        times, why = Times(), "its container does not tell when pictures are shown"
    found: list[int | None] = []
    for packet in bounded(container.demux(stream)):
        for frame in decode(stream, packet if packet.size else None):
            found.append(frame.pts if times is None else times.of(frame))
        if any(at is not None and at > end for at in found[-1:]):
            break
    forget(stream)
    shown = without_holes(found)
    if shown is None:
        raise SourceError("pictures of the file have no time, and others don't tell it.")
    if not shown or (seek_to is not None and shown[0] > start):
        return None
    # Decoding begins at the first alone, since which packet is which picture is not known.
    entries = [Entry.ROUGH, *[Entry.NONE] * (len(shown) - 1)]
    pictures = [Picture(at, at, entry) for at, entry in zip(shown, entries, strict=True)]
    finish = None if shown[-1] > end else shown[-1]
    return Window(seek_to, 0, Timeline(pictures, finish), Opaque(why), by_decoding=True)


def _trimmed(timeline: Timeline, start: int, end: int) -> Timeline | None:
    """Return the timeline from the last entry on that serves; none where there is no such entry."""
    wanted = timeline.between(start, end)
    if not wanted:
        return None
    first = timeline.entry_before(wanted[0].pts)
    return None if first is None else Timeline(timeline.pictures[first:])


def packets_from(
    container: InputContainer, stream: VideoStream, found: Window, first: int
) -> Iterator[av.Packet[VideoStream]]:
    """Yield a window's packets from its `first` picture on, in decoding order."""
    wanted = found.timeline.pictures[first]
    if first and container.format.name in NEAR and wanted.entry is not Entry.NONE:
        rewind(container, stream, wanted.dts)
        packets = (packet for packet in _pictures(container, stream) if packet.size)
        packet = next(packets, None)
        if packet is not None and (packet.pts, packet.size) == (wanted.pts, wanted.size):
            yield packet
            yield from packets
            return
    rewind(container, stream, found.seek_to)
    place = -found.skipped
    for packet in _pictures(container, stream):
        if not packet.size:
            return
        if place >= first:
            yield packet
        place += 1


def _pictures(container: InputContainer, stream: VideoStream) -> Iterator[av.Packet[VideoStream]]:
    return pictures_of(marked(container, stream), stream)
