"""The interactive page of the API, in a real Chromium: an operation is found, and tried out."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from cutmv.config import Settings
from cutmv.services import Services
from tests.support.web_server import web_server

pytestmark = pytest.mark.slow

PASSWORD = "correct horse battery"


def test_who_has_signed_in_tries_an_operation_that_changes_something(
    browser: Browser, tmp_path: Path
) -> None:
    with web_server(tmp_path, CUTMV_SIGN_IN="always") as server:
        env = {"CUTMV_MODE": "eager", "CUTMV_DATA_DIR": str(server.data_dir)}
        services = Services.open(Settings.from_env(env))
        ann = services.accounts.add("ann@example.com", password=PASSWORD)
        page = browser.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on(
            "console",
            lambda told: errors.append(told.text) if "Security Policy" in told.text else None,
        )
        page.goto(f"{server.url}/api/docs")
        page.get_by_label("E-mail").fill("ann@example.com")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_label("Password")).to_have_count(0)
        page.goto(f"{server.url}/api/docs")

        page.get_by_role("button", name="POST /api/keys").first.click()
        page.get_by_role("button", name="Try it out").click()
        page.locator(".body-param textarea").fill('{"name": "from the page"}')
        page.get_by_role("button", name="Execute").click()

        expect(page.locator(".live-responses-table tbody .response-col_status")).to_have_text("201")
        (key,) = services.api_keys.of(str(ann.id))
        assert key.name == "from the page"
        assert errors == []
