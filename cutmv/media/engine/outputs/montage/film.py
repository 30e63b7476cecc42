"""Writes one film of many clips."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from fractions import Fraction
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

from av.audio.frame import AudioFrame
from av.audio.layout import AudioLayout
from av.audio.stream import AudioStream
from av.container import InputContainer

from cutmv.media.engine import check, findings, tracks
from cutmv.media.engine.outputs.montage.pictures import Pictures
from cutmv.media.engine.outputs.montage.request import Montage
from cutmv.media.engine.protocol import Output, Request
from cutmv.media.engine.sound import encoding, forms, shaping
from cutmv.media.engine.sound.decoding import silence
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
        containers = [
            stack.enter_context(opened(each.name, each.demuxer)) for each in wanted.sources
        ]
        with Writer(Path(wanted.path), wanted.muxer, pictures.tick) as writer:
            pictures.add_to(writer)
            sounds = _sounds(wanted, pictures.begins_s, stack)
            for sound in sounds:
                sound.add_to(writer)
            if wanted.with_texts:
                _add_texts(writer, wanted, pictures.begins_s, containers)
            for count, packet in enumerate(pictures.packets(), start=1):
                writer.put(packet)
                progressed(count, pictures.count)
            writer.finish(pictures.length)
        left_out = [
            tracks.left_out(
                container,
                {source.video, *chain.from_iterable(source.tracks)},
                with_texts=wanted.with_texts,
            )
            for source, container in zip(wanted.sources, containers, strict=True)
        ]
    last_s = float(writer.last * pictures.tick)
    check.film(Path(wanted.path), packets=writer.count, last=last_s, sound=bool(sounds))
    silent_s = max((sound.silent_s for sound in sounds), default=Fraction(0))
    return {
        "pictures": writer.count,
        "length_s": float(pictures.length * pictures.tick),
        "sound": "encoded" if sounds else None,
        "warnings": [
            *findings.of_sound(silent_s),
            *dict.fromkeys(each for each in left_out if each),
        ],
        "read_bytes": Total.bytes,
    }


def _add_texts(
    writer: Writer, wanted: Montage, begins_s: list[Fraction], containers: list[InputContainer]
) -> None:
    """Add the sources' texts, and chapters: one for each clip at least."""
    parts = [
        tracks.Part(containers[piece.source], piece.start, piece.end, begin_s)
        for piece, begin_s in zip(wanted.pieces, begins_s, strict=False)
    ]
    tracks.add_texts(writer, parts)
    named = (
        tracks.named(part, piece.label, piece.text)
        for part, piece in zip(parts, wanted.pieces, strict=True)
    )
    tracks.add_chapters(writer, list(chain.from_iterable(named)))


def _sounds(wanted: Montage, begins_s: list[Fraction], stack: ExitStack) -> list[_Sound]:
    """Return the tracks of the film's sound: as many as the source has that has the most."""
    count = max(len(each.tracks) for each in wanted.sources)
    return [_Sound(wanted, begins_s, number, stack) for number in range(count)]


class _Sound:
    """One track of the film's sound, in one piece: that of each source which has so many."""

    def __init__(
        self, wanted: Montage, begins_s: list[Fraction], number: int, stack: ExitStack
    ) -> None:
        self._wanted, self._begins_s = wanted, begins_s
        containers = {
            place: stack.enter_context(opened(source.name, source.demuxer))
            for place, source in enumerate(wanted.sources)
            if number < len(source.tracks)
        }
        #: The sound of each clip; none of one whose source has no such track.
        self._clips: list[Hearing | None] = []
        for piece in wanted.pieces:
            if piece.source not in containers:
                self._clips.append(None)
                continue
            source, container = wanted.sources[piece.source], containers[piece.source]
            track = source.tracks[number]
            stream = container.streams[track[0]]
            if not isinstance(stream, AudioStream):
                raise SourceError("The file's sound is none.")
            request = Request(
                source.name, source.demuxer, Fraction(0), Fraction(0), source.video, (), "", ()
            )
            clock = stream.time_base or Fraction(1, stream.rate)
            hearing = Hearing(request, container, Span.of(piece.start, piece.end, clock), track)
            hearing.start_s = piece.start
            self._clips.append(hearing)
        self._there = [each for each in self._clips if each is not None]
        first = next(iter(containers))
        like = containers[first].streams[wanted.sources[first].tracks[number][0]]
        if not isinstance(like, AudioStream):
            raise SourceError("The file's sound is none.")
        self._like = like

    @property
    def silent_s(self) -> Fraction:
        """Seconds for which the source has no sound."""
        return sum((each.silent_s for each in self._there), Fraction(0))

    def add_to(self, writer: Writer) -> None:
        """Add the track, with the channels of the source that has the most, at the highest rate."""
        form = forms.form_for(writer.muxer, self._like.codec_context.name)
        form = form.holding(deep=any(each.deep for each in self._there))
        if self._wanted.hertz:
            form = form.of_platforms(self._wanted.hertz)
        layouts = [form.of(each.layout, each.rate)[0] for each in self._there]
        layout = max(layouts, key=lambda each: AudioLayout(each).nb_channels)
        _, rate = form.of(layout, max(each.rate for each in self._there))
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
            most = min(dip, length // 2)
            if hearing is None:
                yield from silence(length, layout, rate)
                continue
            hearing.end_s = hearing.start_s + Fraction(length, rate)
            frames = hearing.frames(layout, rate, PLAIN)
            yield from shaping.faded(
                frames, length, most if number else 0, most if number < last else 0
            )
