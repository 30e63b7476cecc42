"""Looks at pictures of a source here and there: at key pictures, by seeking."""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction

import av
from av.container import InputContainer
from av.stream import Discard, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from cutmv.media.engine.overview.request import OverviewRequest
from cutmv.media.engine.overview.strip import Strip
from cutmv.media.engine.source.file import (
    INDEXED,
    SourceError,
    decode,
    forget,
    rewind,
    tick_of,
)

#: Seconds before a place at which a key picture is looked for, where it was not found later; and in
#: a transport stream, which is found by when pictures are decoded, and not by when they are shown.
PREROLLS_S, DECODED_S = (2, 6), Fraction(1, 4)
#: Packets after a place in which a key picture is looked for.
SEARCHED = 600
#: Key pictures that are told of at most: where each picture is one there is nothing to tell.
MOST_KEYS = 20_000


def picture_of(container: InputContainer, wanted: OverviewRequest) -> VideoStream:
    """Return the stream of the picture, alone. Raises SourceError."""
    video = container.streams[wanted.video]
    if not isinstance(video, VideoStream):
        raise SourceError("The file has no picture.")
    alone(container, video)
    return video


def alone(container: InputContainer, stream: Stream) -> None:
    """Have no more read than one stream, where a demuxer can leave others out."""
    for each in container.streams:
        each.discard = Discard.default if each.index == stream.index else Discard.all


class Seeing:
    """Takes key pictures of a source for its strip."""

    def __init__(self, container: InputContainer, wanted: OverviewRequest, strip: Strip) -> None:
        self._container, self._wanted, self._strip = container, wanted, strip
        self._video = picture_of(container, wanted)
        # Threads of pictures would keep the first.
        self._video.codec_context.thread_type = "SLICE"
        #: For how many ticks after their decoding the key pictures are shown.
        self._shifts: set[int] = set()

    def look(self, places: list[Fraction]) -> None:
        """Take the key picture before each place, a part of the whole from 0 to before 1."""
        tick, wanted = tick_of(self._video), self._wanted
        alone(self._container, self._video)
        for place in places:
            at = round((wanted.start + place * wanted.length) / tick)
            with suppress(av.FFmpegError, SourceError):
                found = self._key_picture(at)
                if found is not None:
                    frame, shown = found
                    self._strip.add(frame, float(shown * tick - wanted.start))

    def keys(self) -> list[float]:
        """Return when key pictures are shown (s): by the index, or as far as they were looked at.

        The index of an MP4 has when they are decoded. That of an AVI has numbers of packets, of
        which some may be empty.
        """
        container, wanted = self._container, self._wanted
        if container.format.name == "avi":
            return []
        shifts = {0} if container.format.name.startswith("matroska") else self._shifts
        if not container.format.name.startswith(tuple(INDEXED)) or len(shifts) != 1:
            return sorted(self._strip.taken)
        tick, [shift] = tick_of(self._video), shifts
        index = [each.timestamp + shift for each in self._video.index_entries if each.is_keyframe]
        times = [round(float(at * tick - wanted.start), 6) for at in index]
        within = sorted({at for at in times if 0 <= at <= wanted.length})
        return within if len(within) <= MOST_KEYS else []

    def _key_picture(self, at: int) -> tuple[VideoFrame, int] | None:
        """Return the key picture before `at`, and when it is shown, in ticks.

        Where a demuxer goes too far, it goes back from ever earlier.
        """
        tick, found = tick_of(self._video), None
        least = DECODED_S if self._container.format.name == "mpegts" else 0
        for preroll_s in (least, *PREROLLS_S):
            found = self._key_picture_from(at - round(preroll_s / tick))
            if found is None or found[1] <= at:
                break
        return found

    def _key_picture_from(self, at: int) -> tuple[VideoFrame, int] | None:
        """Return the key picture at which reading from `at` begins, and when it is shown."""
        video = self._video
        rewind(self._container, video, at)
        for count, packet in enumerate(self._container.demux(video)):
            decoded = packet.pts if packet.dts is None else packet.dts
            if packet.size and packet.is_keyframe and decoded is not None:
                frames = decode(video, packet) or decode(video, None)
                forget(video)
                shown = decoded if packet.pts is None else packet.pts
                self._shifts.add(shown - decoded)
                return (frames[0], shown) if frames else None
            if count >= SEARCHED:
                return None
        return None
