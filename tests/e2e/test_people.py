"""The pages where people sign in: from the first start's link to a job that nobody else sees."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.mail import mail_server
from tests.support.media import make_sample
from tests.support.pages import upload
from tests.support.processes import free_port, wait_for
from tests.support.web_server import WebServer, web_server

#: Milliseconds for what takes FFmpeg some time on a busy machine.
PATIENCE_MS = 120_000
PASSWORD = "correct horse battery"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WebServer]:
    with web_server(tmp_path, CUTMV_SIGN_IN="always") as running:
        yield running


@contextmanager
def visitor(browser: Browser) -> Iterator[Page]:
    """A page of a browser with cookies of its own, on which no script may fail."""
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    context.close()
    assert errors == []


def sign_out(page: Page) -> None:
    page.get_by_role("button", name="Sign out", exact=True).click()
    expect(page.get_by_role("heading", name="Sign in", exact=True)).to_be_visible()


def sign_in(page: Page, email: str) -> None:
    page.get_by_label("E-mail address").first.fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()


@pytest.mark.slow
def test_the_first_link_makes_an_administrator_whose_job_no_invited_person_sees(
    browser: Browser, server: WebServer, tmp_path: Path
) -> None:
    video = make_sample(tmp_path / "song.mp4", seconds=3.0)
    with visitor(browser) as boss, visitor(browser) as ada:
        # The first start's link makes the administrator, once.
        printed = re.search(r"http://127\.0\.0\.1:\d+/link/password/\S+", server.process.log)
        assert printed, server.process.log
        boss.goto(printed[0])
        expect(boss.get_by_role("heading", name="Be the administrator")).to_be_visible()
        boss.get_by_label("E-mail address").fill("boss@example.com")
        boss.get_by_label("Password").fill(PASSWORD)
        boss.get_by_role("button", name="Go on").click()
        expect(boss.get_by_test_id("mode-badge")).to_have_text("eager")
        again = ada.goto(printed[0])
        assert again and again.status == 404

        # Somebody is invited by the administrator's page, and by its link chooses a password.
        boss.get_by_role("link", name="People").click()
        boss.get_by_label("E-mail address").fill("ada@example.com")
        boss.get_by_role("button", name="Make the account").click()
        ada.goto(boss.locator(".secret code").inner_text())
        ada.get_by_label("Password").fill(PASSWORD)
        ada.get_by_role("button", name="Go on").click()
        expect(ada.get_by_test_id("mode-badge")).to_have_text("eager")

        # The administrator signs out and in, and cuts: the page sends the session's CSRF token.
        sign_out(boss)
        told: list[dict[str, Any]] = []
        boss.on(
            "websocket",
            lambda line: line.on("framereceived", lambda text: told.append(json.loads(text))),
        )
        sign_in(boss, "boss@example.com")
        expect(boss.get_by_test_id("mode-badge")).to_have_text("eager")
        with boss.expect_request(lambda sent: sent.method == "POST") as sending:
            boss.get_by_test_id("file-input").set_input_files(video)
        expect(boss.get_by_test_id("upload-state").first).to_have_text("ready", timeout=PATIENCE_MS)
        expect(boss.get_by_test_id("usage")).to_have_text(
            re.compile(r"^You use [1-9].* of 50.0 GB\.$")
        )
        token = boss.locator("meta[name=csrf-token]").get_attribute("content")
        assert token and sending.value.headers["x-csrf-token"] == token
        boss.get_by_test_id("start").click()
        expect(boss.get_by_test_id("job-state")).to_have_text("done", timeout=PATIENCE_MS)
        told_of_end = [each.get("job", each).get("state") for each in told]
        assert "done" in told_of_end, told
        with boss.expect_download() as downloading:
            boss.get_by_test_id("download").first.click()
        assert Path(downloading.value.path()).stat().st_size > 1_000

        # The other sees nothing of it, by whatever address.
        job_id = boss.get_by_test_id("job").get_attribute("data-job")
        output = boss.get_by_test_id("download").first.get_attribute("href")
        job = boss.evaluate("id => fetch(`/api/jobs/${id}`).then(a => a.json())", job_id)
        upload = f"/api/uploads/{job['upload']['id']}"
        ada.reload()
        expect(ada.get_by_text("None yet.")).to_be_visible()
        expect(ada.get_by_test_id("recent-job")).to_have_count(0)
        for path in (f"/api/jobs/{job_id}", output, upload, f"{upload}/content"):
            status = "path => fetch(path).then(answer => answer.status)"
            assert boss.evaluate(status, path) == 200, path
            assert ada.evaluate(status, path) == 404, path
        assert ada.evaluate(WATCH, job_id) == "", "the WebSocket tells her nothing"
        sign_out(boss)
        refused = boss.evaluate("id => fetch(`/api/jobs/${id}`).then(a => a.status)", job_id)
        assert refused == 401


@pytest.mark.slow
def test_a_mail_of_a_jobs_end_is_asked_for_by_the_button_and_leads_to_the_job(
    browser: Browser, tmp_path: Path
) -> None:
    video = make_sample(tmp_path / "song.mp4", seconds=10.0)
    with mail_server() as mails, visitor(browser) as boss:
        port = free_port()
        env = {
            "CUTMV_SIGN_IN": "always",
            "CUTMV_SMTP_URL": mails.url,
            "CUTMV_URL": f"http://127.0.0.1:{port}",
            "CUTMV_ADMIN_EMAIL": "boss@example.com",
            "CUTMV_ADMIN_PASSWORD": PASSWORD,
        }
        with web_server(tmp_path, port=port, **env) as server:
            boss.goto(server.url)
            sign_in(boss, "boss@example.com")
            upload(boss, video)
            boss.get_by_test_id("clip-start").fill("0:00")
            boss.get_by_test_id("clip-end").fill("0:10")
            for aspect in ("16:9", "9:16", "1:1"):
                boss.get_by_test_id(f"aspect-{aspect}").check()
            boss.get_by_test_id("start").press("Enter")
            button = boss.get_by_test_id("mail")
            expect(button).to_be_visible()
            expect(button).to_have_text("Mail me when it has ended")
            button.press("Enter")
            expect(button).to_have_attribute("aria-pressed", "true")
            expect(button).to_have_text("You will be mailed")
            expect(boss.get_by_test_id("job-state")).to_have_text("done", timeout=PATIENCE_MS)

            mail = wait_for(lambda: next(iter(mails.mails), None), 60.0, "the mail comes")

            assert (mail["To"], mail["Subject"]) == ("boss@example.com", "song.mp4 is done")
            (link,) = re.findall(r"http://\S+", str(mail.get_payload()))
            expect(button).to_be_hidden()
            boss.goto("about:blank")
            boss.goto(link)
            expect(boss.get_by_test_id("job-state")).to_have_text("done")
            expect(boss.locator("#job-file")).to_have_text("song.mp4")


#: What a WebSocket of a job tells, to its end.
WATCH = """id => new Promise(done => {
  let told = "";
  const line = new WebSocket(`ws://${location.host}/ws/jobs/${id}`);
  line.onmessage = message => { told += message.data; };
  line.onclose = () => done(told);
})"""
