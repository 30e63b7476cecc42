"""Writes the sound of a clip alone: copied into an M4A where that is exact, or encoded."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from cutmv.media.engine import check
from cutmv.media.engine.protocol import Made, Output
from cutmv.media.engine.sound.hearing import Hearing
from cutmv.media.engine.sound.layouts import fitting
from cutmv.media.engine.source.file import SourceError
from cutmv.media.engine.stages import Stages
from cutmv.media.engine.writer import Writer

#: The layouts that FLAC has (RFC 9639, 9.1.3).
FLAC_LAYOUTS = ("mono", "stereo", "3.0", "quad", "5.0", "5.1", "6.1", "7.1")
#: The rates that MP3 has.
MP3_RATES = (48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)


@dataclass(frozen=True, slots=True)
class _Form:
    """A file of sound: its muxer and encoder; rates and layouts that it has, none for any."""

    muxer: str
    codec: str
    rates: tuple[int, ...] | None = None
    layouts: tuple[str, ...] | None = None
    bit_rate: int | None = None
    #: How it holds samples of more than 16 bits: the encoder, and its samples' format.
    deep: tuple[str, str] | None = None

    def of(self, layout: str, rate: int) -> tuple[str, int]:
        """Return the layout and the rate, as near as this has them."""
        if self.layouts:
            layout = fitting(layout, self.layouts)
        if self.rates and rate not in self.rates:
            rate = next((each for each in self.rates if each <= rate), self.rates[-1])
        return layout, rate


FORMS = {
    "mp3": _Form("mp3", "libmp3lame", MP3_RATES, ("mono", "stereo"), 256_000),
    "wav": _Form("wav", "pcm_s16le", deep=("pcm_s24le", "s32")),
    "flac": _Form("flac", "flac", None, FLAC_LAYOUTS, deep=("flac", "s32")),
}


def write(output: Output, form: str, hearing: Hearing, stages: Stages) -> Made:
    """Write the sound of a clip in a form: "m4a" or one of `FORMS`. Raises SourceError."""
    if not hearing.there:
        raise SourceError("The file has no sound.")
    path = Path(output.path)
    if form == "m4a":
        with Writer(path, "ipod", Fraction(1, hearing.rate)) as writer:
            told = hearing.add_to(writer, output, stages)
            writer.finish(0)
    else:
        told = _encode(path, FORMS[form], hearing, output)
    check.sound(path)
    return Made(output.path, 0, 0, float(hearing.end_s - hearing.start_s), 0, 0, told)


def _encode(path: Path, form: _Form, hearing: Hearing, output: Output) -> str:
    layout, rate = form.of(hearing.layout, hearing.rate)
    with av.open(str(path), "w", format=form.muxer) as out:
        deep = form.deep if hearing.deep else None
        track: Any = out.add_stream(deep[0] if deep else form.codec, rate=rate, layout=layout)
        if deep:
            track.codec_context.format = deep[1]
        if form.bit_rate:
            track.codec_context.bit_rate = form.bit_rate
        at = 0
        for frame in hearing.frames(layout, rate, output):
            frame.pts, frame.time_base = at, Fraction(1, rate)
            at += frame.samples
            out.mux(track.encode(frame))
        out.mux(track.encode(None))
    return "encoded"
