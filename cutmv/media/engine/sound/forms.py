"""The forms in which sound is encoded, by what it is written to and what the source has."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cutmv.media.engine.sound.layouts import fitting

#: The layouts of uncompressed sound, in the order of their size.
_LAYOUTS = ("mono", "stereo", "2.1", "3.0", "quad", "4.0", "5.0", "5.1", "6.1", "7.1")


@dataclass(frozen=True, slots=True)
class Form:
    """An encoder and its samples' format, by FFmpeg's names, the rates (none: any) and layouts
    that it has. `bit_rate` is for each channel, and `deep` what has more than 16 bits.
    """

    codec: str
    sample: str
    rates: tuple[int, ...] = ()
    layouts: tuple[str, ...] = _LAYOUTS
    bit_rate: int | None = None
    deep: tuple[str, str] | None = None

    def of(self, layout: str, rate: int) -> tuple[str, int]:
        """Return a layout and a rate of sound, as near as this has them."""
        if self.rates and rate not in self.rates:
            rate = next((each for each in self.rates if each <= rate), self.rates[-1])
        return fitting(layout, self.layouts), rate

    def of_platforms(self, rate: int) -> Form:
        """Return the form as platforms take it: of one rate, with two channels at most."""
        return replace(self, rates=(rate,), layouts=("mono", "stereo"))

    def holding(self, *, deep: bool) -> Form:
        """Return the form of samples that are `deep`, with more than 16 bits, or are not."""
        codec, sample = self.deep if deep and self.deep else (self.codec, self.sample)
        return replace(self, codec=codec, sample=sample)


#: AAC, with the rates and layouts that it can have.
AAC = Form(
    "aac",
    "fltp",
    (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000),
    ("mono", "stereo", "3.0", "4.0", "5.0", "5.1", "7.1"),
    96_000,
)
OPUS = Form("libopus", "flt", (48000,), ("mono", "stereo", "quad", "5.0", "5.1", "7.1"), 96_000)
#: FLAC, with its layouts (RFC 9639, 9.1.3).
FLAC = Form(
    "flac",
    "s16",
    layouts=("mono", "stereo", "3.0", "quad", "5.0", "5.1", "6.1", "7.1"),
    deep=("flac", "s32"),
)
MP3 = Form(
    "libmp3lame",
    "fltp",
    (48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000),
    ("mono", "stereo"),
    128_000,
)
WAV = Form("pcm_s16le", "s16", deep=("pcm_s24le", "s32"))
_FLOAT = Form("pcm_f32le", "flt")
#: Muxers of files that may hold sound which is not compressed.
_WITH_PCM = ("mov", "matroska")
#: Codecs without loss, by FFmpeg's names.
_LOSSLESS = ("flac", "alac")


def form_for(muxer: str, codec: str, *, copied: bool = False) -> Form:
    """Return the form of sound of a codec in a film that a muxer writes.

    Beside pictures that are `copied`, sound without loss stays so. Matroska has no edit list, by
    which what AAC needs before its first sample is hidden.
    """
    if codec.startswith("pcm_") and muxer in _WITH_PCM:
        return _FLOAT if codec.startswith("pcm_f") else WAV
    if codec in _LOSSLESS and copied and muxer in ("mp4", "mov"):
        return FLAC if muxer == "mp4" else WAV
    return {"webm": OPUS, "matroska": FLAC}.get(muxer, AAC)


def lossless(form: Form, codec: str) -> bool:
    """Return whether a form has each sample of sound of a codec without loss as it is."""
    if codec in _LOSSLESS:
        return form.codec == "flac" or form.codec.startswith("pcm_s")
    return form.codec[:7] == codec[:7] and codec[4:7] in ("s16", "s24", "f32")
