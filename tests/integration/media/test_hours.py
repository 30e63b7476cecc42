"""Clips of hours: what the engine holds in memory grows little with their length."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.media import make_hours

#: Minutes of the video, each the same, and bytes for each of its pictures that memory may grow by.
MINUTES, BYTES_A_PICTURE = 90, 700
#: Cuts a clip, and prints its pictures, how its sound was made and the engine's peak memory in KB.
CUT = """
import resource, sys
from fractions import Fraction
from pathlib import Path
from cutmv.media import Clip, OutputSpec, plan, probe, render
source, made, end = sys.argv[1:]
planned = plan(probe(source), Clip(Fraction(7), Fraction(end)), OutputSpec(
    "cutdown", "source", "crop"))
found = render(source, planned, Path(made), timeout_s=600)
print(found.frames, found.sound, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


@pytest.mark.slow
def test_the_pictures_and_the_sound_of_hours_are_not_held_in_memory(tmp_path: Path) -> None:
    whole = make_hours(tmp_path, MINUTES, size=(64, 64))

    def cut(end: int) -> tuple[int, int]:
        argv = [sys.executable, "-c", CUT, whole, tmp_path / "made.mp4", str(end)]
        done = subprocess.run(argv, capture_output=True, text=True, check=True)
        frames, sound, peak_kb = done.stdout.split()
        assert sound == "copied"
        return int(frames), int(peak_kb) * 1024

    (few, before), (many, after) = cut(60), cut(MINUTES * 60 - 7)

    assert many > 80 * few
    assert after - before < BYTES_A_PICTURE * many
