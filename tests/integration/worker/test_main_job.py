"""The main job, end to end, by real processes: the same on nothing, on Redis, on Cloudflare."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support.emulator import EmulatorProcess
from tests.support.media import (
    audio_offset_s,
    duration_s,
    frame_number,
    make_sample,
    read_frames,
    shown_size,
)
from tests.support.stack import Stack, check_messages

RATE = Fraction(30_000, 1001)
SIZE = (1920, 1080)
#: Five clips, in each notation, some of them on a frame's edge and some between two.
CLIPS = ["0-1", "1.001-2.25", "0:03.5-0:04.4", "00:00:05:00-00:00:05:20", "6.99-8"]
SECONDS = [(0, 1), (1.001, 2.25), (3.5, 4.4), (5 * 1.001, 170 * 1.001 / 30), (6.99, 8)]
SHAPES = {"16:9": (1280, 720), "9:16": (1080, 1920)}


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "My Song (live).mp4"
    return make_sample(path, seconds=9.0, size=SIZE, rate="30000/1001")


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["eager", "redis", "cloudflare"])
def test_five_clips_in_two_shapes_are_exact_to_the_frame(
    mode: str, make_stack: Callable[[str], Stack], video: Path, tmp_path: Path
) -> None:
    stack = make_stack(mode)
    if mode != "eager":
        stack.start_worker()
        stack.start_worker()
    stack.start_web()

    upload = stack.upload(video)
    job = stack.submit(upload_id=upload["id"], clips=CLIPS, aspects=list(SHAPES))
    messages = stack.watch(job["id"])

    check_messages(messages)
    done = messages[-1]["job"]
    assert (done["state"], done["percent"], done["error"]) == ("done", 100.0, None), stack.logs
    assert done["mode"] == mode
    assert [step["route"] for step in done["steps"]] == [mode] * 10
    assert [step["attempts"] for step in done["steps"]] == [1] * 10
    source = read_frames(video)
    for number, step in enumerate(done["steps"]):
        check_output(stack.download(step, tmp_path), step, SECONDS[number // 2], source, video)
    if mode != "eager":
        assert "'state': 'done'" in stack.celery("result", done["steps"][0]["id"])
        for worker in stack.workers:
            assert "cutmv.cut" in worker.log.split(" ready.")[1], "one worker did it all"


def test_a_job_of_ten_steps_is_published_by_one_call(
    make_stack: Callable[[str], Stack], emulator: EmulatorProcess, video: Path
) -> None:
    stack = make_stack("cloudflare")
    stack.start_web()
    upload = stack.upload(video)

    stack.submit(upload_id=upload["id"], clips=CLIPS, aspects=list(SHAPES))

    stats = emulator.stats()
    assert stats["published"] == len(CLIPS)  # the shapes of a clip are one task
    assert stats["calls"]["batch"] == {"200": 1}


def check_output(
    path: Path, step: dict[str, Any], seconds: tuple[float, float], source: Any, video: Path
) -> None:
    width, height = SHAPES[step["aspect"]]
    start, end = (Fraction(value).limit_denominator(30_000) for value in seconds)
    begun = sum(n / RATE <= start for n in range(len(source)))
    wanted = [n for n in range(len(source)) if n >= begun - 1 and n / RATE < end]
    frames = read_frames(path)

    assert shown_size(path) == (width, height)
    assert [frame_number(frame, SIZE) for frame in frames] == wanted
    for made, number in ((frames[0], wanted[0]), (frames[-1], wanted[-1])):
        assert _difference(made, source[number]) < 6.0
        assert _difference(made, source[max(0, number - 8)]) > 6.0 or number < 8
    for stream in ("v:0", "a:0"):
        assert abs(duration_s(path, stream) - float(end - start)) < 0.001
    assert abs(audio_offset_s(path, video, float(start))) < 0.001


def _difference(made: Any, source: Any) -> float:
    """Mean difference in grey levels, of the middle of both, which no crop has cut away."""
    scale = max(made.shape[1] / source.shape[1], made.shape[0] / source.shape[0])
    return float(np.abs(_middle(made, 480 * scale) - _middle(source, 480)).mean())


def _middle(image: Any, side: float) -> Any:
    """The square of `side` pixels in the middle, made 60 × 60."""
    height, width = image.shape
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)
    return np.asarray(Image.fromarray(image).resize((60, 60), Image.Resampling.BOX, box), float)
