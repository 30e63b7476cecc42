"""The timeline in a real Chromium: no clip hides another, and each change can be undone."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.media import make_sample
from tests.support.pages import PATIENCE_MS, upload
from tests.support.web_server import web_server

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def page(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The page with a video of 40 s, of which no clip is chosen."""
    folder = tmp_path_factory.mktemp("timeline")
    video = make_sample(folder / "song.mp4", seconds=40.0, size=(160, 90))
    with web_server(folder) as server:
        page = browser.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.goto(server.url)
        upload(page, video)
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


def shown(page: Page) -> tuple[float, float]:
    """Since when, and until when the timeline shows the video, in seconds."""
    told = page.get_by_test_id("scroll").get_attribute("aria-valuetext") or ""
    since, until = (text.split(":") for text in told.split(" to "))
    return float(since[0]) * 60 + float(since[1]), float(until[0]) * 60 + float(until[1])


def x_of(page: Page, seconds: float) -> float:
    """Where a time is on the screen."""
    track = page.get_by_test_id("timeline").bounding_box()
    assert track
    since, until = shown(page)
    return track["x"] + (seconds - since) / (until - since) * track["width"]


def drag(page: Page, test_id: str, to_s: float) -> None:
    """Drag what a clip can be dragged by, by its middle, to a time."""
    page.get_by_test_id("timeline").scroll_into_view_if_needed()
    box = page.get_by_test_id(test_id).bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(x_of(page, to_s), box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()


def test_the_video_is_seen_and_heard_on_the_timeline(page: Page) -> None:
    overview = page.get_by_test_id("overview")
    expect(overview).to_have_attribute("data-peaks", "8000")  # 40 s, a hundred pairs a second
    expect(overview).to_have_attribute("data-tiles", re.compile(r"^\d{3}$"))
    expect(page.get_by_test_id("overview-problem")).to_have_text("")
    colours = overview.evaluate(
        """(canvas) => {
          const { width, height } = canvas;
          const pixels = canvas.getContext("2d").getImageData(0, 0, width, height).data;
          const rows = [0.4, 0.85].map((part) => Math.floor(part * height) * width * 4);
          return rows.map((row) => new Set(pixels.subarray(row, row + width * 4)).size);
        }"""
    )
    assert colours[0] > 50  # pictures
    assert colours[1] > 1  # the sound, on what is nothing


def test_the_timeline_shows_all_or_a_single_frame(page: Page) -> None:
    assert shown(page) == (0, 40)
    seek(page, 10)
    for _ in range(3):
        page.get_by_test_id("zoom-in").click()
    since, until = shown(page)
    assert until - since == pytest.approx(5, abs=0.01) and since < 10 < until
    expect(page.get_by_test_id("scroll")).to_be_enabled()
    page.locator("body").press("-")
    assert shown(page)[1] - shown(page)[0] == pytest.approx(10, abs=0.01)
    page.get_by_test_id("timeline").scroll_into_view_if_needed()
    track = page.get_by_test_id("timeline").bounding_box()
    assert track
    page.mouse.move(x_of(page, 10), track["y"] + 20)
    page.keyboard.down("Control")
    for _ in range(10):
        page.mouse.wheel(0, -300)
    page.keyboard.up("Control")
    since, until = shown(page)
    assert until - since == pytest.approx(1 / 30, abs=0.002) and since <= 10 <= until
    page.get_by_test_id("zoom-all").click()
    assert shown(page) == (0, 40)
    # The wheel alone scrolls the page, and zooms nothing.
    page.mouse.wheel(0, -300)
    assert shown(page) == (0, 40)


def test_the_timeline_scrolls_to_where_the_player_is(page: Page) -> None:
    for _ in range(3):
        page.get_by_test_id("zoom-in").click()
    seek(page, 33)
    expect(page.get_by_test_id("clock")).to_have_text("0:33.000")
    since, until = shown(page)
    assert since < 33 < until
    page.get_by_test_id("scroll").focus()
    page.keyboard.press("Home")
    assert shown(page)[0] == 0
    page.get_by_test_id("zoom-all").click()


def test_ends_snap_to_key_pictures_unless_that_is_off(page: Page) -> None:
    expect(page.get_by_test_id("overview")).to_have_attribute("data-peaks", "8000")
    page.get_by_test_id("add-clip").click()
    drag(page, "grip-end", 6.25)  # of which 6.4 is near
    assert spans(page) == [("0:00.000", "0:06.400")]
    told = page.get_by_test_id("grip-end").get_attribute("aria-valuetext")
    assert told == "0:06.400, a key picture"
    page.keyboard.down("Alt")
    drag(page, "grip-end", 8.1)
    page.keyboard.up("Alt")
    end = page.get_by_test_id("clip-end").input_value()
    assert end != "0:08.000" and end.startswith("0:08.")
    page.get_by_test_id("snap").uncheck()
    drag(page, "grip-end", 9.5)
    assert page.get_by_test_id("clip-end").input_value() != "0:09.600"
    page.get_by_test_id("snap").check()
    page.get_by_test_id("grip-end").focus()
    page.keyboard.press("Control+ArrowRight")
    page.keyboard.press("Control+ArrowRight")
    assert page.get_by_test_id("clip-end").input_value() == "0:11.200"
    page.keyboard.press("Control+ArrowLeft")
    assert page.get_by_test_id("clip-end").input_value() == "0:09.600"


def test_two_fingers_zoom_and_drag_no_clip(page: Page) -> None:
    page.get_by_test_id("add-clip").click()
    before = spans(page)
    block = page.get_by_test_id("grip-body").bounding_box()
    assert block and shown(page) == (0, 40)
    y = block["y"] + block["height"] / 2
    page.get_by_test_id("timeline").scroll_into_view_if_needed()
    touches = page.context.new_cdp_session(page)
    touches.send("Emulation.setTouchEmulationEnabled", {"enabled": True, "maxTouchPoints": 2})

    def touch(kind: str, *at_s: float) -> None:
        points = [{"x": x, "y": y, "id": place} for place, x in enumerate(at_s)]
        touches.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    first, second = x_of(page, 4), x_of(page, 8)
    apart = second - first
    touch("touchStart", first, second)
    for step in (0.25, 0.5):
        touch("touchMove", first - step * apart, second + step * apart)
    touch("touchEnd")

    since, until = shown(page)
    assert until - since == pytest.approx(20, rel=0.1)
    assert spans(page) == before
    page.get_by_test_id("zoom-all").click()
