"""Sound whose clock and whose samples disagree: small holes that add up, and drift."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from cutmv.media import Clip, OutputSpec, ffmpeg_path, output_extension, plan, probe, render
from tests.support.corpus import SIZE, seen, x264
from tests.support.media import duration_s, make_sample

RATE = 48_000
CUT = OutputSpec("cutdown", "source", "crop")


#: Tones (Hz) that together are at no two times alike.
TONES = np.random.default_rng(5).uniform(100, 3000, 24)


def chord(seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """What is heard at some times."""
    found = np.zeros(len(seconds))
    for hertz in TONES:
        found += np.sin(2 * np.pi * hertz * seconds)
    return found / 12


#: When (s) each sample is heard, by its number.
Clock = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def drifting(hertz: float) -> Clock:
    return lambda samples: samples / hertz


def with_holes(each: int, of: int) -> Clock:
    """After each `each` samples `of` others are missing."""
    return lambda samples: (samples + samples // each * of) / RATE


def source(path: Path, clock: Clock, seconds: float, codec: str) -> Path:
    """A video whose sound is heard by a clock, told by the times of its packets."""
    plain = path.with_name("plain.mp4")
    picture = x264("-g", "100", "-bf", "2")
    make_sample(plain, seconds=seconds, size=SIZE, rate="25", audio=False, codec=picture)
    count = int(np.searchsorted(clock(np.arange(0.0, seconds * RATE * 1.1)), seconds))
    heard = chord(clock(np.arange(0.0, count))).astype(np.float32)
    out: Any
    with av.open(str(plain)) as given, av.open(str(path), "w") as out:
        video = out.add_stream_from_template(given.streams.video[0])
        sound = out.add_stream(codec, rate=RATE, layout="mono")
        packets = [packet for packet in given.demux() if packet.size]
        for packet in packets:
            packet.stream = video
        for at in range(0, count, 1024):
            piece = heard[None, at : at + 1024]
            if codec.startswith("pcm_s16"):
                piece = (piece * 32767).astype(np.int16)
            sample = {"aac": "fltp", "pcm_s16le": "s16", "libopus": "flt"}[codec]
            frame = av.AudioFrame.from_ndarray(piece, format=sample, layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, at, Fraction(1, RATE)
            packets += sound.encode(frame)
        packets += sound.encode(None)
        tick = Fraction(1, 90_000)
        for packet in packets:
            if packet.stream is sound:
                begins = np.array([packet.pts * packet.time_base * RATE], float)
                at_s = float(clock(begins)[0]) if begins[0] > 0 else begins[0] / RATE
                packet.time_base = tick
                packet.pts = packet.dts = round(at_s / tick)
        for packet in sorted(packets, key=lambda each: each.dts * each.time_base):
            out.mux_one(packet)
    return path


def heard(path: Path) -> NDArray[np.float32]:
    argv = [ffmpeg_path(), "-v", "error", "-i", str(path), "-map", "0:a", "-f", "f32le"]
    argv += ["-ac", "1", "-ar", str(RATE), "-"]
    raw = subprocess.run(argv, check=True, stdout=subprocess.PIPE).stdout
    return np.frombuffer(raw, np.float32)


def late_s(sound: NDArray[np.float32], at: float, begins: float) -> float:
    """How much too late the quarter of a second of a clip is that should be heard from `at` on."""
    first = round(at * RATE)
    piece = sound[first : first + RATE // 4].astype(float)
    most = RATE // 100
    around = chord(begins + at + np.arange(-most, len(piece) + most) / RATE)
    return (most - int(np.argmax(np.correlate(around, piece)))) / RATE


#: Of which kinds holes and drift are; and the seconds of a source.
CLOCKS = {
    "47.98 kHz": drifting(47_980),
    "48.03 kHz": drifting(48_030),
    "5 samples each packet": with_holes(1024, 5),
    "3 ms each second": with_holes(48 * 1024, 144),
    "0.9 ms twice a second": with_holes(24 * 1024, 43),
}


@pytest.mark.parametrize(
    ("clock", "suffix"),
    [
        (clock, suffix)
        if (clock, suffix) == ("47.98 kHz", "mp4")
        else pytest.param(clock, suffix, marks=pytest.mark.slow)
        for clock in CLOCKS
        for suffix in ("mp4", "mkv", "ts")
    ],
)
def test_sound_is_where_its_clock_says_all_through_a_clip(
    tmp_path: Path, clock: str, suffix: str
) -> None:
    video = source(tmp_path / f"source.{suffix}", CLOCKS[clock], 10, "aac")
    info = probe(video)
    made = tmp_path / f"made.{output_extension(info, CUT)}"

    render(video, plan(info, Clip(Fraction(2), Fraction(9)), CUT), made, timeout_s=60)

    assert seen(made).numbers == list(range(50, 225))
    assert duration_s(made, "a:0") == pytest.approx(7, abs=0.001)
    sound = heard(made)
    late = [late_s(sound, at, 2) for at in (0, 0.9, 3.3, 6.74)]
    assert max(map(abs, late)) < 0.001, late
    if "kHz" in clock:  # and no click
        natural = np.abs(np.diff(chord(np.arange(2.0, 9.0, 1 / RATE)))).max()
        assert np.abs(np.diff(sound)).max() < 1.1 * natural
