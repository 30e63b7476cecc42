"""Opens a source, and reads the packets around a clip."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from cutmv.media.engine.codecs import Codec, Opaque, Uncopyable, codec_of
from cutmv.media.engine.codecs.base import Packet
from cutmv.media.engine.pictures import Entry, Picture, Timeline, with_dts

#: Seconds without a byte after which a relay is given up; it retries for as long.
SILENCE_S = 240
#: Seconds before a clip at which reading begins, one for each attempt: a demuxer may find the
#: entry before a time only roughly. The last attempt reads from the start.
PREROLLS_S = (0, 2, 6, 20, None)
#: Packets of a clip's pictures at most: a day at 240 pictures a second.
MAX_PICTURES = 24 * 3600 * 240


class SourceError(Exception):
    """One line about what is wrong with a source."""


class Unopened(Exception):
    """The libraries can't open a file; standard error has what they said of it."""


class Undecoded(SourceError):
    """Pictures were not there after decoding; from an earlier entry they may be."""


@contextmanager
def opened(name: str, demuxer: str) -> Iterator[InputContainer]:
    """Open `name`, a path or the address of a relay, in one container format and no other.

    Raises Unopened.
    """
    remote = name.startswith("http://")
    options = {
        "protocol_whitelist": "http,tcp" if remote else "file",
        "format_whitelist": demuxer,
    }
    if remote:
        options["rw_timeout"] = str(SILENCE_S * 1_000_000)
    address = name if remote else f"file:{name}"
    try:
        container = av.open(
            address, "r", format=demuxer, options=options, metadata_errors="replace"
        )
    except av.FFmpegError as error:
        raise Unopened(error.strerror or "no reason") from error
    with container:
        yield container


@dataclass(frozen=True, slots=True)
class Window:
    """The packets of a clip: where their reading begins, and its pictures.

    `seek_to` is the time, in ticks of the picture's clock, at which the demuxer is asked for the
    entry before; none for the file's start. `skipped` packets of the picture come before the
    timeline's first. With `by_decoding` the container does not tell when pictures are shown, and
    the timeline holds what the decoder gives, in its order.
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
    for preroll in PREROLLS_S:
        seek_to = None if preroll is None else start - round(preroll / tick)
        found = _window(container, stream, seek_to, start, end)
        if found is not None and found.timeline.pictures[0].pts not in places:
            places.add(found.timeline.pictures[0].pts)
            yield found
    if not places:
        raise SourceError("The file has no picture there that can be decoded.")


def _window(
    container: InputContainer, stream: VideoStream, seek_to: int | None, start: int, end: int
) -> Window | None:
    """Return the window when reading from `seek_to`; none when it begins too late."""
    if container.format.name == "avi":
        return _window_by_decoding(container, stream, seek_to, start, end)
    rewind(container, stream, seek_to)
    codec = codec_of(stream)
    pictures: list[Picture] = []
    skipped, over = 0, False
    for packet in container.demux(stream):
        if not packet.size:
            continue  # the end
        if packet.pts is None:
            raise SourceError("A picture of the file has no time.")
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
        if len(pictures) > MAX_PICTURES:
            raise SourceError("The clip has too many pictures.")
    timeline = _trimmed(Timeline(with_dts(pictures)), start, end)
    if timeline is None:
        return None
    if seek_to is not None and timeline.between(start, end)[0].pts > start:
        return None
    skipped += len(pictures) - len(timeline.pictures)
    finish = None if over else max(picture.pts for picture in pictures)
    return Window(seek_to, skipped, Timeline(timeline.pictures, finish), codec)


def _window_by_decoding(
    container: InputContainer, stream: VideoStream, seek_to: int | None, start: int, end: int
) -> Window | None:
    """Return the window of an AVI, which tells only when pictures are decoded."""
    rewind(container, stream, seek_to)
    times = Times()
    shown: list[int] = []
    for packet in container.demux(stream):
        shown += [times.of(frame) for frame in decode(stream, packet if packet.size else None)]
        if shown and shown[-1] > end:
            break
    stream.codec_context.flush_buffers()
    if not shown or (seek_to is not None and shown[0] > start):
        return None
    # Decoding begins at the first alone, since which packet is which picture is not known.
    entries = [Entry.ROUGH, *[Entry.NONE] * (len(shown) - 1)]
    pictures = [Picture(at, at, entry) for at, entry in zip(shown, entries, strict=True)]
    codec = Opaque("its container does not tell when pictures are shown")
    finish = None if shown[-1] > end else shown[-1]
    return Window(seek_to, 0, Timeline(pictures, finish), codec, by_decoding=True)


class Times:
    """When pictures are shown that have no time of their own: as they leave the decoder."""

    def __init__(self) -> None:
        self._latest = -1

    def of(self, frame: VideoFrame) -> int:
        """Return when the next picture of a decoder is shown; the last it holds have no time."""
        self._latest = self._latest + 1 if frame.dts is None else frame.dts
        return self._latest


def decode(stream: VideoStream, packet: Packet | None) -> list[VideoFrame]:
    """Decode a packet; one that can't be decoded gives no picture."""
    try:
        return stream.decode(packet)
    except av.FFmpegError:
        return []


def side_data(frame: VideoFrame, kind: Type) -> bytes | None:
    """Return what is attached to a picture; none where nothing is."""
    attached: Any = frame.side_data
    try:
        return bytes(attached[kind])
    except KeyError:
        return None


def _trimmed(timeline: Timeline, start: int, end: int) -> Timeline | None:
    """Return the timeline from the last entry on that serves; none where there is no such entry."""
    wanted = timeline.between(start, end)
    if not wanted:
        return None
    first = timeline.entry_before(wanted[0].pts)
    return None if first is None else Timeline(timeline.pictures[first:])


def tick_of(stream: VideoStream | AudioStream) -> Fraction:
    """Return the length (s) of a tick of a stream's clock. Raises SourceError."""
    if stream.time_base is None:
        raise SourceError("A stream of the file has no clock.")
    return stream.time_base


def rewind(
    container: InputContainer, stream: VideoStream | AudioStream, seek_to: int | None
) -> None:
    """Have the next packets come from the entry before `seek_to`, or from the file's start.

    Raises SourceError where a demuxer can't go back.
    """
    start = stream.start_time or 0
    for place in ([] if seek_to is None else [seek_to]) + [min(0, start) - 1, start, 0]:
        with suppress(av.FFmpegError):
            container.seek(place, stream=stream)
            return
    raise SourceError("The file can't be read from its start again.")


def packets_from(
    container: InputContainer, stream: VideoStream, found: Window, first: int
) -> Iterator[av.Packet[VideoStream]]:
    """Yield a window's packets from its `first` picture on, in decoding order."""
    rewind(container, stream, found.seek_to)
    place = -found.skipped
    for packet in container.demux(stream):
        if not packet.size:
            return
        if place >= first:
            yield packet
        place += 1
