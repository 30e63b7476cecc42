"""What somebody has made of many uploads keeps nobody else's steps waiting."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import httpx

from cutmv.web.api.timeline.derivatives import Asked
from tests.support.media import make_sample
from tests.support.stack import Stack


def test_a_client_waits_for_so_many_derivatives_and_others_for_none_of_them(
    make_stack: Callable[[str], Stack], tmp_path: Path
) -> None:
    stack = make_stack("redis")  # and no worker
    stack.env |= {"CUTMV_MAX_STEPS_AHEAD": "3", "CUTMV_TRUSTED_PROXIES": "127.0.0.1"}
    stack.start_web()
    video = make_sample(tmp_path / "v.mp4", seconds=1.0, size=(320, 180))
    uploads = [stack.upload(video)["id"] for _ in range(3)]

    def ask(upload_id: str, what: str, client: str) -> httpx.Response:
        url = f"{stack.url}/api/uploads/{upload_id}/{what}"
        return httpx.post(url, headers={"X-Forwarded-For": client}, timeout=30)

    asked = [(upload, what) for upload in uploads for what in ("overview", "proxy")]
    answers = [ask(upload, what, "203.0.113.1") for upload, what in asked]

    assert [each.status_code for each in answers] == [202] * 3 + [429] * 3
    assert int(answers[-1].headers["retry-after"]) > 0
    assert "3 overviews, proxies and suggestions" in answers[-1].json()["detail"]
    assert ask(*asked[0], "203.0.113.1").status_code == 202, "it is being made already"
    assert ask(*asked[-1], "203.0.113.2").status_code == 202


def test_what_was_made_is_waited_for_no_more() -> None:
    asked, made = Asked(), threading.Event()
    assert asked.add("ann", "overview 1", lambda: not made.is_set(), 2)
    assert asked.add("ann", "proxy 1", lambda: True, 2)
    assert not asked.add("ann", "proxy 2", lambda: True, 2)
    assert asked.add("ann", "proxy 1", lambda: True, 2), "as it was"
    made.set()
    assert asked.add("ann", "proxy 2", lambda: True, 2)
    assert asked.add("bob", "proxy 2", lambda: True, 2)
