"""Several steps of one clip in one task: they share a decode, and nothing else."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from cutmv.jobs import Backlog, Claims, Job, Output, State, Step
from cutmv.jobs.tables import costs
from cutmv.media import Order
from cutmv.progress import ProgressEvent
from cutmv.services import Services
from cutmv.worker import together
from cutmv.worker.step import StepBusy, StepRun
from cutmv.worker.together import Together
from tests.integration.worker.test_step import SIZE, a_job, a_run, end_leases, stored
from tests.support.media import frame_number, make_sample, read_frames


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sample(tmp_path_factory.mktemp("video") / "song.mp4", seconds=3.0, size=SIZE)


@pytest.fixture
def cut_together(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The kinds of outputs that each run of the engine made."""
    ran: list[list[str]] = []
    render = together.render_together

    def counted(source: str, orders: list[Order], **rest: Any) -> Any:
        ran.append([order.plan.spec.kind for order in orders])
        return render(source, orders, **rest)

    monkeypatch.setattr(together, "render_together", counted)
    return ran


def run_all(services: Services, runs: list[StepRun]) -> list[Any]:
    """What became of each run, in its turn."""
    found: dict[StepRun, Any] = {}
    with Together(services, runs, lambda: False) as together:
        for run in together.turns():
            try:
                found[run] = run.run().state
            except Exception as error:
                found[run] = error
    return [found[run] for run in runs]


def three(services: Services, video: Path, **wanted: Any) -> Job:
    return a_job(services, video, **{"aspects": ("1:1",), "gif": True, "still": True, **wanted})


def test_they_are_cut_at_once_and_told_of_and_stored_each_by_itself(
    services: Services, video: Path, cut_together: list[list[str]]
) -> None:
    job = three(services, video)
    events: list[dict[str, Any]] = []

    began = time.monotonic()
    states = run_all(services, [a_run(services, step.id, events) for step in job.steps])
    took_s = time.monotonic() - began

    assert states == [State.DONE] * 3
    assert cut_together == [["cutdown", "gif", "still"]]
    done = services.store.job(job.id)
    ends = [event["uuid"] for event in events if event["stage"] == "done"]
    assert ends[0] == job.steps[2].id, "the still is there as soon as it is whole"
    # What they tell adds up to what was spent, and what the film's encoding took is noted.
    spent = [sum(step.output.made.seconds.values()) for step in done.steps if step.output]  # type: ignore[union-attr]
    assert sum(spent) < took_s
    with services.store.reading() as db:
        [(kind, seconds)] = db.execute(sa.select(costs.c.kind, costs.c.seconds)).all()
    assert (kind, seconds) == ("h264", pytest.approx(spent[0]))
    assert [step.attempts for step in done.steps] == [1, 1, 1]
    assert all(step.output and step.output.made for step in done.steps)
    assert len(stored(services, job)) == 3
    for step in job.steps:
        told = [event for event in events if event["uuid"] == step.id]
        assert told[-1]["stage"] == "done"
    film = services.storage.source(stored_of(services, job, 0))
    assert [frame_number(image, SIZE) for image in read_frames(Path(film))] == list(range(30))


def stored_of(services: Services, job: Job, position: int) -> str:
    output = services.store.job(job.id).steps[position].output
    assert output
    return output.key


def test_one_that_fails_voids_no_other(services: Services, video: Path) -> None:
    job = three(services, video, gif_max_bytes=1)

    film, gif, still = run_all(services, [a_run(services, step.id) for step in job.steps])

    assert (film, still) == (State.DONE, State.DONE)
    assert "the smallest is" in str(gif)
    steps = services.store.job(job.id).steps
    assert [step.state for step in steps] == [State.DONE, State.FAILED, State.DONE]
    assert len(stored(services, job)) == 2


def test_a_cancel_in_mid_cut_ends_all(services: Services, video: Path) -> None:
    job = three(services, video, clips=("0-3",), aspects=("9:16", "1:1", "4:5"))

    def cancel(event: ProgressEvent) -> None:
        if event.to_wire()["stage"] == "cutting":
            services.store.cancel(job.id)

    runs = [
        StepRun(services, step.id, owner=f"one/{n}", route="redis", listeners=[cancel])
        for n, step in enumerate(job.steps)
    ]
    states = run_all(services, runs)

    assert states == [State.CANCELLED] * len(job.steps)
    assert stored(services, job) == []


def test_after_a_kill_what_is_stored_is_not_made_again(
    services: Services,
    video: Path,
    cut_together: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = three(services, video)
    still = job.steps[2]
    child = os.fork()
    if not child:  # it dies when the second output is stored, and before its step is done
        finish = Claims.finish

        def or_die(claims: Claims, step: Step, output: Output) -> bool:
            if step.id != still.id:
                os.kill(os.getpid(), signal.SIGKILL)
            return finish(claims, step, output)

        monkeypatch.setattr(Claims, "finish", or_die)
        run_all(services, [a_run(services, step.id) for step in job.steps])
        os._exit(1)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert services.store.step(still.id).state is State.DONE, "the first is finished"
    before = {key: services.storage.stat(key) for key in stored(services, job)}
    assert len(before) == 2
    end_leases(services)
    Backlog(services.store).reclaim()

    states = run_all(services, [a_run(services, step.id) for step in job.steps])

    assert states == [State.DONE] * 3
    assert [len(each) for each in cut_together] == [1]
    assert {key: services.storage.stat(key) for key in before} == before
    assert services.store.step(still.id).attempts == 1
    assert len(stored(services, job)) == 3


def test_one_that_another_worker_runs_is_left_to_it(
    services: Services, video: Path, cut_together: list[list[str]]
) -> None:
    job = three(services, video)
    Claims(services.store, "another").claim(job.steps[1].id, "redis")

    film, gif, still = run_all(services, [a_run(services, step.id) for step in job.steps])

    assert (film, still) == (State.DONE, State.DONE)
    assert isinstance(gif, StepBusy)
    assert cut_together == [["cutdown", "still"]]
