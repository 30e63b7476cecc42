"""The timeline in a real Chromium: no clip hides another, and each change can be undone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.media import make_sample
from tests.support.web_server import web_server

pytestmark = pytest.mark.slow

#: Milliseconds for what takes a busy machine some time.
PATIENCE_MS = 60_000


@pytest.fixture(scope="module")
def page(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The page with a video of 40 s, of which no clip is chosen."""
    folder = tmp_path_factory.mktemp("timeline")
    video = make_sample(folder / "song.mp4", seconds=40.0, size=(160, 90))
    with web_server(folder) as server:
        page = browser.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.goto(server.url)
        page.get_by_test_id("file-input").set_input_files(video)
        expect(page.get_by_test_id("upload-state")).to_have_text("ready", timeout=PATIENCE_MS)
        yield page
        page.close()


@pytest.fixture(autouse=True)
def no_clips(page: Page) -> None:
    while page.get_by_test_id("clip-remove").count():
        page.get_by_test_id("clip-remove").first.click()
    seek(page, 0)


def seek(page: Page, seconds: float) -> None:
    page.get_by_test_id("player").evaluate("(player, to) => (player.currentTime = to)", seconds)


def spans(page: Page) -> list[tuple[str, str]]:
    """The ends of all clips, as the page shows them."""
    ends = [page.get_by_test_id(f"clip-{side}").all() for side in ("start", "end")]
    return [(start.input_value(), end.input_value()) for start, end in zip(*ends, strict=True)]


def test_a_new_clip_comes_after_those_that_are_there(page: Page) -> None:
    for _ in range(3):
        page.get_by_test_id("add-clip").click()
    assert spans(page) == [
        ("0:00.000", "0:10.000"),
        ("0:10.000", "0:20.000"),
        ("0:20.000", "0:30.000"),
    ]


def test_clips_at_the_same_time_are_in_lanes_of_their_own(page: Page) -> None:
    page.get_by_test_id("add-clip").click()
    for _ in range(2):
        page.get_by_test_id("add-clip").click()
        page.get_by_test_id("clip-start").last.fill("0:05")
        page.get_by_test_id("clip-end").last.fill("0:12")
    seek(page, 0)
    boxes = [clip.bounding_box() for clip in page.get_by_test_id("clip").all()]
    track = page.get_by_test_id("timeline").bounding_box()
    assert track and len(boxes) == 3
    for number, box in enumerate(boxes):
        assert box
        assert track["y"] <= box["y"] and box["y"] + box["height"] <= track["y"] + track["height"]
        for other in boxes[number + 1 :]:
            assert other
            apart = (
                box["y"] + box["height"] <= other["y"] or other["y"] + other["height"] <= box["y"]
            )
            assert apart, (box, other)
    # Each can be reached by the pointer.
    for grip in page.get_by_test_id("grip-body").all():
        grip.click()
        expect(grip).to_be_focused()


def test_each_change_is_undone_and_done_again_by_keys(page: Page) -> None:
    page.get_by_test_id("add-clip").click()
    page.get_by_test_id("grip-body").focus()
    seek(page, 4)
    page.keyboard.press("s")
    split = [("0:00.000", "0:04.000"), ("0:04.000", "0:10.000")]
    assert spans(page) == split
    page.keyboard.press("d")
    doubled = [*split, ("0:10.000", "0:16.000")]
    assert spans(page) == doubled
    page.keyboard.press("Control+z")
    assert spans(page) == split
    page.keyboard.press("Control+z")
    assert spans(page) == [("0:00.000", "0:10.000")]
    page.keyboard.press("Control+Shift+Z")
    page.keyboard.press("Control+y")
    assert spans(page) == doubled
    expect(page.get_by_test_id("redo")).to_be_disabled()
    page.get_by_test_id("undo").click()
    assert spans(page) == split
    # A time that can't be read is one again, and no other.
    page.get_by_test_id("clip-end").last.fill("soon")
    page.get_by_test_id("clip-remove").last.click()
    page.get_by_test_id("undo").click()
    expect(page.get_by_text("Write a time as")).to_be_visible()


def test_the_playhead_goes_by_pictures(page: Page) -> None:
    seek(page, 1)
    rate = page.evaluate("document.querySelector('#player').currentTime")
    page.get_by_test_id("timeline").focus()
    page.locator("body").press(".")
    page.locator("body").press(".")
    page.locator("body").press(",")
    now = page.evaluate("document.querySelector('#player').currentTime")
    assert 0.01 < now - rate < 0.05
