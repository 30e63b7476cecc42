"""Films in the container that holds their source's own packets."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from cutmv.media import Clip, MediaError, plan, probe, render
from tests.support import corpus
from tests.support.corpus import CUT, KINDS
from tests.support.media import make_sample

CLIP = Clip(Fraction("0.513"), Fraction("2.271"))


@pytest.mark.parametrize(
    ("name", "extension"),
    [
        ("mpeg2", ".mp4"),
        ("prores, wav", ".mov"),
        ("ffv1, groups", ".mkv"),
        ("mjpeg, avi", ".mov"),
        pytest.param("ffv1, avi", ".mkv", marks=pytest.mark.slow),
        pytest.param("cineform, avi", ".mov", marks=pytest.mark.slow),
        pytest.param("magicyuv", ".mov", marks=pytest.mark.slow),
        pytest.param("animation", ".mov", marks=pytest.mark.slow),
        pytest.param("png", ".mov", marks=pytest.mark.slow),
        pytest.param("ffv1, version 1", ".mkv", marks=pytest.mark.slow),
        pytest.param("ffv1", ".mkv", marks=pytest.mark.slow),
        pytest.param("mpeg2, quicktime", ".mov", marks=pytest.mark.slow),
        pytest.param("mjpeg", ".mov", marks=pytest.mark.slow),
        pytest.param("vp8", ".webm", marks=pytest.mark.slow),
    ],
)
def test_a_clip_keeps_its_sources_codec(name: str, extension: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    source = corpus.make(kind, tmp_path / f"source.{kind.suffix}", seconds=3)

    made, told = corpus.check(kind, source, CLIP, tmp_path)

    assert made.suffix == extension
    assert told.copied > 0
    assert (corpus.payloads(made) & corpus.payloads(source)).total() >= told.copied
    with av.open(str(made)) as ours, av.open(str(source)) as whole:
        assert ours.streams.video[0].codec_context.name == whole.streams.video[0].codec_context.name
        if extension == ".mov" and source.suffix == ".mov":  # which kind of ProRes it is
            ours_tag, tag = (f.streams.video[0].codec_context.codec_tag for f in (ours, whole))
            assert ours_tag == tag


def samples(path: Path, codec: str) -> NDArray[np.int32]:
    with av.open(str(path)) as file:
        sound = file.streams.audio[0]
        assert sound.codec_context.name == codec
        return np.concatenate([frame.to_ndarray() for frame in file.decode(sound)], axis=1)


@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_s24le", "pcm_f32le"])
def test_uncompressed_sound_stays_as_it_is(codec: str, tmp_path: Path) -> None:
    pictures = ("-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-c:a", codec)
    source = make_sample(tmp_path / "a.mov", seconds=2, size=(64, 36), codec=pictures)
    made = tmp_path / "made.mov"

    render(
        source, plan(probe(source), Clip(Fraction(1, 2), Fraction(3, 2)), CUT), made, timeout_s=9
    )

    assert np.array_equal(samples(made, codec), samples(source, codec)[:, 24000:72000])


def test_an_exact_copy_is_made_or_refused_with_the_reason(tmp_path: Path) -> None:
    source = make_sample(tmp_path / "a.mp4", seconds=3, size=(64, 36))  # keys at 0 and 1.6 s
    always, never = replace(CUT, exact_copy="always"), replace(CUT, exact_copy="never")
    info, made = probe(source), tmp_path / "made.mp4"
    between = Clip(Fraction("0.2"), Fraction("1.2"))

    with pytest.raises(MediaError, match="copied exactly: no key picture of it lies in the clip"):
        render(source, plan(info, between, always), made, timeout_s=9)
    assert not made.exists()
    assert render(source, plan(info, CLIP, always), made, timeout_s=9).copied > 0
    encoded = render(source, plan(info, CLIP, never), made, timeout_s=9)
    assert (encoded.copied, encoded.reason) == (0, "that was asked for")


def test_a_codec_that_no_film_of_ours_holds_is_no_exact_copy(tmp_path: Path) -> None:
    pictures = ("-c:v", "mpeg4", "-q:v", "5")
    source = make_sample(tmp_path / "a.mp4", seconds=1, size=(64, 36), codec=pictures)
    info, made = probe(source), tmp_path / "made.mp4"
    half = Clip(Fraction(0), Fraction(1, 2))

    reason = "its codec, mpeg4, is not one that we copy into a film of this kind"
    assert render(source, plan(info, half, CUT), made, timeout_s=9).reason == reason
    with pytest.raises(MediaError, match=reason):
        render(source, plan(info, half, replace(CUT, exact_copy="always")), made, timeout_s=9)
