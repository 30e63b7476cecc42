"""Sound that is copied packet by packet: in its place to the sample, and without a click."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from cutmv.media import Clip, OutputSpec, Rendered, output_extension, plan, probe, render
from tests.support.corpus import CUT
from tests.support.media import audio_offset_s, duration_s, make_sample, start_s

X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-g", "10", "-bf", "0")
#: The format of samples of 16 bits that encoders have.
PLAIN = {"flac": "s16", "alac": "s16p"}
PRORES = ("-c:v", "prores_ks", "-profile:v", "0")
#: Two clips that neither begin nor end with a packet, and one to the file's end.
CLIPS = [
    Clip(Fraction(start), Fraction(end))
    for start, end in (("0.613", "2.207"), ("0.4", "0.9"), ("1.5", "3"))
]


def sample(path: Path, sound: str, *more: str, picture: tuple[str, ...] = X264) -> Path:
    codec = (*picture, "-c:a", sound, *more)
    return make_sample(path, seconds=3, size=(64, 36), rate="25", codec=codec)


def cut(source: Path, clip: Clip, spec: OutputSpec = CUT) -> tuple[Path, Rendered]:
    info = probe(source)
    made = source.with_name(f"made.{output_extension(info, spec)}")
    return made, render(source, plan(info, clip, spec), made, timeout_s=60)


def heard(path: Path) -> NDArray[Any]:
    """All samples of a file from its zero on, as a player plays them, a row a channel."""
    with av.open(str(path)) as file:
        frames = list(file.decode(audio=0))
        stream = file.streams.audio[0]
        channels, zero_s = stream.codec_context.layout.nb_channels, (file.start_time or 0) / 1e6
    first = frames[0]
    assert first.time is not None
    rows = [each.to_ndarray().reshape(-1, channels).T if not each.format.is_planar
            else each.to_ndarray() for each in frames]  # fmt: skip
    return np.concatenate(rows, axis=1)[:, max(0, round((zero_s - first.time) * stream.rate)) :]


def payloads(path: Path) -> list[bytes]:
    with av.open(str(path)) as file:
        return [bytes(packet) for packet in file.demux(audio=0) if packet.size]


@pytest.mark.parametrize(
    ("name", "sound", "more"),
    [
        ("a.mp4", "libmp3lame", ("-b:a", "32k", "-ac", "1")),
        ("a.mkv", "libopus", ()),
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in (
                ("a.mkv", "libmp3lame", ()),
                ("a.ts", "libmp3lame", ("-ar", "24000", "-b:a", "16k")),
                ("a.mp4", "libopus", ("-frame_duration", "60", "-ac", "6")),
                ("a.mkv", "libopus", ("-frame_duration", "5", "-application", "lowdelay")),
                ("a.mp4", "aac", ("-ar", "44100")),
            )
        ),
    ],
)
def test_sound_that_players_play_is_copied_to_the_sample(
    name: str, sound: str, more: tuple[str, ...], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    source = sample(tmp_path / name, sound, *more)
    slow = request.node.get_closest_marker("slow")
    for clip in CLIPS if slow else CLIPS[:1]:
        assert check(source, clip).suffix == ".mp4"


@pytest.mark.parametrize(
    ("name", "sound", "more"),
    [
        ("a.mkv", "ac3", ("-ac", "6")),
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in (
                ("a.ts", "ac3", ("-ar", "44100")),
                ("a.ts", "eac3", ("-ac", "6")),
                ("a.mp4", "alac", ()),
            )
        ),
    ],
)
def test_sound_that_browsers_are_silent_at_is_copied_where_that_is_asked_for(
    name: str, sound: str, more: tuple[str, ...], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    source = sample(tmp_path / name, sound, *more)
    for clip in CLIPS if request.node.get_closest_marker("slow") else CLIPS[:1]:
        check(source, clip, replace(CUT, exact_copy="always"))

    made, told = cut(source, CLIPS[0])

    assert (told.sound, told.copied > 0) == ("copied" if sound == "alac" else "encoded", True)
    with av.open(str(made)) as file:
        name = file.streams.audio[0].codec_context.name
        assert name == ("flac" if sound == "alac" else "aac")


@pytest.mark.slow
@pytest.mark.parametrize("sound", ["eac3"])
def test_quicktime_holds_what_apple_plays(sound: str, tmp_path: Path) -> None:
    source = sample(tmp_path / "a.mov", sound, picture=PRORES)
    assert check(source, CLIPS[0]).suffix == ".mov"


@pytest.mark.slow
def test_sound_stays_as_it_is_where_all_that_is_asked_for_is_the_sound(tmp_path: Path) -> None:
    source = sample(tmp_path / "a.mov", "alac")
    check(source, CLIPS[0], OutputSpec("m4a", "source", "crop"))


def test_beside_pictures_that_are_encoded_and_for_platforms_sound_is_aac(tmp_path: Path) -> None:
    source = sample(tmp_path / "a.mp4", "libopus")
    for spec in (replace(CUT, exact_copy="never"), replace(CUT, hertz=48_000)):
        made, told = cut(source, CLIPS[0], spec)
        assert told.sound == "encoded"
        with av.open(str(made)) as file:
            assert file.streams.audio[0].codec_context.name == "aac"


@pytest.mark.parametrize(
    ("name", "sound", "picture", "kept"),
    [
        ("a.mkv", "flac", X264, "flac"),
        pytest.param("a.mp4", "alac", X264, "flac", marks=pytest.mark.slow),
        pytest.param("a.mov", "alac", PRORES, "pcm_s16le", marks=pytest.mark.slow),
    ],
)
def test_sound_without_loss_stays_so(
    name: str, sound: str, picture: tuple[str, ...], kept: str, tmp_path: Path
) -> None:
    source = sample(tmp_path / name, sound, "-sample_fmt:a", PLAIN[sound], picture=picture)

    made, told = cut(source, CLIPS[0])

    with av.open(str(made)) as file:
        assert file.streams.audio[0].codec_context.name == kept
    assert told.sound == "copied"
    given, whole = heard(made), heard(source)
    assert abs(given.shape[1] - 1.594 * 48_000) <= 48
    begins = [
        at
        for at in range(29_374, 29_475)
        if np.array_equal(whole[:, at : at + given.shape[1]], given)
    ]
    assert begins  # each sample, and in its place


def test_near_a_files_start_sound_is_encoded_that_chromium_would_play_too_early(
    tmp_path: Path,
) -> None:
    source = sample(tmp_path / "a.mp4", "libopus")

    made, told = cut(source, Clip(Fraction(0), Fraction(1)))

    assert told.sound == "encoded"
    assert abs(audio_offset_s(made, source, 0)) <= 0.001


def test_sound_that_changes_is_encoded(tmp_path: Path) -> None:
    first = sample(tmp_path / "a.ts", "libmp3lame", "-ac", "1", "-ar", "48000")
    more = ("-ac", "1", "-ar", "44100", "-output_ts_offset", "3")
    source = tmp_path / "both.ts"
    source.write_bytes(
        first.read_bytes() + sample(tmp_path / "b.ts", "libmp3lame", *more).read_bytes()
    )

    _, told = cut(source, Clip(Fraction(2), Fraction(4)))

    assert told.sound == "encoded"


def check(source: Path, clip: Clip, spec: OutputSpec = CUT) -> Path:
    made, told = cut(source, clip, spec)
    assert told.sound == "copied"
    assert set(payloads(made)) <= set(payloads(source))
    length_s = float(clip.end - clip.start)
    begin_s = float(clip.start) + probe(source).start_s - start_s(source)
    assert abs(duration_s(made, "a:0") - length_s) <= 0.001
    assert abs(audio_offset_s(made, source, begin_s)) <= 0.001
    with av.open(str(source)) as file:
        rate = file.streams.audio[0].rate
    given, whole = heard(made)[:, : round(length_s * rate)], heard(source)
    # Sample by sample the source's own, from the very first. Clocks count milliseconds, or less.
    for lag in range(-50, 51):
        first = round(begin_s * rate) + lag
        ours = given[:, max(0, -first) :]
        wanted = whole[:, max(0, first) :][:, : ours.shape[1]]
        if np.allclose(wanted, ours[:, : wanted.shape[1]], atol=1e-3):
            return made
    raise AssertionError("the samples are others")
