"""A result beside the same span of its video, in a real Chromium: both show the same pictures."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from cutmv.client import Client
from tests.support.media import frame_number, make_sample
from tests.support.pages import check_accessible, tab
from tests.support.processes import wait_for
from tests.support.web_server import WebServer, web_server

pytestmark = pytest.mark.slow

SIZE = (320, 180)
#: The first picture of the clip, and how many a second has.
FIRST, RATE = 45, 30
#: What a video shows now, as grey bytes, in Base64.
SHOWN = """video => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
    const context = canvas.getContext("2d");
    context.drawImage(video, 0, 0);
    const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
    let grey = "";
    for (let at = 1; at < data.length; at += 4) grey += String.fromCharCode(data[at]);
    return btoa(grey);
}"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    with web_server(tmp_path_factory.mktemp("page")) as running:
        yield running


@pytest.fixture(scope="module")
def job_id(server: WebServer, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A job that has made a clip from 1.5 s to 4.5 s."""
    video = make_sample(tmp_path_factory.mktemp("video") / "song.mp4", seconds=6.0, size=SIZE)
    with Client(server.url) as me:
        job = me.cut(me.upload(video).id, ["1.5-4.5"], aspects=["source"], still=True)
        *_, job = me.watch(job.id)
    assert job.state == "done", job
    return job.id


def number(video: Locator) -> int | None:
    """The number of the source's picture that a video shows; None while it shows none."""
    if video.evaluate("video => video.readyState < 2 || video.seeking"):
        return None
    grey = np.frombuffer(base64.b64decode(video.evaluate(SHOWN)), np.uint8)
    return frame_number(grey.reshape(SIZE[1], SIZE[0]), SIZE)


def expect_both(page: Page, wanted: int) -> None:
    """Both show the same picture, which is about the one that is wanted."""
    source, result = page.get_by_test_id("compare-source"), page.get_by_test_id("compare-output")
    seen: list[tuple[int | None, int | None]] = []

    def alike() -> bool:
        both = (number(source), number(result))
        if both not in seen:
            seen.append(both)
        return both[0] is not None and both[0] == both[1] and abs(both[0] - wanted) <= 1

    try:
        wait_for(alike, 30.0)
    except AssertionError:
        pytest.fail(f"not both show picture {wanted}: {seen}")


def opened(page: Page, server: WebServer, job_id: str) -> None:
    page.goto(f"{server.url}/#{job_id}")
    expect(page.get_by_test_id("compare-open")).to_have_count(1)  # of the film, not of the still


def test_by_the_keyboard_both_are_moved_play_and_pause_in_step(
    browser: Browser, server: WebServer, job_id: str
) -> None:
    with tab(browser, "about:blank", viewport={"width": 1200, "height": 900}) as page:
        opened(page, server, job_id)
        page.get_by_test_id("compare-open").press("Enter")
        expect_both(page, FIRST)
        left, right = (
            page.get_by_test_id(f"compare-{name}").bounding_box() for name in ("source", "output")
        )
        assert left and right
        assert left["x"] + left["width"] <= right["x"]
        assert abs(left["y"] - right["y"]) < 1
        page.get_by_test_id("compare-at").focus()
        for _ in range(20):
            page.keyboard.press("ArrowRight")
        expect_both(page, FIRST + RATE)

        page.get_by_test_id("compare-play").press("Enter")
        now = "video => video.currentTime"
        result = page.get_by_test_id("compare-output")
        wait_for(lambda: result.evaluate(now) > 1.7, 60.0, "it plays")
        apart = page.evaluate(
            """() => {
              const [source, output] = document.querySelectorAll(".compare video");
              return source.currentTime - 1.5 - output.currentTime;
            }"""
        )
        assert abs(apart) < 0.35
        if page.get_by_test_id("compare-play").inner_text() == "Pause":
            page.get_by_test_id("compare-play").press("Enter")
        expect_both(page, FIRST + round(result.evaluate(now) * RATE - 0.5))
        for name in ("source", "output"):
            assert page.get_by_test_id(f"compare-{name}").evaluate("video => video.paused")

        # To the end and again from the start.
        page.get_by_test_id("compare-at").press("End")
        page.get_by_test_id("compare-play").press("Enter")
        wait_for(lambda: result.evaluate("video => video.ended"), 60.0, "it ends")
        expect(page.get_by_test_id("compare-play")).to_have_text("Play")
        page.get_by_test_id("compare-open").press("Enter")
        expect(page.get_by_test_id("compare")).to_have_count(0)
        expect(page.get_by_test_id("result-cutdown")).to_be_visible()


def test_on_a_phone_they_stand_side_by_side_and_are_played_by_touch(
    browser: Browser, server: WebServer, job_id: str
) -> None:
    phone = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
    with tab(browser, "about:blank", **phone) as page:
        opened(page, server, job_id)
        page.get_by_test_id("compare-open").tap()
        expect_both(page, FIRST)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360

        check_accessible(page)
        page.get_by_test_id("compare-play").tap()

        result = page.get_by_test_id("compare-output")
        wait_for(lambda: result.evaluate("video => video.currentTime") > 0.3, 60.0, "it plays")
        page.get_by_test_id("compare-play").tap()
        expect_both(page, FIRST + round(result.evaluate("video => video.currentTime") * RATE - 0.5))
