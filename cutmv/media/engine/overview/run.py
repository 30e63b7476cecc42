"""Reads a source for its overview: here and there at first, so that there is something to see."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from fractions import Fraction
from typing import Any

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet

from cutmv.media.engine.overview.places import levels
from cutmv.media.engine.overview.request import OverviewRequest
from cutmv.media.engine.overview.seeing import Seeing, alone, picture_of
from cutmv.media.engine.overview.strip import Strip, Told
from cutmv.media.engine.overview.waveform import RATE, Waveform
from cutmv.media.engine.source.file import SourceError, Times, decode, opened, rewind, tick_of

#: Small pictures at first, and at most.
FIRST_PICTURES, MOST_PICTURES = 16, 256
#: Seconds between small pictures at least, where every picture is decoded.
CLOSEST_S = Fraction(1, 5)
#: Places at which is listened at first, and at most until all is; for `SPARSE_S` seconds after the
#: first.
FIRST_PLACES, MOST_PLACES, SPARSE_S = 16, 1024, 2.0
#: Seconds of sound that are heard at a place, and before it, where a decoder begins; and packets
#: at most.
HEARD_S, BEFORE_S, HEARD = Fraction(1, 10), Fraction(1, 10), 60
#: Parts of the whole work, for the progress: until the pictures are made, and the sound is heard.
OF_PICTURES, OF_ALL = 400, 1000

Progressed = Callable[[int, int], None]


def overview(wanted: OverviewRequest, progressed: Progressed, tell: Told) -> None:
    """Tell a "sheet" of small pictures at a time, "keys", and "peaks" again and again.

    `keys` are when key pictures are shown, in seconds from the file's start, as far as that is
    known. Raises SourceError where there is no picture.
    """
    strip = Strip(wanted, tell)
    with opened(wanted.source, wanted.demuxer) as container:
        seeing, looks = Seeing(container, wanted, strip), levels(FIRST_PICTURES, MOST_PICTURES)
        seeing.look(next(looks))
        strip.flush()
        if wanted.audio is not None:
            with suppress(av.FFmpegError, SourceError):
                _listen_here_and_there(container, wanted, tell)
        for level in () if wanted.every_picture else looks:
            seeing.look(level)
            progressed(min(OF_PICTURES, len(strip.taken)), OF_ALL)
        keys = seeing.keys()
    if wanted.every_picture:
        keys = _look_at_all(wanted, strip, progressed)
    tell("keys", {"times": keys})
    strip.flush()
    if not strip.taken:
        raise SourceError("The file has no picture that can be decoded.")
    if wanted.audio is not None:
        _listen(wanted, progressed, tell)


def _look_at_all(wanted: OverviewRequest, strip: Strip, progressed: Progressed) -> list[float]:
    """Decode all pictures, and take as many as there may be, evenly spaced.

    Returns when key pictures are shown (s).
    """
    keys: list[float] = []
    with opened(wanted.source, wanted.demuxer) as container:
        video = picture_of(container, wanted)
        video.codec_context.thread_type = "AUTO"
        tick, step = tick_of(video), max(CLOSEST_S, wanted.length / MOST_PICTURES)
        times, from_decoder, due = Times(), container.format.name == "avi", Fraction(0)
        for packet in _packets(container, video):
            for frame in decode(video, packet if packet.size else None):
                at = times.of(frame) if from_decoder else frame.pts
                shown = None if at is None else at * tick - wanted.start
                if shown is None or not 0 <= shown <= wanted.length:
                    continue
                if frame.key_frame:
                    keys.append(round(float(shown), 6))
                if shown >= due:
                    strip.add(frame, float(shown))
                    due = (shown // step + 1) * step
                    progressed(int(OF_PICTURES * shown / wanted.length), OF_ALL)
    return keys


def _audio(container: InputContainer, wanted: OverviewRequest) -> AudioStream:
    audio = container.streams[wanted.audio or 0]
    if not isinstance(audio, AudioStream):
        raise SourceError("The file's sound is none.")
    return audio


def _listen_here_and_there(container: InputContainer, wanted: OverviewRequest, tell: Told) -> None:
    """Tell the peaks of some places, each for all until the next."""
    audio = _audio(container, wanted)
    alone(container, audio)
    tick, until = tick_of(audio), time.monotonic() + SPARSE_S
    size = max(1, -(-round(wanted.length * RATE) // MOST_PLACES))
    waveform = Waveform(wanted.start, wanted.length, size)
    heard: set[int] = set()
    for level in levels(FIRST_PLACES, MOST_PLACES):
        for place in level:
            at = wanted.start + place * wanted.length
            rewind(container, audio, round((at - BEFORE_S) / tick))
            audio.codec_context.flush_buffers()
            waveform.forget()
            for count, packet in enumerate(container.demux(audio)):
                for piece in _decoded(audio, packet):
                    waveform.take(piece, tick)
                past = packet.pts is not None and packet.pts * tick > at + HEARD_S
                if past or count >= HEARD:
                    break
            heard.add(waveform.place_of(place))
            if len(heard) >= FIRST_PLACES and time.monotonic() > until:
                break
        tell("peaks", waveform.told(sorted(heard)) | {"whole": False})
        if time.monotonic() > until:
            return


def _listen(wanted: OverviewRequest, progressed: Progressed, tell: Told) -> None:
    """Tell the peaks of all of the sound."""
    with opened(wanted.source, wanted.demuxer) as container:
        audio = _audio(container, wanted)
        alone(container, audio)
        tick, waveform = tick_of(audio), Waveform(wanted.start, wanted.length)
        for packet in _packets(container, audio):
            for piece in _decoded(audio, packet):
                waveform.take(piece, tick)
            if packet.pts is not None:
                part = float((packet.pts * tick - wanted.start) / wanted.length)
                heard = int((OF_ALL - OF_PICTURES) * min(1.0, max(0.0, part)))
                progressed(OF_PICTURES + heard, OF_ALL)
        tell("peaks", waveform.told() | {"whole": True})


def _packets(container: InputContainer, stream: Any) -> Iterator[Packet[Any]]:
    """Yield packets up to the end, or to where the file is damaged."""
    with suppress(av.FFmpegError):
        yield from container.demux(stream)


def _decoded(audio: AudioStream, packet: Packet[Any]) -> list[Any]:
    """Decode a packet of sound; one that can't be decoded is a hole."""
    try:
        return audio.codec_context.decode(packet if packet.size else None)
    except av.FFmpegError:
        return []
