"""The tempo and the beats of sound whose beats are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cutmv.media.engine.analysis.beats import find_beats
from cutmv.media.engine.analysis.onsets import Onsets
from tests.support.music import RATE, Samples, clicks, speech

SECONDS = 30.0


def heard(sound: Samples) -> dict[str, Any]:
    """What is found in sound, which comes in pieces, at half of RATE."""
    onsets, halved = Onsets(), sound.reshape(-1, 2).mean(axis=1)
    for start in range(0, len(halved), 5000):
        onsets.add(halved[start : start + 5000])
    return find_beats(onsets.all(), onsets.low(), [])


def share_found(found: list[float], true: np.ndarray[Any, Any]) -> float:
    """The share of beats that were found within 50 ms."""
    times = np.array(found)
    return float(np.mean([np.abs(times - beat).min() <= 0.05 for beat in true]))


@pytest.mark.parametrize("bpm", [60, 87, 120, 140, 174, 200])
def test_clicks_are_found_at_their_tempo(bpm: float) -> None:
    true = np.arange(0, SECONDS - 0.1, 60 / bpm)

    found = heard(clicks(bpm, SECONDS))

    assert found["tempo"] == pytest.approx(bpm, rel=0.003)
    assert share_found(found["beats"], true) >= 0.9
    assert len(found["beats"]) <= len(true) + 1


@pytest.mark.parametrize("meter", [3, 4])
def test_the_first_beats_of_bars_are_found_where_they_stand_out(meter: int) -> None:
    true = np.arange(0, SECONDS - 0.1, meter * 60 / 120)

    found = heard(clicks(120, SECONDS, meter=meter))

    assert found["meter"] == meter
    assert share_found(found["downbeats"], true) >= 0.9
    assert len(found["downbeats"]) <= len(true) + 1


def test_no_bars_are_told_where_no_beat_stands_out() -> None:
    found = heard(clicks(120, SECONDS, accents=False))

    assert found["tempo"] == pytest.approx(120, rel=0.003)
    assert found["meter"] is None
    assert found["downbeats"] == []


def test_beats_that_begin_late_are_found_where_they_are() -> None:
    found = heard(clicks(100, SECONDS, first=7.31))

    assert found["beats"][0] == pytest.approx(7.31, abs=0.05)


@pytest.mark.parametrize(
    "sound",
    [
        pytest.param(speech(SECONDS), id="speech"),
        pytest.param(
            np.random.default_rng(1).normal(0, 0.1, round(SECONDS * RATE)).astype(np.float32),
            id="noise",
        ),
        pytest.param(
            np.sin(np.arange(round(SECONDS * RATE)) * (2 * np.pi * 440 / RATE)).astype(np.float32),
            id="a tone",
        ),
        pytest.param(np.zeros(round(SECONDS * RATE), np.float32), id="silence"),
        pytest.param(clicks(120, 2), id="two seconds"),
    ],
)
def test_no_beat_is_told_where_there_is_none(sound: Samples) -> None:
    found = heard(sound)

    assert found["tempo"] is None
    assert found["beats"] == []
