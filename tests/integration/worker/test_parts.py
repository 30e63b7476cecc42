"""Steps that take long: divided, made in parts by whoever is there, and joined."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import pytest

from cutmv.dispatch import Dispatcher, Janitor
from cutmv.jobs import (
    Backlog,
    Costs,
    Division,
    Job,
    JobRequest,
    Parts,
    State,
    Step,
    new_id,
    plan_job,
)
from cutmv.media import MediaError, Rendered, RenderPlan, Work
from cutmv.media.products.encoders import HARDWARE, Encoder
from cutmv.progress import ProgressEvent, ProgressFeed
from cutmv.services import Services
from cutmv.worker import making
from cutmv.worker.step import StepRun
from tests.support.jobs import add_video
from tests.support.media import duration_s, frame_number, make_sample, read_frames

SIZE = (320, 180)
CODEC = ("-c:v", "libx264", "-preset", "ultrafast", "-g", "12", "-bf", "2")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "song.mp4"
    return make_sample(path, seconds=4.0, size=SIZE, codec=CODEC)


@pytest.fixture
def services(services: Services) -> Services:
    """Of such slow workers that three seconds of a small picture are made in four parts."""
    for _ in range(5):
        Costs(services.store).note(Work("h264", 1.0), 70.0)
    return services


@pytest.fixture
def janitor(services: Services) -> Iterator[Janitor]:
    dispatcher = Dispatcher(services, ProgressFeed())
    yield Janitor(dispatcher)
    dispatcher.close()


@pytest.fixture
def job(services: Services, video: Path) -> Job:
    return added(services, video)


def added(services: Services, video: Path, **wanted: Any) -> Job:
    upload = add_video(services, video)
    request = JobRequest(upload_id=upload.id, clips=("0.5-3.5",), aspects=("1:1",), **wanted)
    planned = plan_job(upload, request)
    small = replace(planned.steps[0].spec, size=(180, 180))
    return services.store.add_job(replace(planned, steps=(replace(planned.steps[0], spec=small),)))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is really encoded."""

    def render(_source: str, _plan: RenderPlan, made: Path, **_: Any) -> Rendered:
        made.write_bytes(b"a film")
        return Rendered(1.0, 30, 6, 180, 180, seconds={"encode": 3.0})

    monkeypatch.setattr(making, "render", render)


class Broker:
    """What steps were sent, and their runs."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.sent: list[Step] = []
        self.events: list[ProgressEvent] = []

    def run(self, step_id: str, **options: Any) -> Step:
        """Run a step as a worker does."""
        options = {"send": self._send, "listeners": [self.events.append], **options}
        run = StepRun(self.services, step_id, owner=new_id(), route="redis", **options)
        return run.run()

    def take(self) -> list[str]:
        """The ids of what was sent since."""
        taken, self.sent = [step.id for step in self.sent], []
        return taken

    def _send(self, steps: Sequence[Step]) -> None:
        self.sent += steps


@pytest.fixture
def broker(services: Services) -> Broker:
    return Broker(services)


def stored(services: Services, job: Job) -> list[str]:
    return sorted(stored.key for stored in services.storage.list(f"jobs/{job.id}/"))


def check(services: Services, job: Job) -> Step:
    """Check that a job is done, and its output exact."""
    done = services.store.job(job.id)
    assert (done.state, done.error) == (State.DONE, None)
    (step,) = done.steps
    assert step.output
    made = Path(services.storage.source(step.output.key))
    numbers = [frame_number(frame, SIZE) for frame in read_frames(made)]
    assert numbers == list(range(15, 105))
    assert duration_s(made, "v:0") == pytest.approx(3.0, abs=0.001)
    assert duration_s(made, "a:0") == pytest.approx(3.0, abs=0.001)
    with av.open(str(made)) as file:
        assert len(list(file.decode(video=0))) == 90
    return step


def test_a_step_that_takes_long_is_made_in_parts_and_joined(
    services: Services, job: Job, broker: Broker, janitor: Janitor
) -> None:
    step_id = job.steps[0].id

    assert broker.run(step_id).state is State.RUNNING
    parts = broker.take()
    assert len(parts) == 4
    seen = [services.store.job(job.id).steps[0]]
    assert (seen[0].state, seen[0].percent, seen[0].attempts) == (State.RUNNING, 0.0, 0)
    assert seen[0].eta_s is not None
    assert seen[0].eta_s > 30
    assert broker.run(step_id).state is State.RUNNING, "its message that comes again"
    for part in reversed(parts):
        assert broker.take() == []
        assert broker.run(part).state is State.DONE
        seen.append(services.store.job(job.id).steps[0])
    assert broker.run(parts[0]).state is State.DONE, "a part's message that comes again"
    assert broker.take() == [step_id]
    assert seen[-1].state is State.QUEUED
    percents = [each.percent for each in seen]
    assert percents == sorted(set(percents))
    assert percents[-1] == 99.9
    assert all(event.step_id == step_id for event in broker.events)
    assert len(stored(services, job)) == len(parts)

    assert broker.run(step_id).state is State.DONE

    step = check(services, job)
    assert step.attempts == 1
    assert [part.attempts for part in Parts(services.store).of(step_id)] == [1] * len(parts)
    janitor.delete_parts()
    assert Parts(services.store).of(step_id) == []
    assert step.output
    assert stored(services, job) == [step.output.key]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("there", [HARDWARE[0], None])
def test_hardware_makes_a_step_in_one_piece_and_parts_are_made_by_software(
    there: Encoder | None,
    services: Services,
    video: Path,
    broker: Broker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(making, "hardware_encoder", lambda: there)
    job = added(services, video, encoder="hardware")

    state = broker.run(job.steps[0].id).state

    parts = Parts(services.store).of(job.steps[0].id)
    assert (state, len(parts)) == ((State.DONE, 0) if there else (State.RUNNING, 4))
    assert {part.spec.encoded_by for part in parts} <= {"software"}


@pytest.mark.usefixtures("quick")
def test_who_dies_after_the_last_part_leaves_the_join_to_the_janitor(
    services: Services, job: Job, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    step_id, store = job.steps[0].id, services.store
    broker.run(step_id)
    monkeypatch.setattr(StepRun, "_settle", lambda *_: None)
    for part in broker.take():
        broker.run(part)
    assert Backlog(store).to_send(min_age_s=-1) == []

    assert [step.id for step in Parts(store).settle()] == [step_id]
    assert [step.id for step in Backlog(store).to_send(min_age_s=-1)] == [step_id]
    assert Parts(store).settle() == []
    assert broker.run(step_id).state is State.DONE


def test_who_dies_after_dividing_leaves_the_parts_to_the_janitor(
    services: Services, job: Job, broker: Broker
) -> None:
    broker.run(job.steps[0].id)

    sent = [step.id for step in Backlog(services.store).to_send(min_age_s=-1)]

    assert sent == broker.take()


@pytest.mark.slow
def test_a_step_one_of_whose_parts_fails_is_made_whole(
    services: Services, job: Job, broker: Broker, janitor: Janitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    step_id = job.steps[0].id
    broker.run(step_id)
    first, bad, *rest = broker.take()
    broker.run(first)
    before = services.store.job(job.id).steps[0].percent

    def fails(*_: object, **__: object) -> None:
        raise MediaError("The clip can't be cut: a part of it can't be read.")

    with monkeypatch.context() as patched:
        patched.setattr(making, "render", fails)
        with pytest.raises(MediaError):
            broker.run(bad)

    assert broker.take() == [step_id]
    assert broker.run(rest[0]).state is State.CANCELLED
    whole = services.store.job(job.id).steps[0]
    assert (whole.division, whole.percent) == (Division.WHOLE, before)
    janitor.delete_parts()
    assert stored(services, job) == []
    broker.run(step_id)
    check(services, job)


@pytest.mark.slow
def test_a_step_whose_parts_can_not_be_joined_is_made_whole(
    services: Services, job: Job, broker: Broker
) -> None:
    step_id = job.steps[0].id
    broker.run(step_id)
    for part in broker.take():
        broker.run(part)
    services.storage.delete(stored(services, job)[1])

    broker.run(step_id)

    check(services, job)


@pytest.mark.usefixtures("quick")
def test_cancelling_ends_the_parts_and_removes_what_they_made(
    services: Services, job: Job, broker: Broker, janitor: Janitor
) -> None:
    broker.run(job.steps[0].id)
    parts = broker.take()
    for part in parts[:2]:
        broker.run(part)
    assert len(stored(services, job)) == 2

    services.store.cancel(job.id)

    assert broker.run(parts[2]).state is State.CANCELLED
    janitor.delete_parts()
    assert stored(services, job) == []
    assert Parts(services.store).of(job.steps[0].id) == []
    assert services.store.job(job.id).state is State.CANCELLED


@pytest.mark.usefixtures("quick")
def test_what_runs_when_its_row_is_deleted_leaves_nothing(
    services: Services, job: Job, broker: Broker, janitor: Janitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.run(job.steps[0].id)
    render = making.render

    def then_cancelled(*args: Any, **kwargs: Any) -> Any:
        told = render(*args, **kwargs)
        services.store.cancel(job.id)
        janitor.delete_parts()
        return told

    monkeypatch.setattr(making, "render", then_cancelled)
    assert broker.run(broker.take()[0]).state is State.CANCELLED
    assert stored(services, job) == []


@pytest.mark.usefixtures("quick")
def test_where_no_worker_is_sent_to_nothing_is_divided(
    services: Services, job: Job, broker: Broker
) -> None:
    assert broker.run(job.steps[0].id, send=None).state is State.DONE
    assert Parts(services.store).of(job.steps[0].id) == []


@pytest.mark.usefixtures("quick")
def test_what_encodings_took_is_kept_and_told_by(
    services: Services, job: Job, broker: Broker
) -> None:
    with services.store.engine.begin() as db:
        db.exec_driver_sql("delete from costs")
    step_id = job.steps[0].id
    for _ in range(3):
        broker.run(step_id)
        with services.store.engine.begin() as db:
            db.exec_driver_sql("update steps set state = 'queued', output_key = null")
        services.storage.delete_prefix(f"jobs/{job.id}/")

    told = Costs(services.store).model().estimate(Work("h264", 10.0))
    assert told.known
    assert told.seconds > 30
