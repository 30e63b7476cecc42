"""Reads a source once, for its pictures and its sound."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from cutmv.media.engine.analysis.hearing import Hearing
from cutmv.media.engine.analysis.request import Analyse
from cutmv.media.engine.analysis.seeing import Seeing
from cutmv.media.engine.source.file import SourceError, Times, decode, opened, tick_of

Told = Callable[[str, dict[str, Any]], None]


def analyse(wanted: Analyse, progressed: Callable[[int, int], None], tell: Told) -> None:
    """Tell of the "pictures", the "sound" if there is any, and of the places where clips may begin.

    `starts` are times of pictures: nearest to each beat, and in each half second the first. Raises
    SourceError.
    """
    with opened(wanted.source, wanted.demuxer) as container:
        video = container.streams[wanted.video]
        if not isinstance(video, VideoStream):
            raise SourceError("The file has no picture.")
        audio = None if wanted.audio is None else container.streams[wanted.audio]
        seeing, heard = _read(container, wanted, video, audio, progressed)
    if not seeing.shown:
        raise SourceError("The file has no picture that can be decoded.")
    end_s = _end(wanted, video, seeing)
    tell("pictures", seeing.finish(end_s))
    tell("black", {"spans": seeing.black(end_s)})
    if heard is not None:
        found = heard.finish()
        tell("sound", found)
    beats = found["beats"] if heard is not None else []
    tell("starts", {"beats": [seeing.nearest(each) for each in beats]})
    tell("found", {"halves": seeing.halves(end_s)})


def _end(wanted: Analyse, video: VideoStream, seeing: Seeing) -> float:
    """Return until when the last picture is shown: as the file says, unless it is cut short."""
    length, tick = float(wanted.length), tick_of(video)
    finish = min(length, seeing.shown[-1] + float(1 / wanted.rate))
    if video.duration is None:
        return length
    promised = float(((video.start_time or 0) + video.duration) * tick - wanted.start)
    # A header that promises far more than the longest picture tells of pictures that are not there.
    longest = max(seeing.longest_s, float(1 / wanted.rate))
    if promised - seeing.shown[-1] > 2 * longest:
        return finish
    return max(finish, min(length, promised))


def _read(
    container: InputContainer,
    wanted: Analyse,
    video: VideoStream,
    audio: Any,
    progressed: Callable[[int, int], None],
) -> tuple[Seeing, Hearing | None]:
    """Read the whole file, decode it, and look and listen."""
    seeing, length = Seeing(wanted.rate), float(wanted.length)
    hearing = Hearing(wanted.start, length) if isinstance(audio, AudioStream) else None
    video.thread_type = "AUTO"
    if wanted.keys_only:
        video.codec_context.skip_frame = "NONKEY"
    times, from_decoder, tick = Times(), container.format.name == "avi", tick_of(video)
    shown = 0
    for packet in _packets(container, [video, *([audio] if hearing else [])]):
        if packet.stream_index == wanted.video:
            for frame in decode(video, packet if packet.size else None):
                at = times.of(frame) if from_decoder else frame.pts
                if at is not None and 0 <= (seconds := float(at * tick - wanted.start)) <= length:
                    seeing.take(frame, seconds)
                    shown = max(shown, round(1000 * seconds))
            progressed(min(shown, round(1000 * length)), round(1000 * length))
        elif hearing is not None:
            for piece in _decoded(audio, packet):
                hearing.take(piece, tick_of(audio))
    return seeing, hearing


def _packets(container: InputContainer, streams: list[Any]) -> Iterator[Packet[Any]]:
    """Yield packets up to the end, or to where the file is damaged."""
    try:
        yield from container.demux(streams)
    except av.FFmpegError:
        for stream in streams:
            stream.codec_context.flush_buffers()


def _decoded(stream: AudioStream, packet: Packet[Any]) -> list[AudioFrame]:
    """Decode a packet of sound; one that can't be decoded is a hole."""
    try:
        return stream.codec_context.decode(packet if packet.size else None)
    except av.FFmpegError:
        return []
