"""Writes the sound of a clip alone: copied into an M4A where that is exact, or encoded."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from cutmv.media.engine import check
from cutmv.media.engine.protocol import Made, Output
from cutmv.media.engine.sound import forms
from cutmv.media.engine.sound.copying import PLAYED
from cutmv.media.engine.sound.hearing import Hearing
from cutmv.media.engine.source.file import SourceError
from cutmv.media.engine.stages import Stages
from cutmv.media.engine.writer import Writer

#: The muxer and the form of each kind of file.
FORMS = {"mp3": ("mp3", forms.MP3), "wav": ("wav", forms.WAV), "flac": ("flac", forms.FLAC)}
#: Seconds of sound at least, without which there is none.
LEAST_S = Fraction(1, 1000)


def write(output: Output, form: str, hearing: Hearing, stages: Stages) -> Made:
    """Write the sound of a clip in a form: "m4a" or one of `FORMS`. Raises SourceError."""
    if not hearing.there:
        raise SourceError("The file has no sound.")
    path = Path(output.path)
    if form == "m4a":
        with Writer(path, "ipod", Fraction(1, hearing.rate)) as writer:
            told = hearing.add_to(writer, output, stages, PLAYED[writer.muxer])
            writer.finish(0)
    else:
        told = _encode(path, *FORMS[form], hearing, output)
    length_s = hearing.end_s - hearing.start_s
    if hearing.silent_s > max(Fraction(0), length_s - LEAST_S):
        raise SourceError("the file has no sound there.")
    check.sound(path)
    return Made(output.path, 0, 0, float(length_s), 0, 0, told)


def _encode(path: Path, muxer: str, form: forms.Form, hearing: Hearing, output: Output) -> str:
    form = form.holding(deep=hearing.deep)
    layout, rate = form.of(hearing.layout, hearing.rate)
    with av.open(str(path), "w", format=muxer) as out:
        track: Any = out.add_stream(form.codec, rate=rate, layout=layout)
        track.codec_context.format = form.sample
        if form.bit_rate:
            channels = av.AudioLayout(layout).nb_channels
            track.codec_context.bit_rate = form.bit_rate * channels
        at = 0
        for frame in hearing.frames(layout, rate, output):
            frame.pts, frame.time_base = at, Fraction(1, rate)
            at += frame.samples
            out.mux(track.encode(frame))
        out.mux(track.encode(None))
    return "encoded"
