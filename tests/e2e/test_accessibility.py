"""The pages by axe, which finds what breaks WCAG 2.2 AA: dark, light, desktop and phone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect

from tests.support.media import make_sample
from tests.support.pages import check_accessible
from tests.support.web_server import WebServer, web_server

pytestmark = pytest.mark.slow

#: Milliseconds for what takes a busy machine some time.
PATIENCE_MS = 60_000
#: Milliseconds for a job on such a machine.
JOB_MS = 300_000
DESKTOP: ViewportSize = {"width": 1280, "height": 900}
PHONE: ViewportSize = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("video")
    return make_sample(folder / "song.mp4", seconds=6.0, size=(320, 180))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    with web_server(tmp_path_factory.mktemp("site")) as running:
        yield running


@pytest.fixture(params=["dark", "light"])
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["desktop", "phone"])
def page(
    request: pytest.FixtureRequest, browser: Browser, scheme: str, server: WebServer
) -> Iterator[Page]:
    size = DESKTOP if request.param == "desktop" else PHONE
    context = browser.new_context(
        viewport=size,
        color_scheme=scheme,  # type: ignore[arg-type]
        reduced_motion="reduce",
        has_touch=request.param == "phone",
    )
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.goto(server.url)
    yield page
    context.close()


def test_the_page_is_accessible_from_an_upload_to_its_results(page: Page, video: Path) -> None:
    check_accessible(page)
    page.get_by_test_id("file-input").set_input_files(video)
    expect(page.get_by_test_id("upload-state")).to_have_text("ready")
    expect(page.get_by_test_id("overview")).to_have_attribute("data-peaks", re.compile(r"^\d{4}"))
    page.get_by_test_id("aspect-9:16").check()
    for details in page.locator("details").all():
        if details.is_visible():
            details.evaluate("(details) => (details.open = true)")
    page.get_by_test_id("clip-list").fill("no clip")
    page.get_by_test_id("read-list").click()
    expect(page.get_by_test_id("list-wrong")).to_be_visible()
    page.get_by_test_id("zoom-in").click()
    expect(page.get_by_test_id("estimate-all")).to_contain_text("Line 1 can't be read")
    check_accessible(page)
    page.get_by_test_id("clip-list").fill("")
    expect(page.get_by_test_id("estimate-all")).to_contain_text("2 outputs")
    page.get_by_test_id("clip-end").fill("later")
    expect(page.get_by_text("Write a time as")).to_be_visible()
    check_accessible(page)
    page.get_by_test_id("clip-end").fill("0:02")
    page.get_by_test_id("start").click()
    expect(page.get_by_test_id("job-state")).to_have_text("done", timeout=JOB_MS)
    check_accessible(page)


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_pages_of_people_are_accessible(
    browser: Browser, scheme: str, size: ViewportSize, tmp_path: Path
) -> None:
    with web_server(tmp_path, CUTMV_SIGN_IN="always") as server:
        context = browser.new_context(
            viewport=size,
            color_scheme=scheme,  # type: ignore[arg-type]
            reduced_motion="reduce",
        )
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.goto(f"{server.url}/sign-in")
        check_accessible(page)
        first = re.search(r"http://127\.0\.0\.1:\d+/link/password/\S+", server.process.log)
        assert first, server.process.log
        page.goto(first[0])
        check_accessible(page)
        page.get_by_label("E-mail address").fill("boss@example.com")
        page.get_by_label("Password").fill("correct horse battery")
        page.get_by_role("button", name="Go on").click()
        expect(page.get_by_test_id("mode-badge")).to_have_text("eager")
        for path in ("account", "account/second-factor", "operators", "people"):
            page.goto(f"{server.url}/{path}")
            check_accessible(page)
        page.get_by_label("E-mail address").fill("ada@example.com")
        page.get_by_role("button", name="Make the account").click()
        expect(page.locator(".secret code")).to_be_visible()
        check_accessible(page)
        context.close()
