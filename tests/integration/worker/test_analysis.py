"""The analysis of an upload: made once, kept beside it, told of, ended, and repeated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import pytest
from celery.exceptions import SoftTimeLimitExceeded

from cutmv.config import Settings
from cutmv.dispatch.local_runner import LocalRunner
from cutmv.jobs import (
    ANALYSIS,
    DerivativeClaim,
    Derivatives,
    DerivativeState,
    Record,
    Records,
    Upload,
)
from cutmv.media import Analysis, MediaError
from cutmv.progress import ProgressFeed
from cutmv.services import Services
from cutmv.worker import analyse_upload, analysis, derivative, derivative_tasks
from cutmv.worker.analysis import AnalysisRun
from tests.support.jobs import add_video, let_time_pass, want
from tests.support.music import Film, clicks, make_film
from tests.support.processes import wait_for
from tests.support.s3 import BUCKET, KEY_ID, SECRET
from tests.support.small_disk import SmallDisk
from tests.support.stack import Stack


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "song.mp4"
    return make_film(path, Film(8, cuts=(100,)), clicks(120, 8))


@pytest.fixture
def upload(services: Services, video: Path) -> Upload:
    return add_video(services, video)


@pytest.fixture
def analyses(services: Services, upload: Upload) -> Records[Analysis]:
    """With the upload's analysis asked for."""
    want(services, ANALYSIS, upload)
    return Records(services.storage, ANALYSIS)


def state_of(analyses: Records[Analysis], upload: Upload) -> DerivativeState:
    record = analyses.of(upload)
    assert record is not None
    return record.state


def test_an_analysis_is_kept_and_made_once(
    services: Services, upload: Upload, analyses: Records[Analysis], monkeypatch: pytest.MonkeyPatch
) -> None:
    AnalysisRun(services, upload.id).run()
    kept = analyses.of(upload)
    monkeypatch.setattr(analysis, "analyse", lambda *_, **__: pytest.fail("made again"))
    AnalysisRun(services, upload.id).run()

    assert kept is not None and kept.found is not None
    assert (kept.state, kept.percent) == (DerivativeState.DONE, 100.0)
    assert kept.found.scenes == (4.0,)
    assert kept.found.tempo == pytest.approx(120, abs=0.5)
    assert analyses.of(upload) == kept


def test_an_analysis_that_nobody_wants_any_more_ends(
    services: Services, upload: Upload, analyses: Records[Analysis], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(derivative, "TOLD_EVERY_S", 0.0)
    kept = Records[Analysis].keep

    def forgotten_once_it_runs(self: Records[Any], of: Upload, record: Record[Any]) -> Any:
        found = kept(self, of, record)
        if record.state is DerivativeState.RUNNING:
            Derivatives(services.store, services.storage).forget(ANALYSIS, of)
        return found

    monkeypatch.setattr(Records, "keep", forgotten_once_it_runs)

    AnalysisRun(services, upload.id).run()

    assert analyses.of(upload) is None


def test_an_analysis_of_a_process_that_ends_is_another_s_at_once(
    services: Services, upload: Upload, analyses: Records[Analysis]
) -> None:
    AnalysisRun(services, upload.id, stopping=lambda: True).run()

    known = Derivatives(services.store, services.storage)
    assert list(known.next()) == [(ANALYSIS, services.store.upload(upload.id))]
    AnalysisRun(services, upload.id).run()
    assert state_of(analyses, upload) is DerivativeState.DONE


def test_an_analysis_that_another_makes_is_left_to_it_until_it_is_silent(
    services: Services, upload: Upload, analyses: Records[Analysis], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = DerivativeClaim.take(services.store, services.storage, ANALYSIS, upload)
    assert other is not None

    AnalysisRun(services, upload.id).run()

    assert state_of(analyses, upload) is DerivativeState.QUEUED
    let_time_pass(services.store)
    AnalysisRun(services, upload.id).run()
    assert state_of(analyses, upload) is DerivativeState.DONE
    assert not other.renew(), "it is taken from it"


def test_an_analysis_of_which_its_worker_lives_to_tell_nothing_is_not_made_again(
    services: Services, upload: Upload, analyses: Records[Analysis], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DerivativeClaim, "end", lambda _claim: None)
    AnalysisRun(services, upload.id).run()
    known = Derivatives(services.store, services.storage)
    record = known.record(ANALYSIS, upload)
    assert record and record.state is DerivativeState.QUEUED, "until somebody has looked"
    let_time_pass(services.store)

    assert list(known.next()) == []

    assert known.record(ANALYSIS, upload) == analyses.of(upload)
    assert state_of(analyses, upload) is DerivativeState.DONE


def test_an_analysis_that_ran_into_its_limit_when_all_was_kept_is_there(
    services: Services, upload: Upload, analyses: Records[Analysis], monkeypatch: pytest.MonkeyPatch
) -> None:
    met = Event()

    def late(*_: Any) -> None:
        met.set()
        raise SoftTimeLimitExceeded

    monkeypatch.setattr(derivative, "measure", late)
    runner = LocalRunner(services, ProgressFeed())

    runner.derive(analyse_upload, "analysis", upload.id)
    assert met.wait(60.0)
    runner.close()

    assert state_of(analyses, upload) is DerivativeState.DONE


def test_what_is_wrong_with_a_video_is_kept(
    services: Services, upload: Upload, analyses: Records[Analysis], monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(*_: Any, **__: Any) -> None:
        raise MediaError("The video can't be read: it is damaged.")

    monkeypatch.setattr(analysis, "analyse", damaged)

    with pytest.raises(MediaError):
        AnalysisRun(services, upload.id).run()

    record = analyses.of(upload)
    assert record == replace(
        Record(DerivativeState.FAILED, 0.0, "The video can't be read: it is damaged."),
        at=record.at if record else 0.0,
    )


@pytest.mark.parametrize("what", ["no longer kept", "was replaced"])
def test_the_analysis_of_an_upload_whose_file_is_gone_says_so(
    services: Services, upload: Upload, analyses: Records[Analysis], what: str
) -> None:
    if what == "was replaced":
        Path(services.storage.source(upload.key)).write_bytes(b"another")
    else:
        services.storage.delete(upload.key)

    with pytest.raises(MediaError, match=what):
        AnalysisRun(services, upload.id).run()

    assert state_of(analyses, upload) is DerivativeState.FAILED


def test_an_analysis_waits_for_room_and_then_is_made(
    tmp_path: Path,
    video: Path,
    small_disks: Callable[[Path, int], SmallDisk],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As in eager mode, where the web server is the worker."""
    monkeypatch.setattr(derivative_tasks, "WAIT_S", 0.1)
    disk = small_disks(tmp_path / "data", 10)
    env = {"CUTMV_DATA_DIR": str(disk.path), "DATABASE_URL": f"sqlite:///{tmp_path / 'db'}"}
    services = Services.open(Settings.from_env(env))
    upload, analyses = add_video(services, video), Records(services.storage, ANALYSIS)
    want(services, ANALYSIS, upload)
    runner = LocalRunner(services, ProgressFeed())
    disk.fill()

    runner.derive(analyse_upload, "analysis", upload.id)
    wait_for(lambda: "room to work in on this machine is away" in caplog.text, what="it waits")
    for _ in range(3):
        wait_for(lambda: runner.has(f"analysis of {upload.id}"), what="it waits on")
        assert state_of(analyses, upload) is DerivativeState.QUEUED
    disk.empty()

    wait_for(lambda: state_of(analyses, upload) is DerivativeState.DONE, what="it is made")
    wait_for(lambda: "this machine answers again" in caplog.text, what="that is told")
    runner.close()
    services.store.close()


@pytest.mark.slow
def test_an_analysis_on_a_worker_without_room_waits_and_counts_no_try(
    make_stack: Callable[[str], Stack],
    small_disks: Callable[[Path, int], SmallDisk],
    tmp_path: Path,
    video: Path,
) -> None:
    disk, stack = small_disks(tmp_path / "data", 20), make_stack("redis")
    stack.env["CUTMV_MAX_RETRIES"] = "0"
    stack.start_web()
    url = f"{stack.url}/api/uploads/{stack.upload(video)['id']}/suggestions"
    assert httpx.post(url, timeout=30.0).status_code == 202
    disk.fill()

    worker = stack.start_worker()
    wait_for(lambda: worker.log.count("Retry in") >= 2, 60.0, f"it waits\n{stack.logs}")
    assert httpx.get(url, timeout=30.0).status_code == 202
    assert "the database is away: its disk is full" in worker.log
    disk.empty()

    made = lambda: httpx.get(url, params={"length_s": 2}, timeout=30.0).status_code == 200  # noqa: E731
    wait_for(made, 60.0, f"it is made\n{stack.logs}")


def test_an_analysis_that_meets_a_bug_says_so(
    services: Services, upload: Upload, analyses: Records[Analysis], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: Any, **__: Any) -> None:
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr(analysis, "analyse", failing)
    runner = LocalRunner(services, ProgressFeed())

    runner.derive(analyse_upload, "analysis", upload.id)
    wait_for(lambda: state_of(analyses, upload) is DerivativeState.FAILED, what="it has failed")
    runner.close()

    record = analyses.of(upload)
    told = "an unexpected error; the log of the worker has the details"
    assert record and record.error == f"Given up after 1 try: {told}"


def suggestions(stack: Stack, upload_id: str) -> dict[str, Any]:
    url = f"{stack.url}/api/uploads/{upload_id}/suggestions"
    asked = httpx.post(url, timeout=30.0)
    assert asked.status_code == 202, asked.text

    def found() -> httpx.Response | None:
        answer = httpx.get(url, params={"clips": 2, "length_s": 2}, timeout=30.0)
        return None if answer.status_code == 202 else answer

    answer = wait_for(found, 120.0, f"suggestions are there\n{stack.logs}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["eager", "redis", "cloudflare"])
def test_suggestions_are_made_by_whatever_carries_tasks(
    mode: str, make_stack: Callable[[str], Stack], video: Path
) -> None:
    stack = make_stack(mode)
    if mode != "eager":
        stack.start_worker()
    stack.start_web()

    found = suggestions(stack, stack.upload(video)["id"])

    assert found["notes"][0].startswith("About 120")
    assert [each["label"][-1] for each in found["clips"]] == ["1", "2"]
    if mode != "eager":
        assert "cutmv.analyse" in stack.workers[0].log


@pytest.mark.slow
def test_an_upload_in_r2_is_analysed_through_the_relay(
    make_stack: Callable[[str], Stack], video: Path, s3_url: str
) -> None:
    stack = make_stack("redis")
    r2 = {"R2_ACCESS_KEY_ID": KEY_ID, "R2_SECRET_ACCESS_KEY": SECRET, "R2_BUCKET": BUCKET}
    stack.env |= {**r2, "R2_ENDPOINT_URL": s3_url}
    stack.start_worker()
    stack.start_web()

    found = suggestions(stack, stack.upload(video)["id"])

    assert len(found["clips"]) == 2
    assert SECRET not in stack.logs
