"""The overview of an upload: made once, seen while it is made, kept beside it, gone with it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from cutmv.dispatch.deleter import Deleter
from cutmv.jobs import OVERVIEW, DerivativeState, Record, Records, Upload
from cutmv.media import MediaError, Overview
from cutmv.services import Services
from cutmv.storage import StorageError
from cutmv.worker import overview
from cutmv.worker.overview import OverviewRun
from tests.support.jobs import add_video, want
from tests.support.media import make_sample
from tests.support.processes import wait_for
from tests.support.s3 import SECRET
from tests.support.stack import Stack, on_r2

#: Small pictures of the video: five a second.
PICTURES = 20


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sample(tmp_path_factory.mktemp("video") / "v.mp4", seconds=4.0, size=(320, 180))


@pytest.fixture
def upload(services: Services, video: Path) -> Upload:
    return add_video(services, video)


@pytest.fixture
def records(services: Services, upload: Upload) -> Records[Overview]:
    """With the upload's overview asked for."""
    want(services, OVERVIEW, upload)
    return Records(services.storage, OVERVIEW)


def names(services: Services, upload: Upload) -> set[str]:
    """What is kept beside the upload."""
    prefix = upload.key.removesuffix("source")
    return {each.key.removeprefix(prefix) for each in services.storage.list(prefix)}


def test_an_overview_is_told_part_by_part_and_made_once(
    services: Services,
    upload: Upload,
    records: Records[Overview],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept: list[Record[Overview]] = []
    keep = Records.keep

    def noted(self: Records[Any], of: Upload, record: Record[Any]) -> Record[Any]:
        kept.append(record)
        return keep(self, of, record)

    monkeypatch.setattr(Records, "keep", noted)

    OverviewRun(services, upload.id).run()
    parts = [each.found for each in kept if each.state is DerivativeState.RUNNING and each.found]
    monkeypatch.setattr(overview, "overview", lambda *_, **__: pytest.fail("made again"))
    OverviewRun(services, upload.id).run()

    record = records.of(upload)
    assert record and record.found
    assert (record.state, record.percent) == (DerivativeState.DONE, 100.0)
    # First some pictures, then some of the sound, and at the end all of both.
    assert (len(parts[0].sheets), parts[0].peaks) == (1, None)
    assert any(each.peaks and each.rough for each in parts)
    assert sum(len(each.times) for each in record.found.sheets) >= PICTURES
    assert record.found.peaks and not record.found.rough
    sheets = {f"sheet-{number}" for number in range(len(record.found.sheets))}
    assert names(services, upload) == {"source", "overview", "peaks", *sheets}


@pytest.mark.slow
def test_an_overview_goes_with_its_upload(
    services: Services, upload: Upload, records: Records[Overview]
) -> None:
    OverviewRun(services, upload.id).run()

    Deleter(services).upload(upload.id)

    assert names(services, upload) == set()


@pytest.mark.parametrize("before", ["_store", "_keep"])
def test_an_overview_of_a_deleted_upload_ends_and_leaves_nothing(
    services: Services,
    upload: Upload,
    records: Records[Overview],
    monkeypatch: pytest.MonkeyPatch,
    before: str,
) -> None:
    act = getattr(OverviewRun, before)

    def deleted_meanwhile(self: OverviewRun, *args: Any) -> None:
        Deleter(services).upload(upload.id)
        monkeypatch.setattr(OverviewRun, before, act)
        act(self, *args)

    monkeypatch.setattr(OverviewRun, before, deleted_meanwhile)

    with suppress(MediaError):  # the video is not there
        OverviewRun(services, upload.id).run()

    assert names(services, upload) == set()


@pytest.mark.slow
def test_what_there_is_of_an_overview_stays_when_the_rest_fails(
    services: Services,
    upload: Upload,
    records: Records[Overview],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise StorageError("The storage is full.")

    monkeypatch.setattr(OverviewRun, "peaks", away)
    run = OverviewRun(services, upload.id)

    with pytest.raises(StorageError):
        run.run()
    run.fail("Given up.")

    record = records.of(upload)
    assert record and record.found
    assert (record.state, record.error) == (DerivativeState.FAILED, "Given up.")
    assert record.found.sheets and record.found.peaks is None


def overview_of(stack: Stack, upload_id: str) -> dict[str, Any]:
    url = f"{stack.url}/api/uploads/{upload_id}/overview"
    assert httpx.get(url, timeout=30.0).status_code == 404
    asked = httpx.post(url, timeout=30.0)
    assert asked.status_code == 202, asked.text

    def found() -> dict[str, Any] | None:
        answer = httpx.get(url, timeout=30.0)
        return None if answer.status_code == 202 else dict(answer.json())

    seen = wait_for(found, 120.0, f"the overview is there\n{stack.logs}")
    assert (seen["state"], seen["error"]) == ("done", None)
    return dict(seen)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["eager", "redis", "cloudflare", "redis on R2"])
def test_an_overview_is_made_by_whatever_carries_tasks(
    mode: str,
    make_stack: Callable[[str], Stack],
    video: Path,
    request: pytest.FixtureRequest,
) -> None:
    mode, _, r2 = mode.partition(" on ")
    stack = make_stack(mode)
    if r2:
        on_r2(stack, request.getfixturevalue("s3_url"))
    if mode != "eager":
        stack.start_worker()
    stack.start_web()

    upload_id = stack.upload(video)["id"]
    seen = overview_of(stack, upload_id)

    assert seen["tile"] == {"width": 160, "height": 90}
    assert sum(len(each["times"]) for each in seen["sheets"]) >= PICTURES
    for each in seen["sheets"]:
        picture = httpx.get(stack.url + each["url"], timeout=30.0)
        assert picture.headers["content-type"] == "image/jpeg"
        assert picture.content.startswith(b"\xff\xd8")
    peaks = httpx.get(stack.url + seen["peaks"]["url"], timeout=30.0).content
    assert len(peaks) / 2 / seen["peaks"]["a_second"] == pytest.approx(4.0, abs=0.1)
    assert seen["keys"] and seen["keys"][0] == 0
    if mode != "eager":
        assert "cutmv.overview" in stack.workers[0].log
    assert SECRET not in stack.logs
    assert httpx.delete(f"{stack.url}/api/uploads/{upload_id}", timeout=30.0).status_code == 204
    gone = httpx.get(stack.url + seen["sheets"][0]["url"], timeout=30.0)
    assert gone.status_code == 404
