"""The page while workers make its job: over Redis, and over Cloudflare Queues and R2."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.media import duration_s, frame_number, make_sample, read_frames
from tests.support.pages import is_whole_overview
from tests.support.stack import Stack, on_r2

#: Milliseconds for what takes FFmpeg some time on a busy machine.
PATIENCE_MS = 240_000
SIZE = (640, 360)
#: What is made of the clip from 1.5 s to 3.5 s, and the frames of the source that each shows.
MADE = {
    "song-01-source.mp4": [*range(45, 105)],
    "song-01-1x1.mp4": [*range(45, 105)],
    "song-01-canvas.mp4": [*range(45, 105), *range(103, 45, -1)],
    "song-01-gif.gif": [*range(45, 105, 3)],
    "song-01-still.jpg": [45],
}


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "in_r2"), [("redis", False), ("cloudflare", True)])
def test_a_job_on_the_page_is_made_by_workers(
    mode: str,
    in_r2: bool,
    browser: Browser,
    make_stack: Callable[[str], Stack],
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    video = make_sample(tmp_path / "song.mp4", seconds=5.0, size=SIZE)
    stack = make_stack(mode)
    if in_r2:
        on_r2(stack, request.getfixturevalue("s3_url"))
    for _ in range(2):
        stack.start_worker("-c", "1")
    stack.start_web()
    context = browser.new_context(accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    told: list[dict[str, Any]] = []
    page.on(
        "websocket",
        lambda line: line.on("framereceived", lambda text: told.append(json.loads(text))),
    )

    page.goto(stack.url)
    expect(page.get_by_test_id("mode-badge")).to_have_text(mode)
    with page.expect_response(is_whole_overview):  # then both workers are free
        page.get_by_test_id("file-input").set_input_files(video)
    expect(page.get_by_test_id("upload-state").first).to_have_text("ready")
    page.get_by_test_id("clip-start").fill("0:01.5")
    page.get_by_test_id("clip-end").fill("0:03.5")
    for name in ("aspect-1:1", "gif", "still"):
        page.get_by_test_id(name).check()
    page.get_by_label("Rebound").check()
    page.get_by_label("FLAC").check()
    page.get_by_test_id("start").click()
    expect(page.get_by_test_id("job-state")).to_have_text("done", timeout=PATIENCE_MS)

    _check(told)
    job_id = next(each["job_id"] for each in told if each["type"] == "step")
    job = stack.job(job_id)
    assert [step["route"] for step in job["steps"]] == [mode] * 6, stack.logs
    still, film = (
        next(step["id"] for step in job["steps"] if step["output"]["name"] == name)
        for name in ("song-01-still.jpg", "song-01-1x1.mp4")
    )
    steps = [each["step"] for each in told if each["type"] == "step"]
    done = [step["id"] for step in steps if step["state"] == "done"]
    assert done.index(still) < done.index(film)
    for worker in stack.workers:
        assert "cutmv.cut" in worker.log.split(" ready.")[1], "one worker did it all"
    assert (stack.folder / "data" / "files").exists() != in_r2
    files = _downloaded(page, tmp_path / "downloaded")
    assert sorted(files) == sorted([*MADE, "song-01-sound.flac"])
    for name, numbers in MADE.items():
        assert [frame_number(each, SIZE) for each in read_frames(files[name])] == numbers, name
    for name, stream in (("song-01-source.mp4", "a:0"), ("song-01-sound.flac", "a:0")):
        assert duration_s(files[name], stream) == pytest.approx(2.0, abs=0.001)
    context.close()


def _check(told: list[dict[str, Any]]) -> None:
    """All numbers follow each other, and the bars of steps move, forwards alone."""
    numbers = [each["seq"] for each in told if "seq" in each]
    assert numbers == sorted(numbers)
    moves: dict[str, list[float]] = {}
    for each in told:
        if each["type"] == "progress":
            moves.setdefault(each["step_id"], []).append(each["percent"])
    assert all(percents == sorted(percents) for percents in moves.values())
    assert sum(len({*percents}) for percents in moves.values()) >= 5, "the bars did not move"


def _downloaded(page: Page, folder: Path) -> dict[str, Path]:
    """The results that the page has, downloaded by its links, by their names."""
    found = {}
    for link in page.get_by_test_id("download").all():
        with page.expect_download() as downloading:
            link.click()
        name = downloading.value.suggested_filename
        found[name] = folder / name
        downloading.value.save_as(found[name])
    return found
