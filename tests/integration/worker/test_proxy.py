"""The proxy of an upload: all of it, small, made once by whatever carries tasks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from cutmv.jobs import PROXY, DerivativeState, Records
from cutmv.services import Services
from cutmv.worker import proxy
from cutmv.worker.proxy import ProxyRun
from tests.support.jobs import add_video, want
from tests.support.media import duration_s, make_sample, shown_size
from tests.support.processes import wait_for
from tests.support.stack import Stack

#: A codec that no browser plays.
UNPLAYABLE = ("-c:v", "mpeg4", "-q:v", "5")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("video")
    return make_sample(folder / "v.avi", seconds=3.0, size=(1280, 720), codec=UNPLAYABLE)


def test_a_proxy_is_all_of_the_video_and_small_and_made_once(
    services: Services, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload, records = add_video(services, video), Records(services.storage, PROXY)
    want(services, PROXY, upload)

    ProxyRun(services, upload.id).run()
    monkeypatch.setattr(proxy, "render", lambda *_, **__: pytest.fail("made again"))
    ProxyRun(services, upload.id).run()

    record = records.of(upload)
    assert record and record.found and record.state is DerivativeState.DONE
    made = tmp_path / "made.mp4"
    with services.storage.open_range(upload.key.replace("source", "proxy.mp4")) as chunks:
        made.write_bytes(b"".join(chunks))
    assert shown_size(made) == (640, 360) == (record.found.width, record.found.height)
    assert duration_s(made, "v:0") == pytest.approx(3.0, abs=0.05)
    assert duration_s(made, "a:0") == pytest.approx(3.0, abs=0.1)
    assert made.stat().st_size == record.found.size_bytes


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["eager", "redis"])
def test_a_proxy_is_made_by_whatever_carries_tasks_and_goes_with_its_upload(
    mode: str, make_stack: Callable[[str], Stack], video: Path
) -> None:
    stack = make_stack(mode)
    if mode != "eager":
        stack.start_worker()
    stack.start_web()
    url = f"{stack.url}/api/uploads/{stack.upload(video)['id']}"
    assert httpx.get(f"{url}/proxy", timeout=30.0).status_code == 404
    assert httpx.post(f"{url}/proxy", timeout=30.0).status_code == 202

    def made() -> dict[str, Any] | None:
        answer = httpx.get(f"{url}/proxy", timeout=30.0)
        return None if answer.status_code == 202 else dict(answer.json())

    told = wait_for(made, 240.0, f"the proxy is there\n{stack.logs}")
    assert (told["state"], told["percent"], told["error"]) == ("done", 100.0, None)
    film = httpx.get(stack.url + told["url"], headers={"Range": "bytes=4-7"}, timeout=30.0)
    assert (film.status_code, film.content) == (206, b"ftyp")
    assert httpx.delete(url, timeout=30.0).status_code == 204
    assert httpx.get(stack.url + told["url"], timeout=30.0).status_code == 404
