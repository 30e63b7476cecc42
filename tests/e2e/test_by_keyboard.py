"""What people do, by keys alone: the tab key leads everywhere, and no pointer is used."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.media import make_sample
from tests.support.pages import check_accessible, tab
from tests.support.processes import wait_for
from tests.support.receiver import receiver
from tests.support.web_server import WebServer, web_server

pytestmark = pytest.mark.slow

#: Presses of the tab key that lead once round the page.
ROUND = 200
#: Milliseconds for a job on a busy machine.
JOB_MS = 300_000


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WebServer]:
    with web_server(tmp_path) as running:
        yield running


def go_to(page: Page, name: str) -> None:
    """Press the tab key until what has this test id, or this text, has the focus."""
    focus = "() => [document.activeElement?.dataset.testid, document.activeElement?.textContent]"
    passed = []
    for _ in range(ROUND):
        page.keyboard.press("Tab")
        test_id, text = page.evaluate(focus)
        if name in (test_id, (text or "").strip()):
            return
        passed.append(test_id)
    pytest.fail(f"the focus never comes to {name}: {passed}")


def write(page: Page, name: str, text: str) -> None:
    go_to(page, name)
    page.keyboard.press("Control+a")
    page.keyboard.type(text)


def test_a_video_is_cut_shared_downloaded_and_deleted(
    browser: Browser, server: WebServer, tmp_path: Path
) -> None:
    video = make_sample(tmp_path / "song.mp4", seconds=4.0, size=(320, 180))
    looks = {"viewport": {"width": 1200, "height": 900}, "accept_downloads": True}
    with tab(browser, server.url, **looks) as page:
        go_to(page, "file-input")
        with page.expect_file_chooser() as choosing:
            page.keyboard.press("Space")
        choosing.value.set_files(video)
        expect(page.get_by_test_id("upload-state")).to_have_text("ready")
        write(page, "clip-start", "0:01")
        write(page, "clip-end", "0:02")
        for name in ("aspect-1:1", "still"):
            go_to(page, name)
            page.keyboard.press("Space")
        go_to(page, "start")
        page.keyboard.press("Enter")
        expect(page.get_by_test_id("job-state")).to_have_text("done", timeout=JOB_MS)

        go_to(page, "download-all")
        with page.expect_download() as downloading:
            page.keyboard.press("Enter")
        assert downloading.value.suggested_filename == "song-clips.zip"
        go_to(page, "Share by a link")
        page.keyboard.press("Enter")
        go_to(page, "share-make")
        page.keyboard.press("Enter")
        expect(page.get_by_test_id("share-row")).to_have_count(1)
        go_to(page, "share-end")
        page.keyboard.press("Enter")
        expect(page.get_by_test_id("share-row")).to_have_count(0)
        go_to(page, "download")
        with page.expect_download() as downloading:
            page.keyboard.press("Enter")
        assert downloading.value.suggested_filename.startswith("song-01")

        page.on("dialog", lambda dialog: dialog.accept())
        go_to(page, "delete-output")
        page.keyboard.press("Enter")
        expect(page.get_by_test_id("step").filter(has_text="deleted")).to_have_count(1)
        go_to(page, "delete-job")
        page.keyboard.press("Enter")
        expect(page.get_by_test_id("job")).to_be_hidden()
        assert not [each for each in server.stored() if "jobs" in each.parts]


def test_a_webhook_is_added_tested_and_deleted(browser: Browser, server: WebServer) -> None:
    looks = {"viewport": {"width": 360, "height": 740}}
    with receiver() as there, tab(browser, server.url, **looks) as page:
        go_to(page, "Webhooks")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Webhooks")).to_be_visible()
        check_accessible(page)
        page.get_by_label("Address").focus()
        page.keyboard.type(there.url)
        page.keyboard.press("Enter")
        there.secret = page.get_by_test_id("secret").inner_text()
        check_accessible(page)
        go_to(page, "Send a test event")
        page.keyboard.press("Enter")

        wait_for(lambda: there.received, 60.0, "it is told")

        assert there.types == ["webhook.test"]
        told = page.get_by_test_id("delivery").filter(has_text="delivered: HTTP 204")
        wait_for(lambda: page.reload() and told.count(), 30.0, "that is shown")
        check_accessible(page)
        go_to(page, "Delete")
        page.keyboard.press("Enter")
        expect(page.get_by_test_id("webhook")).to_have_count(0)
