"""Run one step: claim it, cut, store the output, finish. Knows no Celery.

See `claims.py` for what happens when the process dies in between.
"""

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from sqlalchemy.exc import SQLAlchemyError

from cutmv.jobs.claims import Busy, Claimed, Claims, Ended
from cutmv.jobs.model import Output, State, Step
from cutmv.jobs.work import work_folder
from cutmv.media import (
    Cancelled,
    MediaError,
    Progress,
    output_extension,
    parse_clip,
    plan,
    render,
    time_limit_s,
)
from cutmv.services import Services
from cutmv.storage import NotFound

#: Seconds between beats, which carry the progress: 4 a second is what a person can follow.
BEAT_S = 0.25
#: The media type of each kind of output.
CONTENT_TYPES = {"cutdown": "video/mp4", "gif": "image/gif", "still": "image/jpeg"}

log = logging.getLogger(__name__)

Emit = Callable[[dict[str, Any]], None]


class StepBusy(Exception):
    """Another runner has the step, for `remaining_s` seconds at least."""

    def __init__(self, remaining_s: float) -> None:
        super().__init__(f"Another worker runs this step, for {remaining_s:.0f} s at least.")
        self.remaining_s = remaining_s


class Stopped(Exception):
    """This process is about to end; the step was given back."""


class StepRun:
    """One attempt at one step, by one owner.

    `emit` is given a `task-progress` event at most four times a second, and one at the end; it
    must not wait for anybody, since the claim is renewed by the same thread. `stopping` says
    that this process wants to end.
    """

    def __init__(
        self,
        services: Services,
        step_id: str,
        *,
        owner: str,
        route: str,
        emit: Emit,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._services, self._step_id, self._route = services, step_id, route
        self._claims = Claims(services.store, owner)
        self._emit, self._stopping = emit, stopping
        self.step: Step | None = None

    def run(self) -> Step:
        """Do the step and return it as it ended, by us or by whoever had it.

        Raises StepBusy, UnknownJob, Stopped; MediaError once the step is marked as failed; and
        MediaUnavailable, StorageError or SQLAlchemyError for what may pass: then the step is
        still ours, and the caller must `release` or `fail` it.
        """
        match self._claims.claim(self._step_id, self._route):
            case Busy(remaining_s):
                raise StepBusy(remaining_s)
            case Ended(step):
                return step
            case Claimed(step):
                self.step = step
        log.info("step %s of job %s: attempt %d", step.id, step.job_id, step.attempts)
        try:
            with Heart(self._claims, step, self._emit) as heart:
                output = self._make(step, heart)
        except Cancelled:
            return self._interrupted(step)
        except MediaError as error:
            self.fail(str(error))
            raise
        if not self._claims.finish(step, output):
            return self._superseded(step, output)
        self._tell(step, State.DONE)
        return self._now(step)

    def fail(self, error: str) -> None:
        """Mark the step as failed for good, with one line for people."""
        if self.step and self._claims.fail(self.step, error):
            self._tell(self.step, State.FAILED)

    def release(self, *, expected: bool) -> bool:
        """Give the step back to be tried again after a failure; see Claims.release."""
        if self.step is None:
            return False
        return self._claims.release(self.step, expected=expected, failed=True)

    def _make(self, step: Step, heart: "Heart") -> Output:
        storage, settings = self._services.storage, self._services.settings
        key = f"jobs/{step.job_id}/{step.id}/{step.name}"
        content_type = CONTENT_TYPES[step.spec.kind]
        try:
            return Output(key, storage.stat(key).size, content_type)
        except NotFound:
            pass
        upload = self._services.store.job(step.job_id).upload
        try:
            storage.stat(upload.key)
        except NotFound:
            raise MediaError("The upload is no longer kept: upload the video again.") from None
        info = upload.info
        clip = parse_clip(step.clip, info.video.frame_rate if info.video else None)
        with work_folder(settings.data_dir) as folder:
            made = folder / f"output.{output_extension(step.spec.kind)}"
            render(
                storage.source(upload.key),
                plan(info, clip, step.spec),
                made,
                on_progress=heart.progressed,
                cancelled=lambda: heart.lost or self._stopping(),
                timeout_s=time_limit_s(info, clip, step.spec),
            )
            heart.stage = "storing"
            if heart.lost:
                raise Cancelled("Cancelled.")
            storage.put_file(key, made, content_type=content_type, if_absent=True)
            return Output(key, storage.stat(key).size, content_type)

    def _interrupted(self, step: Step) -> Step:
        if self._stopping() and self._claims.release(step, expected=False, failed=False):
            raise Stopped("This process ends; the step will be run by another.")
        now = self._now(step)
        if now.state is State.CANCELLED:
            self._tell(step, State.CANCELLED)
        return now

    def _superseded(self, step: Step, output: Output) -> Step:
        """We were too slow: the step was cancelled, or taken over by one who found our output."""
        now = self._now(step)
        if now.state is State.CANCELLED:
            self._services.storage.delete(output.key)
        return now

    def _now(self, step: Step) -> Step:
        return next(s for s in self._services.store.job(step.job_id).steps if s.id == step.id)

    def _tell(self, step: Step, state: State) -> None:
        made = Progress(100.0 if state is State.DONE else step.percent)
        self._emit(_event(step, stage=state.value, progress=made))


class Heart:
    """Beats for a running step from a thread: renews the claim and carries the progress.

    `lost` turns true when the step is no longer ours: cancelled, taken over, or the store has
    been silent for as long as our lease.
    """

    def __init__(self, claims: Claims, step: Step, emit: Emit) -> None:
        self._claims, self._step, self._emit = claims, step, emit
        self.stage = "cutting"
        self.lost = False
        self._progress = Progress()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"heart-{step.id}", daemon=True)

    def progressed(self, progress: Progress) -> None:
        """Note where FFmpeg is; the next beat carries it."""
        self._progress = progress

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        beaten = time.monotonic()
        told: tuple[str, Progress] | None = None
        while True:
            stage, progress = self.stage, self._progress
            event = _event(self._step, stage=stage, progress=progress)
            values = {k: v for k, v in event.items() if k not in ("uuid", "job_id")}
            try:
                if not self._claims.beat(self._step, **values):
                    self.lost = True
                    return
                beaten = time.monotonic()
            except SQLAlchemyError as error:
                log.warning("step %s: no beat: %s", self._step.id, type(error).__name__)
                if time.monotonic() - beaten >= self._claims.lease_s:
                    self.lost = True
                    return
            if told != (stage, progress):
                told = (stage, progress)
                self._emit(event)
            if self._ended.wait(BEAT_S):
                return


def _event(step: Step, *, stage: str, progress: Progress) -> dict[str, Any]:
    """The fields of a `task-progress` event. A step is at 100 percent only once it is stored."""
    most = 100.0 if stage == State.DONE else 99.9
    return {
        "uuid": step.id,
        "job_id": step.job_id,
        "stage": stage,
        "percent": round(min(progress.percent, most), 1),
        "fps": progress.fps,
        "speed": progress.speed,
        "eta_s": progress.eta_s,
        "out_time_s": progress.out_time_s,
    }
