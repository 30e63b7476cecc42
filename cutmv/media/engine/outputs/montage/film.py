"""Writes one film of many clips."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from fractions import Fraction
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream

from cutmv.media.engine import check, findings, tracks
from cutmv.media.engine.outputs.montage.pictures import Pictures
from cutmv.media.engine.outputs.montage.request import Montage
from cutmv.media.engine.protocol import Output, Request
from cutmv.media.engine.sound import encoding, forms, shaping
from cutmv.media.engine.sound.filtering import filtered
from cutmv.media.engine.sound.hearing import Hearing
from cutmv.media.engine.sound.loudness import level_for
from cutmv.media.engine.source.clip import Span
from cutmv.media.engine.source.file import SourceError, opened
from cutmv.media.engine.source.reader import Total
from cutmv.media.engine.writer import Writer

#: Seconds in which the sound falls before a join, and rises after it: else it would click.
DIP_S = Fraction(3, 1000)
#: An output whose sound is as it is.
PLAIN = Output("", "", ())


def make(wanted: Montage, progressed: Callable[[int, int], None]) -> dict[str, Any]:
    """Write the film; return what was made, as JSON has it. Raises Unjoinable, SourceError."""
    pictures = Pictures(wanted.pieces, wanted.muxer)
    with ExitStack() as stack:
        with Writer(Path(wanted.path), wanted.muxer, pictures.tick) as writer:
            pictures.add_to(writer)
            sounds = [_Sound(wanted, pictures.begins_s, track, stack) for track in wanted.tracks]
            for sound in sounds:
                sound.add_to(writer)
            for count, packet in enumerate(pictures.packets(), start=1):
                writer.put(packet)
                progressed(count, pictures.count)
            writer.finish(pictures.length)
        left_out = _left_out(wanted)
    last_s = float(writer.last * pictures.tick)
    check.film(Path(wanted.path), packets=writer.count, last=last_s, sound=bool(sounds))
    silent_s = max((sound.silent_s for sound in sounds), default=Fraction(0))
    return {
        "pictures": writer.count,
        "length_s": float(pictures.length * pictures.tick),
        "sound": "encoded" if sounds else None,
        "warnings": [*findings.of_sound(silent_s), *([left_out] if left_out else [])],
        "read_bytes": Total.bytes,
    }


def _left_out(wanted: Montage) -> str | None:
    with opened(wanted.source, wanted.demuxer) as container:
        kept = {wanted.video, *chain.from_iterable(wanted.tracks)}
        return tracks.left_out(container, kept, with_texts=False)


class _Sound:
    """One track of the film's sound, in one piece."""

    def __init__(
        self, wanted: Montage, begins_s: list[Fraction], track: tuple[int, ...], stack: ExitStack
    ) -> None:
        self._wanted, self._begins_s = wanted, begins_s
        container = stack.enter_context(opened(wanted.source, wanted.demuxer))
        stream = container.streams[track[0]]
        if not isinstance(stream, AudioStream):
            raise SourceError("The file's sound is none.")
        self._like = stream
        request = Request(
            wanted.source, wanted.demuxer, Fraction(0), Fraction(0), wanted.video, (), "", ()
        )
        clock = stream.time_base or Fraction(1, stream.rate)
        self._clips = []
        for piece in wanted.pieces:
            hearing = Hearing(request, container, Span.of(piece.start, piece.end, clock), track)
            hearing.start_s = piece.start
            self._clips.append(hearing)

    @property
    def silent_s(self) -> Fraction:
        """Seconds for which the source has no sound."""
        return sum((each.silent_s for each in self._clips), Fraction(0))

    def add_to(self, writer: Writer) -> None:
        """Add the track."""
        first = self._clips[0]
        form = forms.form_for(writer.muxer, self._like.codec_context.name)
        form = form.holding(deep=first.deep)
        if self._wanted.hertz:
            form = form.of_platforms(self._wanted.hertz)
        layout, rate = form.of(first.layout, first.rate)
        encoder = encoding.encoder(form, layout, rate)
        frames = self._frames(layout, rate)
        if self._wanted.loudness is not None:
            level = level_for(lambda: self._frames(layout, rate), self._wanted.loudness)
            frames = frames if level is None else filtered(frames, level.filters())
        heard = encoding.encoded(encoder, frames, round(self._begins_s[-1] * rate))
        writer.add_encoded_sound(encoder, heard, self._like)

    def _frames(self, layout: str, rate: int) -> Iterator[AudioFrame]:
        """Yield the sound of all clips; each begins at the sample at which its picture does."""
        dip, last = round(DIP_S * rate), len(self._clips) - 1
        places = [round(begin_s * rate) for begin_s in self._begins_s]
        for number, (hearing, (begin, end)) in enumerate(
            zip(self._clips, pairwise(places), strict=True)
        ):
            length = end - begin
            hearing.end_s = hearing.start_s + Fraction(length, rate)
            frames = hearing.frames(layout, rate, PLAIN)
            dip = min(dip, length // 2)
            yield from shaping.faded(
                frames, length, dip if number else 0, dip if number < last else 0
            )
