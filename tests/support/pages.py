"""The page in a browser: opened, given a video, and looked at by axe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Response, expect

#: Milliseconds for what takes a busy machine some time.
PATIENCE_MS = 120_000


@contextmanager
def tab(browser: Browser, url: str, patience_ms: int = PATIENCE_MS, **looks: Any) -> Iterator[Page]:
    """A browser with a page; no script may fail, and nothing may break the content policy."""
    context = browser.new_context(**looks)
    page = context.new_page()
    page.set_default_timeout(patience_ms)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda told: errors.append(told.text) if "Policy" in told.text else None)
    page.goto(url)
    yield page
    context.close()
    assert errors == []


def upload(page: Page, video: Path, patience_ms: int = PATIENCE_MS) -> None:
    """Give the page a video, until the server has it."""
    page.get_by_test_id("file-input").set_input_files(video)
    expect(page.get_by_test_id("upload-state").first).to_have_text("ready", timeout=patience_ms)


def is_whole_overview(answer: Response) -> bool:
    """Whether an answer is the overview of a video, and all of it."""
    return answer.url.endswith("/overview") and answer.ok and answer.json()["state"] == "done"


def check_accessible(page: Page) -> None:
    """Fail by what axe finds, and where; and if anything is wider than the screen."""
    found = [
        f"{each['id']} ({each['impact']}): {node['html'][:160]} {node['failureSummary'][:200]}"
        for each in Axe().run(page).response["violations"]
        for node in each["nodes"]
    ]
    assert not found, "\n".join(found)
    wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0, f"the page is {wide} pixels too wide"
