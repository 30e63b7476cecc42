"""A video that the browser can't play: a film that the server makes of it plays in its place."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.support.media import make_sample
from tests.support.processes import wait_for
from tests.support.web_server import web_server

pytestmark = pytest.mark.slow

#: Milliseconds for what a busy machine may make of a video of three seconds.
PATIENCE_MS = 300_000


def test_what_the_browser_can_t_play_plays_as_a_proxy(browser: Browser, tmp_path: Path) -> None:
    codec = ("-c:v", "mpeg4", "-q:v", "5")
    video = make_sample(tmp_path / "song.avi", seconds=3.0, size=(320, 180), codec=codec)
    with web_server(tmp_path) as server:
        page = browser.new_page()
        page.goto(server.url)
        page.get_by_test_id("file-input").set_input_files(video)

        told = page.get_by_test_id("player-error")
        expect(told).to_contain_text("What plays here is a small film", timeout=PATIENCE_MS)

        player = page.get_by_test_id("player")
        expect(player).to_have_attribute("src", re.compile("/proxy/content$"))
        wait_for(
            lambda: player.evaluate("(player) => player.videoWidth") == 320, 60.0, "it is seen"
        )
        player.evaluate("(player) => player.play()")
        wait_for(lambda: player.evaluate("(player) => player.currentTime") > 0.5, 60.0, "it plays")
        page.close()
