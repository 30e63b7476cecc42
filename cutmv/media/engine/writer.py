"""Writes a clip's packets, picture and sound, into a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.stream import AudioStream
from av.packet import PacketSideData
from av.stream import Stream
from av.subtitles.stream import SubtitleStream
from av.video.stream import VideoStream

from cutmv.media.engine.codecs.base import has_alpha_beside

#: Codecs whose tag in QuickTime follows from how parameter sets are held, or from the muxer.
RETAGGED = frozenset({"h264", "hevc", "mpeg2video"})
#: The tags of a track that name it.
NAMES = ("language", "title")
#: How texts look that have no style, as FFmpeg's encoders want to be told.
PLAIN_STYLE = b"""[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, \
Italic, Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, \
Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,1

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""
#: The coarsest clock of a track, in ticks a second.
COARSEST = 10_000


@dataclass(frozen=True, slots=True)
class Heard:
    """One packet of a clip's sound. `pts` and `duration` are in samples; `pts` may be negative.

    `dropped` says how many of its samples a decoder drops, where it is not by an edit list.
    """

    data: bytes
    pts: int
    duration: int
    dropped: PacketSideData | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """One packet of a clip's picture; times are ticks from the clip's start.

    `beside` tells how transparent it is, where that does not stand in it.
    """

    data: bytes
    pts: int
    dts: int
    duration: int
    key: bool
    beside: PacketSideData | None = None


class Writer:
    """Writes packets in the order of their decoding, and sound between them.

    The sound of `sounds` is pulled as the picture goes on, so that a player finds both together.
    """

    def __init__(self, path: Path, muxer: str, tick: Fraction) -> None:
        scale = tick.denominator
        while scale < COARSEST:
            scale *= 10
        self.muxer = muxer
        #: Whether a player is told which part of a track it shows, and from when.
        self.has_edit_lists = muxer in ("mp4", "mov", "ipod")
        options = {"cues_to_front": "1"} if muxer in ("matroska", "webm") else {}
        if self.has_edit_lists:
            # The file's own clock is the picture's, so that its edit lists are exact.
            options = {"movflags": "+faststart", "movie_timescale": str(scale)}
            options["video_track_timescale"] = str(scale)
        self._container: Any = av.open(str(path), "w", format=muxer, options=options)
        self._tick = tick
        self._picture: Any = None
        self._held: Seen | None = None
        self._latest: int | None = None
        self._first_dts = 0
        #: Packets of the picture that were put, and when the last of them is shown, in ticks.
        self.count, self.last = 0, 0
        self._sounds: list[_Sound] = []

    def add_picture(self, like: VideoStream, extradata: bytes | None) -> None:
        """Add the picture's track, for packets like those of another."""
        self._picture = self._container.add_stream_from_template(like, opaque=True)
        self._picture.time_base = self._tick
        if self.muxer == "mov" and _tagged(like):
            self._picture.codec_context.codec_tag = like.codec_context.codec_tag
        if has_alpha_beside(like):
            self._picture.metadata["alpha_mode"] = "1"
        if extradata is not None:
            self._picture.codec_context.extradata = extradata

    def add_sound(self, like: AudioStream, heard: Iterator[Heard], header: bytes) -> None:
        """Add a track of sound, for packets like those of another, with a header of their own."""
        track = self._container.add_stream_from_template(like, opaque=True)
        if header:
            track.codec_context.extradata = header
        _name(track, like)
        self._sounds.append(_Sound(track, heard, like.rate))

    def add_encoded_sound(
        self, encoder: AudioCodecContext, heard: Iterator[Heard], like: AudioStream
    ) -> None:
        """Add a track of sound, for the packets of an encoder, named as another."""
        track = self._container.add_stream(
            encoder.name, rate=encoder.sample_rate, layout=encoder.layout.name
        )
        track.codec_context.bit_rate = encoder.bit_rate
        track.codec_context.format = encoder.format.name
        _name(track, like)
        self._sounds.append(_Sound(track, heard, encoder.sample_rate))

    def add_texts(
        self, like: SubtitleStream, codec: str, texts: Sequence[Heard], ticks: int
    ) -> None:
        """Add a track of texts, named as another; their times are in so many `ticks` a second."""
        track = self._container.add_stream(codec)
        track.codec_context.subtitle_header = PLAIN_STYLE
        _name(track, like)
        self._sounds.append(_Sound(track, iter(texts), ticks))

    def add_chapters(self, chapters: Sequence[tuple[int, int, dict[str, str]]], ticks: int) -> None:
        """Add chapters: when each begins and ends, in so many `ticks` a second, and its tags."""
        self._container.set_chapters([
            {"id": number, "start": start, "end": end, "time_base": Fraction(1, ticks),
             "metadata": tags}
            for number, (start, end, tags) in enumerate(chapters, start=1)
        ])  # fmt: skip

    def put(self, packet: Seen) -> None:
        """Write a packet of the picture; its DTS may be moved so that each is later than before."""
        dts = packet.dts if self._latest is None else max(packet.dts, self._latest + 1)
        if dts > packet.pts:
            raise ValueError(f"a packet is decoded at {dts}, after it is shown at {packet.pts}")
        if self._latest is None:
            self._first_dts = dts
        self._latest = dts
        self.count, self.last = self.count + 1, max(self.last, packet.pts)
        if self._held is not None:
            self._write(self._held)
        self._held = replace(packet, dts=dts)

    def finish(self, end: int) -> None:
        """Write what is left, and end the file. The picture is shown until `end`, in ticks."""
        if self._held is not None:
            # The track lasts as long as the clip, whichever picture is decoded last.
            held = self._held
            left = min(end + self._first_dts - held.dts, end - held.pts)
            self._write(replace(held, duration=max(held.duration, left, 1)))
            self._held = None
        for sound in self._sounds:
            sound.write(self._container, None)
        self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self._container.close()

    def _write(self, seen: Seen) -> None:
        for sound in self._sounds:
            sound.write(self._container, seen.dts * self._tick)
        packet: Any = av.Packet(seen.data)
        packet.pts, packet.dts, packet.duration = seen.pts, seen.dts, seen.duration
        packet.time_base, packet.stream, packet.is_keyframe = self._tick, self._picture, seen.key
        if seen.beside is not None:
            packet.set_sidedata(seen.beside)
        self._container.mux_one(packet)


def _tagged(like: VideoStream) -> bool:
    """Return whether a stream's tag is one of QuickTime: it tells kinds of ProRes, MJPEG apart."""
    name = like.codec_context.name
    of_quicktime = like.container.format.name.startswith("mov")
    return name == "prores" or (of_quicktime and name not in RETAGGED)


def _name(track: Any, like: Stream) -> None:
    """Give a track the language, the title and the purpose of another."""
    named = {name: like.metadata[name] for name in NAMES if name in like.metadata}
    track.metadata.update(named)
    track.disposition = like.disposition


class _Sound:
    def __init__(self, track: Any, heard: Iterator[Heard], rate: int) -> None:
        self._track, self._heard, self._tick = track, heard, Fraction(1, rate)
        self._next = next(heard, None)

    def write(self, container: Any, until_s: Fraction | None) -> None:
        """Write the packets up to a time (s), or all."""
        while self._next is not None and (
            until_s is None or self._next.pts * self._tick <= until_s
        ):
            packet: Any = av.Packet(self._next.data)
            packet.pts = packet.dts = self._next.pts
            packet.duration, packet.time_base = self._next.duration, self._tick
            packet.stream, packet.is_keyframe = self._track, True
            if self._next.dropped is not None:
                packet.set_sidedata(self._next.dropped)
            container.mux_one(packet)
            self._next = next(self._heard, None)
