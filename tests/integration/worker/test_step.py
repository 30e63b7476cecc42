"""Running one step: what it makes, whom it tells, and what its death at any line leaves."""

from __future__ import annotations

import io
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cutmv.dispatch import Deleter
from cutmv.jobs import Backlog, Job, JobRequest, State, UnknownJob, new_id, plan_job
from cutmv.jobs.tables import steps
from cutmv.media import MediaError
from cutmv.progress import ProgressEvent
from cutmv.services import Services
from cutmv.storage import LocalStorage
from cutmv.worker import patience
from cutmv.worker.step import StepBusy, StepRun, Stopped
from cutmv.worker.workspace import WORKSPACE_FOLDER
from tests.support.die_at import POINTS
from tests.support.fork_server import run_python
from tests.support.jobs import add_video
from tests.support.media import frame_number, make_sample, read_frames
from tests.support.processes import clean_env, wait_for

SIZE = (320, 180)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sample(tmp_path_factory.mktemp("video") / "song.mp4", seconds=8.0, size=SIZE)


def a_job(services: Services, video: Path, **wanted: Any) -> Job:
    upload = add_video(services, video)
    request = JobRequest(upload_id=upload.id, **{"clips": ("0-1",), **wanted})
    return services.store.add_job(plan_job(upload, request))


def a_run(services: Services, step_id: str, events: list[dict[str, Any]] | None = None) -> StepRun:
    told = [] if events is None else events

    def listener(event: ProgressEvent) -> None:
        told.append(event.to_wire())

    return StepRun(services, step_id, owner=new_id(), route="redis", listeners=[listener])


def stored(services: Services, job: Job) -> list[str]:
    return [stored.key for stored in services.storage.list(f"jobs/{job.id}/")]


def end_leases(services: Services) -> None:
    """As if the owners had been silent for long."""
    with services.store.engine.begin() as db:
        db.execute(steps.update().values(lease_until=0.0))


def test_each_kind_of_output_is_made_and_told_of(services: Services, video: Path) -> None:
    job = a_job(services, video, aspects=("1:1",), gif=True, still=True)
    events: list[dict[str, Any]] = []

    for step in job.steps:
        a_run(services, step.id, events).run()

    done = services.store.job(job.id)
    assert done.state is State.DONE
    assert [step.name for step in done.steps] == [
        "song-01-1x1.mp4",
        "song-01-gif.gif",
        "song-01-still.jpg",
    ]
    assert len(stored(services, job)) == 3
    assert set(events[0]) == {
        "uuid", "job_id", "stage", "percent", "fps", "speed", "eta_s", "out_time_s",
    }  # fmt: skip
    ends = [event for event in events if event["stage"] == "done"]
    assert [(event["uuid"], event["percent"]) for event in ends] == [
        (step.id, 100.0) for step in job.steps
    ]


def test_clips_become_one_film_of_a_job(services: Services, video: Path) -> None:
    job = a_job(services, video, clips=("4-5", "0:01-0:01.5"), join=True)
    [step] = job.steps
    events: list[dict[str, Any]] = []

    ended = a_run(services, step.id, events).run()

    assert ended.output is not None
    assert (step.name, ended.output.content_type) == ("song-film-source.mp4", "video/mp4")
    made = services.storage.source(ended.output.key)
    numbers = [frame_number(frame, SIZE) for frame in read_frames(Path(made))]
    assert numbers == [*range(120, 150), *range(30, 45)]
    percents = [event["percent"] for event in events]
    assert percents == sorted(percents)
    assert services.store.job(job.id).state is State.DONE


class DeletedMeanwhile(LocalStorage):
    """A storage whose files are deleted, by `delete`, while one of them is being written."""

    delete_all: Callable[[], None]

    def put_file(self, key: str, path: Path, *, content_type: str, if_absent: bool = False) -> bool:
        self.delete_all()
        return super().put_file(key, path, content_type=content_type, if_absent=if_absent)


@pytest.mark.parametrize("what", ["job", pytest.param("upload", marks=pytest.mark.slow)])
def test_an_output_that_is_stored_while_it_is_deleted_stays_nowhere(
    services: Services, video: Path, what: str
) -> None:
    job = a_job(services, video, aspects=(), still=True)
    storage = DeletedMeanwhile(services.settings.data_dir / "files")
    storage.delete_all = lambda: (
        Deleter(services).job(job.id) if what == "job" else Deleter(services).upload(job.upload.id)
    )

    with pytest.raises(UnknownJob):
        a_run(replace(services, storage=storage), job.steps[0].id).run()

    assert stored(services, job) == []
    assert services.store.jobs(10) == []


@pytest.fixture
def small_disk(services: Services) -> Iterator[Callable[[str], None]]:
    """Make the work folder a disk of its own, with the options of mount(8)."""
    work = services.settings.data_dir / WORKSPACE_FOLDER
    work.mkdir()
    mount = ["mount", "-t", "tmpfs", "tmpfs", str(work)]
    if subprocess.run([*mount, "-o", "size=64k"], capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    yield lambda options: subprocess.run([*mount, "-o", f"remount,{options}"], check=True)
    subprocess.run(["umount", str(work)], check=True)


@pytest.mark.parametrize("trouble", ["size=64k", "size=64m,nr_inodes=3", "ro"])
def test_a_work_folder_without_room_is_waited_for(
    services: Services,
    video: Path,
    small_disk: Callable[[str], None],
    trouble: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(patience, "PAUSE_S", 0.1)
    (step,) = a_job(services, video, clips=("0-2",)).steps
    small_disk(trouble)
    run = a_run(services, step.id)
    with ThreadPoolExecutor() as others:
        ending = others.submit(run.run)
        wait_for(lambda: ending.done() or waits_for_room(services), what="it waits for room")
        small_disk("rw,size=64m,nr_inodes=1000")
        ended = ending.result(60)

    assert (ended.state, ended.attempts, ended.failures) == (State.DONE, 1, 0)
    away, back = [line for line in caplog.messages if line.startswith("room to work in")]
    assert "steps wait for it" in away and "answers again" in back


def waits_for_room(services: Services) -> bool:
    return Backlog(services.store).report().waiting["room"].count == 1


def test_a_step_that_was_done_is_not_done_again(services: Services, video: Path) -> None:
    job = a_job(services, video)
    a_run(services, job.steps[0].id).run()
    before = services.storage.stat(stored(services, job)[0])

    again = a_run(services, job.steps[0].id).run()

    assert (again.state, again.attempts) == (State.DONE, 1)
    assert services.storage.stat(before.key) == before


def test_a_step_that_another_runs_is_busy(services: Services, video: Path) -> None:
    job = a_job(services, video)
    with services.store.engine.begin() as db:
        running = {"state": "running", "owner": "other", "lease_until": 9e9}
        db.execute(steps.update().values(running))

    with pytest.raises(StepBusy):
        a_run(services, job.steps[0].id).run()

    assert stored(services, job) == []


def test_a_video_that_can_not_be_cut_fails_its_step_in_one_line(
    services: Services, video: Path
) -> None:
    job = a_job(services, video)
    size = job.upload.size
    services.storage.put_stream(
        job.upload.key,
        io.BytesIO(b"no video".ljust(size)),
        content_type="video/mp4",
        max_bytes=size,
    )

    with pytest.raises(MediaError):
        a_run(services, job.steps[0].id).run()

    failed = services.store.job(job.id)
    assert failed.state is State.FAILED
    assert (
        failed.error
        and "\n" not in failed.error
        and str(services.settings.data_dir) not in failed.error
    )
    assert stored(services, job) == []


def test_a_file_that_another_took_the_place_of_is_not_cut(services: Services, video: Path) -> None:
    job = a_job(services, video)
    Path(services.storage.source(job.upload.key)).write_bytes(video.read_bytes() + bytes(8))

    with pytest.raises(MediaError, match="was replaced: upload the video again"):
        a_run(services, job.steps[0].id).run()

    assert services.store.job(job.id).state is State.FAILED
    assert not stored(services, job)


def test_a_run_whose_process_wants_to_end_gives_its_step_back(
    services: Services, video: Path
) -> None:
    job = a_job(services, video)
    run = StepRun(
        services,
        job.steps[0].id,
        owner="leaving",
        route="eager",
        listeners=[],
        stopping=lambda: True,
    )

    with pytest.raises(Stopped):
        run.run()

    assert services.store.job(job.id).state is State.QUEUED
    assert a_run(services, job.steps[0].id).run().state is State.DONE


def test_a_run_that_was_overtaken_changes_nothing(services: Services, video: Path) -> None:
    """The owner is stopped for longer than its lease, and wakes when another has finished."""
    job = a_job(services, video, aspects=("9:16",))
    step_id = job.steps[0].id
    overtaken: list[str | None] = []

    def taken_over(event: ProgressEvent) -> None:
        if not overtaken:
            overtaken.append(event.stage)
            end_leases(services)
            assert a_run(services, step_id).run().state is State.DONE

    late = StepRun(services, step_id, owner="late", route="redis", listeners=[taken_over]).run()

    assert (late.state, late.attempts) == (State.DONE, 2)
    assert len(stored(services, job)) == 1


@pytest.mark.parametrize("point", POINTS)
def test_death_at_any_line_loses_nothing_and_makes_nothing_twice(
    services: Services, video: Path, point: str
) -> None:
    job = a_job(services, video, clips=("1-2.5",))
    env = clean_env(CUTMV_DATA_DIR=str(services.settings.data_dir))
    died = run_python("-m", "tests.support.die_at", job.steps[0].id, point, env=env)
    assert died.returncode == -signal.SIGKILL
    wait_for(lambda: not _ffmpegs(services), 5, "FFmpeg dies with its parent")

    end_leases(services)
    Backlog(services.store).reclaim()
    step = a_run(services, job.steps[0].id).run()

    assert step.state is State.DONE
    keys = stored(services, job)
    assert len(keys) == 1
    frames = read_frames(Path(services.storage.source(keys[0])))
    assert [frame_number(frame, SIZE) for frame in frames] == list(range(30, 75))


def _ffmpegs(services: Services) -> list[int]:
    """Processes that still write into the deployment's folder."""
    import psutil

    folder = str(services.settings.data_dir)
    return [
        process.pid
        for process in psutil.process_iter(["name", "cmdline"])
        if (process.info["name"] or "").startswith("ffmpeg")
        and any(folder in part for part in process.info["cmdline"] or ())
    ]
