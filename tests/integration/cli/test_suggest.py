"""`cutmv suggest`, as a process, and `cutmv cut` at the other end of its pipe."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cutmv.media import probe
from tests.support.media import make_sample
from tests.support.music import Film, clicks, make_film

CUTMV = (sys.executable, "-m", "cutmv")


def run(*arguments: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    argv = [*CUTMV, *map(str, arguments)]
    return subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=120)


@pytest.mark.slow
def test_what_is_suggested_can_be_piped_to_cut(tmp_path: Path) -> None:
    song = make_film(tmp_path / "song.mp4", Film(12, cuts=(100, 200)), clicks(120, 12))

    suggested = run("suggest", song, "--clips", "2", "--length", "4")
    cut = run("cut", song, "--clips", "-", "-o", tmp_path / "cuts", stdin=suggested.stdout)

    assert suggested.returncode == 0, suggested.stderr
    assert suggested.stdout.startswith("# About 120 beats a minute")
    assert cut.returncode == 0, cut.stderr
    made = sorted((tmp_path / "cuts").iterdir())
    assert len(made) == 2
    assert [probe(each).duration_s for each in made] == pytest.approx([4, 4], abs=0.001)


@pytest.mark.slow
def test_json_has_the_clips_their_reasons_and_what_was_found(tmp_path: Path) -> None:
    song = make_film(tmp_path / "song.mp4", Film(12, cuts=(100, 200)), clicks(120, 12))

    told = json.loads(run("suggest", song, "--length", "3", "--json").stdout)

    assert told["error"] is None
    assert told["clips"][0].keys() == {"text", "start", "end", "score", "label", "reasons"}
    assert told["analysis"]["scenes"] == [4.0, 8.0]


@pytest.mark.slow
def test_a_video_that_is_too_short_is_refused_in_one_line(tmp_path: Path) -> None:
    ended = run("suggest", make_sample(tmp_path / "short.mp4", seconds=2))

    assert ended.returncode == 1
    assert ended.stdout == ""
    line = ended.stderr.strip().splitlines()[-1]
    assert line.startswith("Error: The video's picture lasts 2.000 s, which is less than a clip")


@pytest.mark.slow
def test_a_video_without_sound_gets_clips_and_a_note(tmp_path: Path) -> None:
    silent = make_sample(tmp_path / "mute.mp4", seconds=4, audio=False)

    ended = run("suggest", silent, "--length", "1", "--on", "beat")

    assert ended.returncode == 0, ended.stderr
    assert "# There is no sound, so no beat." in ended.stdout
