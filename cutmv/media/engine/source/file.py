"""Opens a source, decodes its packets, and goes back in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from fractions import Fraction
from functools import lru_cache
from typing import Any, TypeVar, cast

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.sidedata.sidedata import Type
from av.stream import Stream
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from cutmv.media.engine.codecs.base import DECODERS_OF_ALPHA, Packet, has_alpha_beside
from cutmv.media.engine.codecs.decoders import whitelist
from cutmv.media.engine.source.joins import Joined, Joins, joins_of, may_be_joined
from cutmv.media.engine.source.reader import Reader, expect_index, promised_size, reader
from cutmv.media.limits import FileLimits

#: A packet of any stream.
P = TypeVar("P")

#: Containers whose index tells where packets are, before these are read.
INDEXED = frozenset({"mov", "matroska", "avi"})

#: FFmpeg's decoders that can skip pictures from any packet on; others ask when they are opened.
SPARING = ("h264", "hevc", "mpeg2video")


class SourceError(Exception):
    """One line about what is wrong with a source."""


class Unopened(Exception):
    """The libraries can't open a file; standard error has what they said of it."""


class Undecoded(SourceError):
    """Pictures were not there after decoding; from an earlier entry they may be."""


@contextmanager
def opened(name: str, demuxer: str) -> Iterator[InputContainer]:
    """Open `name`, a path or the address of a relay, in one container format and no other.

    A transport stream of recordings that were joined has one clock. Raises Unopened, OSError.
    """
    joins = _joins(name, demuxer) if demuxer == "mpegts" else None
    with _as_it_is(name, demuxer) as container:
        yield container if joins is None else cast("InputContainer", Joined(container, joins))


@lru_cache(maxsize=1)
def _joins(name: str, demuxer: str) -> Joins | None:
    with closing(reader(name)) as source:
        if not may_be_joined(source):
            return None
    with _as_it_is(name, demuxer) as container:
        return joins_of(container)


@contextmanager
def _as_it_is(name: str, demuxer: str) -> Iterator[InputContainer]:
    limits = FileLimits.of_environment()
    decoders = {"codec_whitelist": _decoders()}
    # No protocol is called "none": the libraries open nothing by themselves.
    options = {"protocol_whitelist": "none", "format_whitelist": demuxer, **decoders}
    # Some demuxers leave out the others without a word, so one more shows that there are some.
    options |= {"max_streams": str(limits.streams + 1)}
    with closing(reader(name)) as source:
        if demuxer == "mov":
            expect_index(source)
        try:
            container = av.open(
                source, "r", format=demuxer, options=options, metadata_errors="replace"
            )
        except av.FFmpegError as error:
            raise Unopened(error.strerror or "no reason") from error
        with container:
            if len(container.streams) > limits.streams:
                most = f"{limits.streams} streams (CUTMV_MAX_FILE_STREAMS)"
                raise SourceError(f"it has more than {most}.")
            pixels = {"max_pixels": str(limits.pixels)}
            for stream in container.streams:
                if stream.codec_context is not None:
                    of_pictures = pixels if isinstance(stream, VideoStream) else {}
                    stream.codec_context.options = decoders | of_pictures
            yield cast("InputContainer", Persistent(container))


class Persistent:
    """A container that is asked again for a packet, where its demuxer says EAGAIN.

    That is no end: libavformat's demuxer of transport streams says so where 64 kB hold no packet
    (libavformat/mpegts.c, read_packet), and FFmpeg's programs then ask again.
    """

    def __init__(self, container: InputContainer) -> None:
        self._container = container

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def demux(self, *streams: Any) -> Iterator[Any]:
        """Yield packets. Raises SourceError, FFmpegError."""
        file: Any = self._container.file
        read = -1
        while True:
            try:
                yield from self._container.demux(*streams)
                return
            except av.error.BlockingIOError as error:
                if file.file.tell() == read:
                    raise SourceError("the file is damaged: it can't be read on.") from error
                read = file.file.tell()


@lru_cache(maxsize=1)
def _decoders() -> str:
    return whitelist(av.codecs_available)


def bounded(packets: Iterable[P]) -> Iterator[P]:
    """Yield packets that are noted one by one. Raises SourceError where they are too many."""
    most = FileLimits.of_environment().packets
    for count, packet in enumerate(packets):
        if count >= most:
            raise SourceError(
                f"a stream has more than {most:,} packets there, which is all that are read:"
                " use a shorter clip (CUTMV_MAX_FILE_PACKETS)."
            )
        yield packet


class Times:
    """When pictures are shown that have no time of their own: as they leave the decoder."""

    def __init__(self) -> None:
        self._latest = -1

    def of(self, frame: VideoFrame) -> int:
        """Return when the next picture of a decoder is shown; the last it holds have no time."""
        self._latest = self._latest + 1 if frame.dts is None else frame.dts
        return self._latest


@lru_cache(maxsize=8)
def decoder_of(stream: VideoStream) -> VideoCodecContext:
    """Return the decoder of a stream: its own, or one that decodes what is transparent, too."""
    if not has_alpha_beside(stream):
        return stream.codec_context
    name = DECODERS_OF_ALPHA[stream.codec_context.name]
    decoder: Any = av.CodecContext.create(name, "r")
    decoder.extradata = stream.codec_context.extradata
    return decoder  # type: ignore[no-any-return]


def decode(stream: VideoStream, packet: Packet | None) -> list[VideoFrame]:
    """Decode a packet; one that can't be decoded gives no picture."""
    try:
        return decoder_of(stream).decode(packet)
    except av.FFmpegError:
        return []


def sparing(
    stream: VideoStream, packets: Iterable[Packet], needed: Callable[[Packet], bool]
) -> Iterator[Packet]:
    """Yield packets, and have the decoder skip each picture that no `needed` one can refer to."""
    context = stream.codec_context
    able, skipping = context.name in SPARING, False
    try:
        for packet in packets:
            if able and skipping == needed(packet):
                skipping = not skipping
                context.skip_frame = "NONREF" if skipping else "DEFAULT"
            yield packet
    finally:
        if skipping:
            context.skip_frame = "DEFAULT"


def forget(stream: VideoStream) -> None:
    """Empty a decoder, which then takes packets from anywhere."""
    if decoder_of(stream).is_open:
        decoder_of(stream).flush_buffers()


def side_data(frame: VideoFrame, kind: Type) -> bytes | None:
    """Return what is attached to a picture; none where nothing is."""
    attached: Any = frame.side_data
    try:
        return bytes(attached[kind])
    except KeyError:
        return None


def video_of(container: InputContainer, index: int) -> VideoStream:
    """Return a stream of pictures, by its place, to be decoded by all cores. Raises SourceError."""
    stream = container.streams[index]
    if not isinstance(stream, VideoStream):
        raise SourceError("The file's picture is none.")
    stream.codec_context.thread_type = "AUTO"
    return stream


def tick_of(stream: VideoStream | AudioStream) -> Fraction:
    """Return the length (s) of a tick of a stream's clock. Raises SourceError."""
    if stream.time_base is None:
        raise SourceError("A stream of the file has no clock.")
    return stream.time_base


def rewind(container: InputContainer, stream: Stream, seek_to: int | None) -> None:
    """Have the next packets come from the entry before `seek_to`, or from the file's start.

    Raises SourceError where a demuxer can't go back.
    """
    start = stream.start_time or 0
    for place in ([] if seek_to is None else [seek_to]) + [min(0, start) - 1, start, 0]:
        with suppress(av.FFmpegError):
            container.seek(place, stream=stream)
            return
    raise SourceError("The file can't be read from its start again.")


def is_cut_short(container: InputContainer) -> bool:
    """Say whether a Matroska or WebM ends before its own header says so."""
    if not container.format.name.startswith("matroska"):
        return False
    file: Any = container.file
    source: Reader = file.file
    at = source.tell()
    promised = promised_size(source)
    source.seek(at)
    return promised is not None and promised > container.size


def expect(
    container: InputContainer, stream: VideoStream | AudioStream, start: int, end: int
) -> None:
    """Have what lies between two times, in ticks, read at once, as far as the index tells."""
    file: Any = container.file
    source: Reader = file.file
    if container.format.name in INDEXED:
        index = stream.index_entries
        first, last = (index.search_timestamp(at, any_frame=at == end) for at in (start, end))
        if first >= 0 and last >= 0:
            source.expect(index[first].pos, index[last].pos + index[last].size)
    elif container.duration:
        # As many bytes as the file has on the mean for so long, from where it was found to begin.
        part = (end - start) * tick_of(stream) * av.time_base / container.duration
        source.expect(source.tell(), source.tell() + int(part * container.size), sure=False)
