"""Sound of any layout and depth: as loud as it was, never clipped by a downmix, bit for bit."""

from __future__ import annotations

import re
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from cutmv.media import (
    Clip,
    MediaError,
    OutputSpec,
    ffmpeg_path,
    output_extension,
    plan,
    probe,
    render,
)

#: Pictures that are quickly made.
PICTURES = (
    "-f",
    "lavfi",
    "-i",
    "color=s=64x64:r=10",
    "-c:v",
    "libx264",
    "-preset",
    "ultrafast",
    "-g",
    "5",
)
RATE = 48_000


def source(path: Path, samples: NDArray[Any], layout: str, codec: str, kind: str = "f32le") -> Path:
    """A video with these samples, one row an instant."""
    sound = ["-f", kind, "-ar", str(RATE), "-ch_layout", layout, "-i", "-"]
    argv = [ffmpeg_path(), "-v", "error", "-y", *sound, *PICTURES, "-c:a", codec]
    argv += ["-t", str(len(samples) / RATE), str(path)]
    subprocess.run(argv, check=True, input=np.ascontiguousarray(samples).tobytes())
    return path


def made(video: Path, kind: Any, end: str, fade_s: float = 0.0) -> Path:
    spec = OutputSpec(kind, "source", "crop", fade_s=fade_s)
    info = probe(video)
    output = video.with_name(f"made-{kind}.{output_extension(info, spec)}")
    clip = Clip(Fraction(0), Fraction(end))
    render(video, plan(info, clip, spec), output, timeout_s=60)
    return output


def heard(path: Path, channels: int, kind: str = "f32le") -> NDArray[Any]:
    """All samples of a file, one row an instant."""
    argv = [ffmpeg_path(), "-v", "error", "-i", str(path), "-map", "0:a", "-f", kind, "-"]
    raw = subprocess.run(argv, check=True, stdout=subprocess.PIPE).stdout
    return np.frombuffer(raw, "<f4" if kind == "f32le" else "<i4").reshape(-1, channels)


def tones(channels: int, seconds: float) -> NDArray[np.float32]:
    """A tone of its own in each channel, as loud as can be; the fourth's is low (LFE)."""
    hertz = [60 if channel == 3 else 400 + 110 * channel for channel in range(channels)]
    at = np.arange(round(seconds * RATE)) / RATE
    return np.stack([np.sin(2 * np.pi * each * at) for each in hertz], axis=1).astype(np.float32)


@pytest.mark.parametrize(
    ("layout", "held"),
    [("5.1(side)", "5.1"), ("7.1", "7.1"), ("quad", "5.0")],
)
def test_channels_stay_apart_and_as_loud_where_the_layout_can_be_held(
    tmp_path: Path, layout: str, held: str
) -> None:
    count = {"quad": 4, "5.1(side)": 6, "7.1": 8}[layout]
    sound = tones(count, 0.6)
    video = source(tmp_path / "many.mkv", sound * 0.9, layout, "flac")
    # 5.0 has one more channel than four at the corners, that in the middle.
    places = [0, 1, 3, 4] if layout == "quad" else range(count)

    film = heard(made(video, "cutdown", "0.6", fade_s=0.05), {"5.0": 5, "5.1": 6, "7.1": 8}[held])

    middle = slice(RATE // 5, 2 * RATE // 5)
    for place, channel in zip(places, range(count), strict=True):
        loudness = film[middle, place] @ sound[middle, channel] * 2 / (RATE // 5)
        assert loudness == pytest.approx(0.9, abs=0.03)


def test_a_downmix_is_as_loud_as_its_channels_and_never_clipped(tmp_path: Path) -> None:
    sound = tones(6, 0.7)
    apart = sound.copy()
    for channel in range(6):  # a tenth of a second each, then all together
        apart[: channel * RATE // 10, channel] = 0
        apart[(channel + 1) * RATE // 10 : 6 * RATE // 10, channel] = 0
    video = source(tmp_path / "many.mkv", apart, "5.1", "pcm_f32le")

    mixed = heard(made(video, "mp3", "0.7"), 2)

    parts = [(1, 0), (0, 1), (0.707, 0.707), (0, 0), (0.707, 0), (0, 0.707)]
    for channel, (left, right) in enumerate(parts):
        part = slice(channel * RATE // 10 + 1200, (channel + 1) * RATE // 10 - 1200)
        amplitudes = mixed[part].std(axis=0) * 2**0.5
        assert amplitudes == pytest.approx([left, right], abs=0.04)
    part = slice(6 * RATE // 10 + 1200, 7 * RATE // 10 - 1200)
    assert 0.85 < np.abs(mixed[part]).max() < 1.05
    # Turned down as a whole, and not cut off at the top, which would be other sounds.
    wanted = (sound @ np.array(parts))[part, 0]
    assert np.corrcoef(mixed[part, 0], wanted)[0, 1] > 0.985


@pytest.mark.parametrize("kind", ["wav", "flac"])
@pytest.mark.parametrize(("codec", "bits"), [("pcm_s24le", 24), ("flac", 16)])
def test_wav_and_flac_are_as_deep_as_the_source_bit_for_bit(
    tmp_path: Path, kind: Any, codec: str, bits: int
) -> None:
    rng = np.random.default_rng(7)
    step = 2 ** (32 - bits)
    sound = (rng.integers(-(2**31) // step, 2**31 // step, (RATE // 4, 2)) * step).astype("<i4")
    video = tmp_path / "deep.mkv"
    argv = ["-sample_fmt", "s16"] if bits == 16 else []
    given = ["-f", "s32le", "-ar", str(RATE), "-ac", "2", "-i", "-", *PICTURES]
    argv = [ffmpeg_path(), "-v", "error", "-y", *given, "-c:a", codec, *argv, "-t", "0.25"]
    subprocess.run([*argv, str(video)], check=True, input=sound.tobytes())

    output = made(video, kind, "0.25")

    assert np.array_equal(heard(output, 2, "s32le"), sound)
    assert output.stat().st_size < 0.25 * RATE * 2 * (bits // 8) * 1.1 + 10_000


def test_what_is_no_plain_layout_is_cut(tmp_path: Path) -> None:
    sound = np.zeros((RATE // 4, 16), np.float32)
    sound[:, 1] = tones(1, 0.25)[:, 0]
    video = source(tmp_path / "many.mov", sound, "16 channels", "pcm_s16le")

    for kind in ("cutdown", "flac"):
        stereo = heard(made(video, kind, "0.25", fade_s=0.02), 2)
        amplitudes = stereo[2400:9600].std(axis=0) * 2**0.5
        assert amplitudes == pytest.approx([0, 1], abs=0.08)


def test_sound_alone_is_refused_where_the_file_has_none(tmp_path: Path) -> None:
    video = tmp_path / "video.mp4"
    tone = ["-f", "lavfi", "-i", "sine=440:d=1:r=48000"]
    argv = [ffmpeg_path(), "-v", "error", "-y", *tone, *PICTURES, "-t", "4", str(video)]
    subprocess.run(argv, check=True)
    info = probe(video)
    for kind in ("wav", "m4a"):
        wanted = plan(info, Clip(Fraction(2), Fraction(3)), OutputSpec(kind, "source", "crop"))
        with pytest.raises(MediaError, match="the file has no sound there"):
            render(video, wanted, tmp_path / f"made.{kind}", timeout_s=60)
        assert not (tmp_path / f"made.{kind}").exists()


def song(seconds: float, amplitude: float, peaks: float) -> NDArray[np.float32]:
    """Stereo with a beat, whose peaks are louder than the rest."""
    rng = np.random.default_rng(3)
    at = np.arange(round(seconds * RATE)) / RATE
    beat = np.exp(-40 * (at % 0.5))
    left = amplitude * np.sin(2 * np.pi * 220 * at) + peaks * beat * np.sin(2 * np.pi * 90 * at)
    right = amplitude * np.sin(2 * np.pi * 277 * at) + 0.1 * amplitude * rng.standard_normal(
        len(at)
    )
    return np.stack([left, right], axis=1).astype(np.float32)


def loudness(path: Path) -> tuple[float, float]:
    """The integrated loudness of a file in LUFS, and its true peak in dBTP, by FFmpeg's meter."""
    argv = [ffmpeg_path(), "-hide_banner", "-nostats", "-i", str(path), "-map", "0:a"]
    argv += ["-af", "ebur128=peak=true", "-f", "null", "-"]
    told = subprocess.run(argv, check=True, capture_output=True, text=True).stderr
    summary = told[told.rindex("Summary:") :]
    lufs = re.search(r"I:\s+(-?[\d.]+|-inf) LUFS", summary)
    peak = re.search(r"Peak:\s+(-?[\d.]+|-inf) dBFS", summary)
    assert lufs
    assert peak
    return float(lufs[1]), float(peak[1])


@pytest.mark.parametrize(
    ("kind", "wanted", "lufs", "amplitude", "peaks"),
    [
        ("cutdown", "broadcast", -23, 0.3, 0.2),  # quieter: a gain alone
        ("cutdown", "streaming", -14, 0.05, 0.6),  # the peaks need a limiter
        ("wav", "podcast", -16, 0.02, 0.02),  # louder, and the peaks allow it
        pytest.param("flac", "streaming", -14, 0.05, 0.6, marks=pytest.mark.slow),
        pytest.param("mp3", "streaming", -14, 0.4, 0.5, marks=pytest.mark.slow),
    ],
)
def test_sound_gets_the_loudness_that_is_wanted_in_its_place(
    tmp_path: Path, kind: Any, wanted: Any, lufs: float, amplitude: float, peaks: float
) -> None:
    given = song(3.2, amplitude, peaks)
    video = source(tmp_path / "song.mkv", given, "stereo", "pcm_f32le")
    info = probe(video)
    spec = OutputSpec(kind, "source", "crop", loudness=wanted)
    output = tmp_path / f"made.{output_extension(info, spec)}"
    clip = Clip(Fraction("0.2"), Fraction("3.2"))

    told = render(video, plan(info, clip, spec), output, timeout_s=60)

    made_lufs, peak = loudness(output)
    assert made_lufs == pytest.approx(lufs, abs=0.5)
    assert peak <= -1
    assert told.warnings == ()
    found, wanted_sound = heard(output, 2)[:, 1], given[RATE // 5 :, 1]
    if kind in ("wav", "flac"):
        assert len(found) == 3 * RATE
    # In its place to a sample: of all places near by none is more alike.
    middle = wanted_sound[RATE : 2 * RATE]
    alike = {lag: float(found[RATE + lag : 2 * RATE + lag] @ middle) for lag in range(-100, 101)}
    assert abs(max(alike, key=alike.__getitem__)) <= 1
    if kind == "cutdown":
        assert told.copied > 0


@pytest.mark.parametrize("level", [0.0, 0.5])
def test_sound_that_can_not_be_measured_is_left_as_it_is_and_told(
    tmp_path: Path, level: float
) -> None:
    seconds = 0.3 if level else 1.0
    video = source(tmp_path / "still.mp4", song(seconds, level, level), "stereo", "aac")
    clip = Clip(Fraction(0), Fraction(str(seconds)))
    spec = OutputSpec("cutdown", "source", "crop", loudness="streaming")
    output = tmp_path / "made.mp4"

    told = render(video, plan(probe(video), clip, spec), output, timeout_s=60)

    assert told.warnings == (
        "The sound is silent, or too short to measure: it is as loud as it was.",
    )
    with av.open(str(output)) as file, av.open(str(video)) as of_source:
        packets = {bytes(packet) for packet in of_source.demux(audio=0)}
        assert {bytes(packet) for packet in file.demux(audio=0)} <= packets


def test_peaks_that_allow_no_more_are_told(tmp_path: Path) -> None:
    clicks = np.zeros((3 * RATE, 2), np.float32)
    clicks[:: RATE // 4] = 0.9
    video = source(tmp_path / "clicks.mkv", clicks, "stereo", "pcm_s16le")
    spec = OutputSpec("wav", "source", "crop", loudness="streaming")

    told = render(
        video, plan(probe(video), Clip(Fraction(0), Fraction(3)), spec), tmp_path / "made.wav",
        timeout_s=60,
    )  # fmt: skip

    assert len(told.warnings) == 1
    assert "its peaks allow no more" in told.warnings[0]
    assert loudness(tmp_path / "made.wav")[1] <= -1
