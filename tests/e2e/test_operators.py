"""The operators' page in a browser: what it shows comes by itself, and its controls ask first."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, expect

from tests.support.stack import Stack, make_stack

__all__ = ["make_stack"]

#: Milliseconds for what a worker takes some time for on a busy machine.
PATIENCE_MS = 120_000
PHONE = {"width": 375, "height": 720}


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
    page.screenshot(path=str(stack.folder / "operators.png"), full_page=True)
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
