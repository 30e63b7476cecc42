"""A job on the page, in a real Chromium: shared, run again, and why it failed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
import sqlalchemy as sa
from playwright.sync_api import Browser, Page, expect

from cutmv.client import Client, Job
from tests.support.media import make_sample
from tests.support.pages import check_accessible
from tests.support.processes import wait_for
from tests.support.web_server import WebServer, web_server

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    with web_server(tmp_path_factory.mktemp("page")) as running:
        yield running


@pytest.fixture(scope="module")
def api(server: WebServer) -> Iterator[Client]:
    with Client(server.url) as client:
        yield client


@pytest.fixture(scope="module")
def upload_id(api: Client, tmp_path_factory: pytest.TempPathFactory) -> str:
    video = make_sample(tmp_path_factory.mktemp("video") / "song.mp4", seconds=4.0)
    return api.upload(video).id


@pytest.fixture
def page(browser: Browser, server: WebServer) -> Iterator[Page]:
    """A page of the site, on which no script may fail and nothing may break the content policy."""
    context = browser.new_context(viewport={"width": 1200, "height": 900}, accept_downloads=True)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on(
        "console",
        lambda message: errors.append(message.text) if "Security Policy" in message.text else None,
    )
    yield page
    context.close()
    assert errors == []


def make_job(api: Client, upload_id: str, *clips: str, **wanted: Any) -> str:
    return api.cut(upload_id, clips or ["0-0.5", "1-1.5"], **wanted).id


def done(api: Client, job_id: str) -> Job:
    *_, job = api.watch(job_id)
    assert job.state == "done", job
    return job


def fail(server: WebServer, job_id: str, error: str) -> None:
    """Have the first output of a job that ended be as if it had failed."""
    engine = sa.create_engine(f"sqlite:///{server.data_dir / 'cutmv.db'}")
    with engine.begin() as db:
        told = {"job": job_id, "error": error}
        failed = (
            "update steps set state = 'failed', error = :error, output_key = null"
            " where job_id = :job and position = 0"
        )
        db.execute(sa.text(failed), told)
        whole = "update jobs set state = 'failed', error = :error where id = :job"
        db.execute(sa.text(whole), told)
    engine.dispose()


def test_a_link_is_made_copied_opened_by_a_stranger_and_ended(
    page: Page, browser: Browser, server: WebServer, api: Client, upload_id: str
) -> None:
    job = done(api, make_job(api, upload_id))
    page.goto(f"{server.url}/#{job.id}")
    page.get_by_text("Share by a link").click()
    page.get_by_test_id("share-days").select_option("a day")
    page.get_by_test_id("share-make").click()
    expect(page.get_by_test_id("share-row")).to_have_count(1)
    page.get_by_test_id("share-copy").click()
    expect(page.get_by_text("The link is copied.")).to_be_visible()
    link = page.evaluate("navigator.clipboard.readText()")
    assert link == page.get_by_test_id("share-url").input_value()

    context = browser.new_context(viewport={"width": 360, "height": 740})
    stranger = context.new_page()
    stranger.goto(link)
    expect(stranger.get_by_test_id("shared-outputs").get_by_role("listitem")).to_have_count(2)
    film = stranger.locator("video").first
    wait_for(lambda: film.evaluate("video => video.readyState") >= 1, what="a film is shown")
    assert stranger.evaluate("document.documentElement.scrollWidth") <= 360
    with stranger.expect_download() as downloading:
        stranger.get_by_test_id("shared-all").click()
    assert downloading.value.suggested_filename == "song-clips.zip"

    page.get_by_test_id("share-end").press("Enter")
    expect(page.get_by_test_id("share-row")).to_have_count(0)
    assert stranger.reload().status == 404  # type: ignore[union-attr]
    expect(stranger.get_by_test_id("shared-problem")).to_be_visible()
    context.close()


def test_all_results_are_downloaded_in_one_zip(
    page: Page, server: WebServer, api: Client, upload_id: str, tmp_path: Path
) -> None:
    job = done(api, make_job(api, upload_id))
    page.goto(f"{server.url}/#{job.id}")

    with page.expect_download() as downloading:
        page.get_by_test_id("download-all").click()

    downloading.value.save_as(tmp_path / "all.zip")
    api.download(job, tmp_path / "each")
    with ZipFile(tmp_path / "all.zip") as zipped:
        found = {name: zipped.read(name) for name in zipped.namelist()}
    assert found == {each.name: each.read_bytes() for each in (tmp_path / "each").iterdir()}
    assert len(found) == 2


def test_a_failure_is_told_in_plain_words_and_what_failed_is_run_again(
    page: Page, server: WebServer, api: Client, upload_id: str
) -> None:
    job = done(api, make_job(api, upload_id))
    fail(server, job.id, "The clip can't be cut: FFmpeg crashed on it (SIGSEGV).")
    page.goto(f"{server.url}/#{job.id}")

    expect(page.get_by_test_id("job-way")).to_have_text("directly on this server")
    failure = page.get_by_test_id("failure").first
    expect(failure).to_contain_text("in a format that we can't read")
    expect(failure.get_by_text("SIGSEGV")).to_be_hidden()
    failure.get_by_text("Technical part").press("Enter")
    expect(failure.get_by_text("SIGSEGV")).to_be_visible()

    page.get_by_test_id("again-failed").click()

    expect(page.get_by_test_id("job-state")).to_have_text("done")
    expect(page.get_by_test_id("step")).to_have_count(1)
    assert page.get_by_test_id("job").get_attribute("data-job") != job.id
    page.get_by_test_id("again").click()
    wait_for(lambda: len([*api.jobs()]) >= 3, what="the whole job is run again")
    expect(page.get_by_test_id("job-state")).to_have_text("done")


def test_two_tabs_follow_one_job_and_hear_of_each_other(
    page: Page, browser: Browser, server: WebServer, api: Client, upload_id: str
) -> None:
    other = browser.new_context().new_page()
    sockets: list[str] = []
    page.on("websocket", lambda opened: sockets.append(opened.url))
    for each in (page, other):
        each.goto(server.url)
        expect(each.get_by_test_id("mode-badge")).to_have_text("eager")
    job_id = make_job(api, upload_id, *["0-4"] * 8, aspects=["9:16"])

    for each in (page, other):
        each.locator(f'[data-testid="recent-job"][data-job="{job_id}"]').click()
        expect(each.get_by_test_id("job-state")).to_have_text("running")
        told = each.get_by_test_id("step").filter(has_text="frames/s").filter(has_text="s left")
        expect(told.first).to_contain_text("cutting")
    page.get_by_test_id("cancel").click()
    for each in (page, other):
        expect(each.get_by_test_id("job-state")).to_have_text("cancelled")
        row = each.locator(f'[data-testid="recent-job"][data-job="{job_id}"]')
        expect(row).to_contain_text("cancelled")
    assert len(sockets) == 1, sockets

    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_test_id("delete-job").click()
    for each in (page, other):
        expect(each.get_by_test_id("job")).to_be_hidden()
        expect(each.locator(f'[data-testid="recent-job"][data-job="{job_id}"]')).to_have_count(0)
    other.context.close()


def test_a_page_goes_on_when_its_server_is_back(browser: Browser, tmp_path: Path) -> None:
    video = make_sample(tmp_path / "song.mp4", seconds=4.0)
    context = browser.new_context()
    page = context.new_page()
    with web_server(tmp_path) as server:
        port = int(server.url.rsplit(":", 1)[1])
        with Client(server.url) as api:
            job_id = make_job(api, api.upload(video).id, *["0-4"] * 6, aspects=["9:16"])
        page.goto(f"{server.url}/#{job_id}")
        expect(page.get_by_test_id("job-state")).to_have_text("running")
        server.process.kill()
    expect(page.locator("#job-live")).to_have_text("reconnecting…")

    with web_server(tmp_path, port=port):
        expect(page.get_by_test_id("job-state")).to_have_text("done", timeout=180_000)
        expect(page.get_by_test_id("download")).to_have_count(6)
    context.close()


def test_a_notification_comes_once_it_is_asked_for_by_the_button(
    page: Page, server: WebServer, api: Client, upload_id: str
) -> None:
    page.context.grant_permissions(["notifications"])
    page.add_init_script(
        """
        window.asked = 0;
        window.shown = [];
        window.Notification = class {
          static permission = "default";
          static async requestPermission() { asked++; return (this.permission = "granted"); }
          constructor(title, { body, tag }) { shown.push({ title, body, tag }); }
          addEventListener(_, open) { this.open = open; }
          close() {}
        };
        """
    )
    page.goto(server.url)
    expect(page.get_by_test_id("mode-badge")).to_have_text("eager")
    silent = done(api, make_job(api, upload_id, "0-0.3")).id
    row = page.locator(f'[data-testid="recent-job"][data-job="{silent}"]')
    expect(row).to_contain_text("done")
    row.click()
    assert page.evaluate("[asked, shown.length]") == [0, 0]

    page.get_by_test_id("notify").press("Enter")
    expect(page.get_by_test_id("notify")).to_have_attribute("aria-pressed", "true")
    job_id = done(api, make_job(api, upload_id, "0-0.3", "1-1.3")).id
    wait_for(lambda: page.evaluate("shown.length"), 60.0, "the browser shows it")

    assert page.evaluate("[asked, shown]") == [
        1,
        [
            {
                "title": "song.mp4 is done",
                "body": "2 of 2 results are made.",
                "tag": f"cutmv-{job_id}",
            }
        ],
    ]
    page.get_by_test_id("notify").click()
    expect(page.get_by_test_id("notify")).to_have_attribute("aria-pressed", "false")
    expect(page.get_by_test_id("mail")).to_be_hidden()


@pytest.mark.parametrize("scheme", ["dark", "light"])
@pytest.mark.parametrize("width", [1280, 390])
def test_a_job_that_failed_its_links_and_what_they_show_are_accessible(
    browser: Browser, server: WebServer, api: Client, upload_id: str, scheme: str, width: int
) -> None:
    job = done(api, make_job(api, upload_id, still=True))
    fail(server, job.id, "The clip can't be cut: FFmpeg crashed on it (SIGSEGV).")
    shared = api.call("POST", f"/api/jobs/{job.id}/shares", json={})["url"]
    context = browser.new_context(
        viewport={"width": width, "height": 844},
        color_scheme=scheme,  # type: ignore[arg-type]
        reduced_motion="reduce",
    )
    page = context.new_page()
    page.goto(f"{server.url}/#{job.id}")
    page.get_by_text("Share by a link").click()
    page.get_by_test_id("share-make").click()
    expect(page.get_by_test_id("share-row")).to_have_count(2)
    for technical in page.get_by_test_id("technical").locator("summary").all():
        if technical.is_visible():
            technical.click()
    check_accessible(page)
    page.goto(shared)
    expect(page.get_by_test_id("shared-outputs")).to_be_visible()
    check_accessible(page)
    page.goto(f"{server.url}/shared/gone")
    expect(page.get_by_test_id("shared-problem")).to_be_visible()
    check_accessible(page)
    context.close()
