"""The operators' page in a browser: what it shows comes by itself, and its controls ask first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.support.media import make_sample
from tests.support.stack import Stack, make_stack

__all__ = ["make_stack"]

#: Milliseconds for what a worker takes some time for on a busy machine.
PATIENCE_MS = 120_000
PHONE = {"width": 375, "height": 720}


def unfold(page: Page) -> None:
    """Open all that is folded."""
    for details in page.locator("details").all():
        details.evaluate("(details) => (details.open = true)")


def accessible(page: Page) -> None:
    """Fail by what axe finds."""
    found = Axe().run(page).response["violations"]
    assert not found, [(each["id"], each["nodes"][0]["html"][:160]) for each in found]


@pytest.mark.slow
def test_a_failed_output_s_traceback_is_accessible(
    browser: Browser, make_stack: Callable[[str], Stack], tmp_path: Path
) -> None:
    stack = make_stack("eager")
    stack.start_web()
    upload = stack.upload(make_sample(tmp_path / "v.mp4", seconds=1.0, size=(160, 90)))
    for stored in (stack.folder / "data/files/uploads").rglob("*"):
        if stored.is_file():
            stored.unlink()
    job = stack.submit(upload_id=upload["id"], clips=["0-0.5"], aspects=[], still=True)
    assert stack.ended(job["id"])["state"] == "failed"
    page = browser.new_context(viewport=PHONE).new_page()
    page.goto(f"{stack.url}/operators")
    failed = page.get_by_test_id("failed")
    failed.get_by_text("Traceback", exact=True).click(timeout=PATIENCE_MS)

    expect(failed.locator("pre")).to_contain_text("Traceback (most recent call last)")
    expect(page.locator("#workers")).to_contain_text("This does not apply")
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme)
        accessible(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    page.context.close()


@pytest.mark.slow
def test_an_operator_pauses_and_resumes_a_queue_by_keyboard_on_a_phone(
    browser: Browser, make_stack: Callable[[str], Stack]
) -> None:
    stack = make_stack("redis")
    stack.start_worker()
    stack.start_web()
    context = browser.new_context(viewport=PHONE)
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: message.type == "error" and problems.append(message.text))
    page.goto(stack.url)
    page.get_by_role("link", name="Operators").click()

    worker = page.get_by_test_id("worker")
    expect(worker).to_contain_text("0 of 2 busy", timeout=PATIENCE_MS)  # without a click
    queue = page.get_by_test_id("queue")
    pause = queue.locator('details[data-do="pause"]')
    pause.locator("summary").focus()
    page.keyboard.press("Enter")
    expect(pause).to_contain_text("What runs goes on.")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")

    expect(page.get_by_role("status")).to_have_text("The queue is paused.")
    expect(queue).to_contain_text("0 workers take from it", timeout=PATIENCE_MS)
    expect(worker).to_contain_text("Takes from no queue", timeout=PATIENCE_MS)
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= PHONE["width"], "it does not scroll sideways"
    resume = queue.locator('details[data-do="resume"]')
    resume.locator("summary").click()
    resume.get_by_role("button").click()
    expect(queue).to_contain_text("1 worker takes from it", timeout=PATIENCE_MS)
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        accessible(page)
        unfold(page)
        accessible(page)
        page.screenshot(path=str(stack.folder / f"operators-{scheme}.png"), full_page=True)
    assert problems == []
    context.close()


@pytest.mark.slow
def test_what_somebody_has_unfolded_stays_as_it_is(
    browser: Browser, make_stack: Callable[[str], Stack]
) -> None:
    stack = make_stack("redis")
    stack.start_web()
    page = browser.new_context().new_page()
    page.goto(f"{stack.url}/operators")
    queues, workers = page.locator("#queues"), page.locator("#workers")
    expect(workers).to_contain_text("No worker answers.", timeout=PATIENCE_MS)
    pause = queues.locator('details[data-do="pause"]')
    pause.locator("summary").click()

    stack.start_worker()

    expect(workers).to_contain_text("0 of 2 busy", timeout=PATIENCE_MS)
    expect(pause.get_by_role("button")).to_be_visible()
    page.context.close()
