"""A real Chromium, without a window."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

#: Milliseconds for what a page is expected to show; five seconds are not enough on a busy machine.
PATIENCE_MS = 60_000
expect.set_options(timeout=PATIENCE_MS)

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # The system's, which plays H.264; else the one that Playwright brings.
        browser = playwright.chromium.launch(
            headless=True, executable_path=shutil.which("chromium"), args=ARGUMENTS
        )
        yield browser
        browser.close()
