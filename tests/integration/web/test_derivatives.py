"""What somebody has made of many uploads keeps nobody else's waiting, and nobody's steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import redis

from tests.support.media import make_sample
from tests.support.processes import wait_for
from tests.support.redis import RedisServer
from tests.support.stack import Stack


@pytest.mark.slow
def test_many_derivatives_are_made_by_turns_and_too_many_refused(
    make_stack: Callable[[str], Stack], tmp_path: Path
) -> None:
    stack = make_stack("redis")
    stack.env |= {"CUTMV_MAX_DERIVATIVES": "5", "CUTMV_MAX_DERIVATIVES_AHEAD": "1"}
    stack.start_web()  # and no worker yet
    video = make_sample(tmp_path / "v.mp4", seconds=1.0, size=(320, 180))
    uploads = [stack.upload(video)["id"] for _ in range(3)]

    def ask(upload_id: str, what: str) -> httpx.Response:
        return httpx.post(f"{stack.url}/api/uploads/{upload_id}/{what}", timeout=30)

    asked = [(upload, what) for upload in uploads for what in ("overview", "proxy")]
    answers = [ask(upload, what) for upload, what in asked]

    assert [each.status_code for each in answers] == [202] * 5 + [429]
    assert int(answers[-1].headers["retry-after"]) > 0
    assert "5 overviews, proxies and suggestions" in answers[-1].json()["detail"]
    assert ask(*asked[0]).status_code == 202, "it waits already"
    with redis.Redis.from_url(stack.env["REDIS_URL"]) as broker:
        assert broker.llen("cutmv-processing") == 2, "one of each kind"
    stack.start_worker()
    for upload, what in asked[:5]:
        url = f"{stack.url}/api/uploads/{upload}/{what}"
        wait_for(lambda: httpx.get(url).json()["state"] == "done", 60.0, "it is made")  # noqa: B023
    assert ask(*asked[-1]).status_code == 202


def test_who_asks_and_gives_up_again_and_again_sends_one_message(
    make_stack: Callable[[str], Stack], tmp_path: Path
) -> None:
    stack = make_stack("redis")
    stack.start_web()  # and no worker
    video = make_sample(tmp_path / "v.mp4", seconds=1.0, size=(320, 180))
    url = f"{stack.url}/api/uploads/{stack.upload(video)['id']}/suggestions"

    for _ in range(10):
        assert httpx.post(url, timeout=30).status_code == 202
        assert httpx.delete(url, timeout=30).status_code == 204
        assert httpx.get(url, timeout=30).status_code == 404

    with redis.Redis.from_url(stack.env["REDIS_URL"]) as broker:
        assert broker.llen("cutmv-processing") == 1
    assert httpx.post(url, timeout=30).status_code == 202
    stack.start_worker()
    wait_for(lambda: httpx.post(url, timeout=30).status_code == 200, 60.0, "it is made")


@pytest.mark.slow
def test_what_a_dead_broker_has_is_made_here(
    make_stack: Callable[[str], Stack], redis_server: RedisServer, tmp_path: Path
) -> None:
    stack = make_stack("redis")
    stack.env |= {"CUTMV_MAX_DERIVATIVES_AHEAD": "1"}
    stack.start_web()  # and no worker
    video = make_sample(tmp_path / "v.mp4", seconds=1.0, size=(320, 180))
    uploads = [stack.upload(video)["id"] for _ in range(2)]
    urls = [f"{stack.url}/api/uploads/{each}/overview" for each in uploads]
    for url in urls:
        assert httpx.post(url, timeout=30).status_code == 202

    redis_server.kill()

    for url in urls:
        wait_for(lambda: httpx.get(url).json()["state"] == "done", 60.0, "it is made")  # noqa: B023
