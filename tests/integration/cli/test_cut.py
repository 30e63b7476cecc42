"""`cutmv cut`, as a person runs it."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import av
import pytest

from cutmv.media import MediaError, OutputSpec, parse_clip, plan, probe, render
from tests.support.command import cutmv_process
from tests.support.media import frame_number, make_sample, read_frames, shown_size
from tests.support.processes import clean_env, slowness, wait_for

SIZE = (320, 180)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sample(tmp_path_factory.mktemp("video") / "song.mp4", seconds=4.0, size=SIZE)


def test_cut_does_the_whole_job_and_prints_the_paths(video: Path, tmp_path: Path) -> None:
    done = cutmv_process(
        *("cut", str(video), "--clip", "0:00.5-0:01", "--clip", "2-3"),
        *("--aspect", "9:16", "--aspect", "source", "--gif", "-o", "cuts"),
        cwd=tmp_path,
    )

    assert done.returncode == 0, done.stderr
    names = [
        f"song-0{n}-{shape}" for n in (1, 2) for shape in ("9x16.mp4", "source.mp4", "gif.gif")
    ]
    assert done.stdout.split() == [f"cuts/{name}" for name in names]
    assert "\n  30 frames encoded (its shape is not the source's); sound copied\n" in done.stderr
    assert "\n  libx264 at CRF " in done.stderr
    why = "no key picture of it lies in the clip"
    assert f"\n  15 frames encoded ({why}); sound copied\n" in done.stderr
    assert sorted(path.name for path in (tmp_path / "cuts").iterdir()) == sorted(names)
    frames = read_frames(tmp_path / "cuts" / "song-01-source.mp4")
    assert [frame_number(frame, SIZE) for frame in frames] == list(range(15, 30))
    assert shown_size(tmp_path / "cuts" / "song-02-9x16.mp4") == (1080, 1920)


def test_json_is_one_document_on_standard_output(video: Path, tmp_path: Path) -> None:
    done = cutmv_process("cut", str(video), "--clip", "1-2", "--still", "--json", cwd=tmp_path)

    document = json.loads(done.stdout)
    assert done.returncode == 0
    assert document["error"] is None
    assert [output["kind"] for output in document["outputs"]] == ["cutdown", "still"]
    seconds = document["outputs"][0].pop("seconds")
    assert {"open", "edges", "other"} <= set(seconds)
    assert document["outputs"][0]["read_bytes"] > 0
    assert document["outputs"][0] | {"size_bytes": 0, "read_bytes": None} == {
        "path": "song-01-source.mp4",
        "clip": "1-2",
        "label": None,
        "kind": "cutdown",
        "aspect": "source",
        "duration_s": 1.0,
        "frames": 30,
        "size_bytes": 0,
        "width": 320,
        "height": 180,
        "copied": 10,
        "reason": None,
        "encoder": None,
        "quality": None,
        "sound": "copied",
        "read_bytes": None,
        "requests": None,
        "warnings": [],
    }
    assert "100%" in done.stderr


def test_products_are_asked_for_before_the_input_or_after_it(video: Path, tmp_path: Path) -> None:
    done = cutmv_process(
        *("cut", "--clip", "0-1", "--sound", "copy", "--still", str(video)), cwd=tmp_path
    )
    best = cutmv_process(
        *("cut", str(video), "--clip", "0-1", "--still", "best", "--sound", "wav", "-o", "best"),
        cwd=tmp_path,
    )

    assert done.stdout.split() == ["song-01-still.jpg", "song-01-sound.m4a"], done.stderr
    assert best.stdout.split() == ["best/song-01-still.jpg", "best/song-01-sound.wav"], best.stderr


def test_presets_are_listed_without_an_input(tmp_path: Path) -> None:
    listed = cutmv_process("cut", "--list-presets", cwd=tmp_path)

    assert [line.split()[0] for line in listed.stdout.splitlines()] == [
        *("youtube", "reels", "tiktok", "x", "canvas", "master")
    ]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["cut"], "INPUT"),
        (["cut", "none.mp4", "--clip", "0-1"], "does not exist"),
        (["cut", "VIDEO"], "--clip"),
        (["cut", "VIDEO", "--clips", "none.txt"], "does not exist"),
        (["cut", "VIDEO", "--clip", "5"], "START-END"),
        (["cut", "VIDEO", "--clip", "2-1"], "ends before it starts"),
        (["cut", "VIDEO", "--clip", "0-1", "--aspect", "4:3"], "4:3"),
        (["cut", "VIDEO", "--clip", "0-1", "--centre", "left"], "must be X,Y, like 0.3,0.5"),
        (["frobnicate"], "frobnicate"),
    ],
)
def test_bad_usage_is_exit_code_2_and_one_clear_line(
    video: Path, tmp_path: Path, argv: list[str], said: str
) -> None:
    done = cutmv_process(*(str(video) if part == "VIDEO" else part for part in argv), cwd=tmp_path)

    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert [path for path in tmp_path.iterdir() if path.name != "data"] == []


@pytest.mark.slow
def test_lists_name_the_clips_and_their_labels_the_results(video: Path, tmp_path: Path) -> None:
    chapters = "0:00 Intro\n0:01 – Été [/b]\n0:02.5 Intro\n"
    (tmp_path / "chapters.txt").write_bytes(chapters.encode("utf-16"))
    argv = ["cut", str(video), "--clip", "1-1.5", "--clips", "chapters.txt", "--clips", "-"]

    done = subprocess.run(
        [sys.executable, "-m", "cutmv", *argv, "--still", "--json"],
        cwd=tmp_path,
        env=clean_env(),
        input="start,end,name\n,0.5,Über\n-1,,".encode("cp1252"),
        capture_output=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    films = [each for each in json.loads(done.stdout)["outputs"] if each["kind"] == "cutdown"]
    assert [(each["path"], each["label"], each["clip"], each["frames"]) for each in films] == [
        ("song-01-source.mp4", None, "1-1.5", 15),
        ("song-Intro-source.mp4", "Intro", "0:00-0:01", 30),
        ("song-Été_b-source.mp4", "Été [/b]", "0:01-0:02.5", 45),
        ("song-Intro-2-source.mp4", "Intro", "0:02.5-end", 45),
        ("song-Über-source.mp4", "Über", "0-0.5", 15),
        ("song-06-source.mp4", None, "-1-end", 30),
    ]


def test_a_line_that_can_not_be_read_is_shown_and_nothing_is_cut(
    video: Path, tmp_path: Path
) -> None:
    (tmp_path / "list.txt").write_text("0-1 Intro\n\nthe rest\n")

    done = cutmv_process("cut", str(video), "--clips", "list.txt", cwd=tmp_path)

    assert done.returncode == 2
    assert "list.txt: Line 3 can't be read, 'the rest'" in done.stderr
    assert list(tmp_path.glob("*.mp4")) == []


def test_no_result_is_replaced_unasked(video: Path, tmp_path: Path) -> None:
    argv = ("cut", str(video), "--clip", "0-0.5", "--clip", "1-1.5")
    (tmp_path / "song-02-source.mp4").write_bytes(b"another's")

    refused = cutmv_process(*argv, cwd=tmp_path)
    there = sorted(path.name for path in tmp_path.glob("*.mp4"))
    asked = cutmv_process(*argv, "--overwrite", cwd=tmp_path)

    assert refused.returncode == 1
    assert "song-02-source.mp4 is there already" in refused.stderr
    assert there == ["song-02-source.mp4"]
    assert asked.returncode == 0, asked.stderr
    assert len(read_frames(tmp_path / "song-02-source.mp4")) == 15


def test_results_come_in_a_zip_too(video: Path, tmp_path: Path) -> None:
    argv = ("cut", str(video), "--clip", "0-0.5 a", "--clip", "1-1.5 b", "--zip", "to/all.zip")

    assert cutmv_process(*argv, cwd=tmp_path).returncode == 0
    with zipfile.ZipFile(tmp_path / "to" / "all.zip") as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["song-a-source.mp4", "song-b-source.mp4"]
        first = (tmp_path / "song-a-source.mp4").read_bytes()
        assert archive.read("song-a-source.mp4") == first
    for made in tmp_path.glob("*.mp4"):
        made.unlink()
    refused = cutmv_process(*argv, cwd=tmp_path)
    assert refused.returncode == 1
    assert "to/all.zip is there already" in refused.stderr
    assert not list(tmp_path.glob("*.mp4"))


@pytest.mark.parametrize("name", ["song.mp4", "cuts/../cuts/song-01-sound.wav"])
def test_a_zip_takes_the_place_of_neither_the_video_nor_a_result(
    video: Path, tmp_path: Path, name: str
) -> None:
    source = Path(shutil.copy(video, tmp_path / "song.mp4"))
    argv = ("--clip", "0-0.5", "--sound", "wav", "-o", "cuts", "--overwrite", "--zip", name)

    done = cutmv_process("cut", str(source), *argv, cwd=tmp_path)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"Error: {name} is the video or a result: name another file by --zip.\n"
    assert source.read_bytes() == video.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["song.mp4"]


def test_clips_are_joined_into_one_film(video: Path, tmp_path: Path) -> None:
    argv = ("cut", str(video), "--clip", "2-3", "--clip", "0-0.5", "--join", "--json")

    document = json.loads(cutmv_process(*argv, cwd=tmp_path).stdout)

    [output] = document["outputs"]
    assert (output["path"], output["frames"]) == ("song-film-source.mp4", 45)
    frames = read_frames(tmp_path / "song-film-source.mp4")
    numbers = [frame_number(frame, SIZE) for frame in frames]
    assert numbers == [*range(60, 90), *range(15)]


def test_a_zip_that_can_not_be_written_is_told_before_anything_is_cut(
    video: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    argv = ("cut", str(video), "--clip", "0-1", "--zip", "file/all.zip")

    done = cutmv_process(*argv, cwd=tmp_path)

    assert done.stderr == "Error: file/all.zip can't be written: File exists.\n"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_clips_of_several_files_are_joined_by_their_names(video: Path, tmp_path: Path) -> None:
    other = make_sample(tmp_path / "other.mp4", seconds=1, size=SIZE)
    (tmp_path / "list.txt").write_text("# the film\nsong.mp4 2-3 Verse\n\nother.mp4\n")
    argv = ("cut", str(video), str(other), "--join", "--json")

    done = cutmv_process(*argv, "--clips", "list.txt", cwd=tmp_path)

    [output] = json.loads(done.stdout)["outputs"]
    assert (output["path"], output["frames"]) == ("song-film-source.mp4", 60)
    with av.open(str(tmp_path / "song-film-source.mp4")) as file:
        assert [each["metadata"]["title"] for each in file.chapters()] == ["Verse", "other 0-end"]
    for wrong, why in {
        ("--clip", "2-3"): "'2-3' must begin with the name of its file, like 'other.mp4'.",
        ("--clip", "other.mp4 7-8"): "The clip 7-8 starts past the end",
        ("--clip", "other.mp4 x"): "'x'",
    }.items():
        done = cutmv_process(*argv[:-1], *wrong, "--overwrite", cwd=tmp_path)
        assert done.returncode in (1, 2)
        assert why in done.stderr
    done = cutmv_process(*argv[:3], "--clip", "0-1", cwd=tmp_path)
    assert "Several files can only be joined: give one, or --join." in done.stderr


def test_a_file_that_appears_while_it_is_cut_is_not_replaced_either(
    video: Path, tmp_path: Path
) -> None:
    there, info = tmp_path / "there.jpg", probe(video)
    there.write_bytes(b"another's")
    still = plan(info, parse_clip("0-1", info.times), OutputSpec("still", "source", "crop"))

    with pytest.raises(MediaError, match=r"'there\.jpg' already"):
        render(video, still, there, timeout_s=60, overwrite=False)
    assert there.read_bytes() == b"another's"
    render(video, still, tmp_path / "new.jpg", timeout_s=60, overwrite=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.jpg", "there.jpg"]


def test_names_are_cut_by_bytes(video: Path, tmp_path: Path) -> None:
    source = tmp_path / f"{'𝒜' * 60}.mp4"
    source.symlink_to(video)

    done = cutmv_process("cut", str(source), "--clip", f"{'é' * 99} 0-0.5", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert (tmp_path / f"{'𝒜' * 25}-{'é' * 50}-source.mp4").exists()


@pytest.mark.parametrize("as_json", [False, True])
def test_a_failure_is_exit_code_1_and_one_clear_line(tmp_path: Path, as_json: bool) -> None:
    (tmp_path / "text.mp4").write_text("not a video\n" * 50)

    done = cutmv_process(
        *("cut", "text.mp4", "--clip", "0-1", *(["--json"] if as_json else [])), cwd=tmp_path
    )

    assert done.returncode == 1
    assert re.search(r"^Error: .*no video", done.stderr, re.MULTILINE)
    assert "Traceback" not in done.stderr
    assert bool(done.stdout) is as_json
    if as_json:
        assert json.loads(done.stdout)["outputs"] == []
        assert "no video" in json.loads(done.stdout)["error"]


@pytest.mark.slow
def test_an_output_that_fails_voids_no_other_and_is_told_of(video: Path, tmp_path: Path) -> None:
    products = ("--aspect", "source", "--still", "--gif-max-bytes", "1")
    clips = ("--clip", "0-0.5", "--clip", "1-1.5")
    done = cutmv_process("cut", str(video), *clips, *products, "--json", cwd=tmp_path)

    assert done.returncode == 1
    document = json.loads(done.stdout)
    names = ["song-01-source.mp4", "song-01-still.jpg", "song-02-source.mp4", "song-02-still.jpg"]
    assert [output["path"] for output in document["outputs"]] == names
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    assert [output["path"] for output in document["failed"]] == [
        "song-01-gif.gif",
        "song-02-gif.gif",
    ]
    assert document["error"].startswith("song-01-gif.gif: The clip can't be cut: the smallest is")
    assert re.search(r"^Error: song-02-gif\.gif: The clip", done.stderr, re.MULTILINE)


def test_a_clip_past_the_end_costs_no_work_on_the_others(video: Path, tmp_path: Path) -> None:
    done = cutmv_process("cut", str(video), "--clip", "0-1", "--clip", "9-10", cwd=tmp_path)

    assert done.returncode == 1
    assert "past the end of the video, 4.000 s" in done.stderr
    assert list(tmp_path.glob("*.mp4")) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,
        pytest.param(signal.SIGINT, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, marks=pytest.mark.slow),
    ],
)
def test_a_cut_that_is_told_to_end_says_so_and_leaves_no_partial_file(
    video: Path, tmp_path: Path, number: signal.Signals
) -> None:
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip("ignored by whoever runs the tests, and so by what they start")
    clips = ["--clip", "0-0.1", "--clip", "0-0.2", *["--clip", "0-4"] * 20]
    wanted = ["--aspect", "9:16", "--sound", "wav", "--json"]
    argv = [sys.executable, "-m", "cutmv", "cut", str(video), *clips, *wanted]
    with subprocess.Popen(
        argv, cwd=tmp_path, env=clean_env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as cut:
        wait_for((tmp_path / "song-03-sound.wav").exists, what="the third clip's sound is there")
        cut.send_signal(number)
        sent_at = time.monotonic()
        stdout, stderr = cut.communicate(timeout=30)

    assert time.monotonic() - sent_at < 2.0 * slowness()
    assert cut.returncode == 1
    document = json.loads(stdout)
    assert document["error"] == f"Ended by {number.name} before all was cut."
    assert b"Traceback" not in stderr
    made = [output["path"] for output in document["outputs"]]
    assert made[0] == "song-01-9x16.mp4"
    assert "song-03-sound.wav" in made, "what was whole by then is told of"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(made)
