"""Clips as people ask for them, in a real Chromium: lists, wishes of their own, what they take."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.media import make_sample
from tests.support.pages import PATIENCE_MS, upload
from tests.support.web_server import web_server

pytestmark = pytest.mark.slow

#: Milliseconds for a job on such a machine.
JOB_MS = 300_000


@pytest.fixture(scope="module")
def page(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The page with a video of 12 s."""
    folder = tmp_path_factory.mktemp("clips")
    video = make_sample(folder / "song.mp4", seconds=12.0, size=(320, 180))
    with web_server(folder) as server:
        page = browser.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.goto(server.url)
        upload(page, video)
        expect(page.get_by_test_id("overview")).to_have_attribute(
            "data-peaks", re.compile(r"\d{4}")
        )
        yield page
        page.close()


@pytest.fixture(autouse=True)
def no_clips(page: Page) -> None:
    while page.get_by_test_id("clip-remove").count():
        page.get_by_test_id("clip-remove").first.click()


def listed(page: Page) -> list[tuple[str, ...]]:
    """The ends and the label of each clip, as the page shows them."""
    parts = [page.get_by_test_id(f"clip-{part}").all() for part in ("start", "end", "label")]
    return [tuple(field.input_value() for field in row) for row in zip(*parts, strict=True)]


def test_a_pasted_list_is_put_on_the_timeline_but_for_what_can_t_be_read(page: Page) -> None:
    page.get_by_text("Paste a list of clips").click()
    field = page.get_by_test_id("clip-list")
    field.fill("0:01-0:02.5 Chorus\nsome day\n3s+2s Verse")

    page.get_by_test_id("read-list").click()

    expect(page.get_by_test_id("clip-row")).to_have_count(2)
    assert listed(page) == [
        ("0:01.000", "0:02.500", "Chorus"),
        ("0:03.000", "0:05.000", "Verse"),
    ]
    expect(page.get_by_test_id("list-wrong")).to_contain_text("Line 2, “some day”")
    expect(field).to_have_value("some day")
    field.fill("")
    # Pasted beside a text field a list is for the timeline, too.
    page.evaluate(
        """() => {
          const clipboardData = new DataTransfer();
          clipboardData.setData("text", "00:00:06:00-00:00:07:15 Coda");
          const pasted = new ClipboardEvent("paste", { clipboardData, bubbles: true });
          document.body.dispatchEvent(pasted);
        }"""
    )
    expect(page.get_by_test_id("clip-row")).to_have_count(3)
    assert listed(page)[2] == ("0:06.000", "0:07.500", "Coda")
    expect(page.get_by_test_id("list-wrong")).to_be_hidden()
    page.get_by_test_id("undo").click()
    expect(page.get_by_test_id("clip-row")).to_have_count(2)


def test_what_the_job_would_take_is_told_while_it_is_prepared(page: Page) -> None:
    page.get_by_test_id("add-clip").click()
    page.get_by_test_id("clip-start").fill("0:01")
    page.get_by_test_id("clip-end").fill("0:09")
    told = page.get_by_test_id("estimate-all")
    expect(told).to_contain_text("One output, about")
    # Key pictures are at each 1.6 s, so a head of 0.6 s is encoded.
    expect(page.get_by_test_id("estimate-outputs")).to_contain_text("7.4 s copied as they are")
    expect(page.get_by_test_id("estimate-outputs")).to_contain_text("0.6 s encoded")
    expect(page.get_by_test_id("grip-body")).to_have_attribute(
        "aria-valuetext", "0:01.000 to 0:09.000, 93 % copied as it is"
    )
    page.get_by_test_id("aspect-1:1").check()
    expect(told).to_contain_text("2 outputs, about")
    page.get_by_test_id("aspect-1:1").uncheck()
    expect(told).to_contain_text("One output")
    page.get_by_test_id("aspect-source").uncheck()
    expect(told).to_contain_text("Nothing to make")
    page.get_by_test_id("aspect-source").check()


def test_a_clip_has_products_and_a_crop_of_its_own(page: Page) -> None:
    for _ in range(2):
        page.get_by_test_id("add-clip").click()
        page.get_by_test_id("clip-end").last.fill("0:03")
        page.get_by_test_id("clip-start").last.fill("0:02")
    row = page.get_by_test_id("clip-row").last
    row.get_by_text("Products of this clip").click()
    expect(page.get_by_test_id("crop-frame")).to_have_count(0)
    row.get_by_test_id("own-aspect-9:16").check()

    frame = page.get_by_test_id("crop-frame")
    expect(frame).to_have_text("9:16")
    before, player = frame.bounding_box(), page.get_by_test_id("player").bounding_box()
    assert before and player
    assert before["width"] / before["height"] == pytest.approx(9 / 16, rel=0.02)
    middle = before["x"] + before["width"] / 2 - player["x"]
    assert middle == pytest.approx(player["width"] / 2, abs=2)
    page.get_by_test_id("crop-centre").focus()
    page.keyboard.press("Shift+ArrowLeft")
    page.keyboard.press("ArrowRight")
    after = frame.bounding_box()
    assert after
    wide = min(player["width"], player["height"] * 16 / 9)  # there may be bars beside it
    moved = (before["x"] - after["x"]) / wide
    assert moved == pytest.approx(0.09, abs=0.01)
    expect(row.get_by_test_id("own-centre-0")).to_have_value("0.41")
    handle = page.get_by_test_id("crop-centre").bounding_box()
    assert handle
    page.mouse.move(handle["x"] + 22, handle["y"] + 22)
    page.mouse.down()
    left = player["x"] + (player["width"] - wide) / 2
    page.mouse.move(left + wide * 0.7, handle["y"] + 22, steps=3)
    page.mouse.up()
    assert float(row.get_by_test_id("own-centre-0").input_value()) == pytest.approx(0.7, abs=0.01)
    page.get_by_test_id("clip-label").last.fill("Tall")
    page.get_by_test_id("clip-label").last.press("Tab")

    page.get_by_test_id("start").click()

    expect(page.get_by_test_id("job-state")).to_have_text("done", timeout=JOB_MS)
    names = page.get_by_test_id("download").all_inner_texts()
    assert names == ["Download song-01-source.mp4", "Download song-Tall-9x16.mp4"]
