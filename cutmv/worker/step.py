"""Run one step: claim it, cut, store the output, finish. Knows no Celery.

See `cutmv.jobs.claims` for what happens when the process dies in between.
"""

import logging
from collections.abc import Callable, Sequence

from cutmv.jobs import Busy, Claimed, Claims, Ended, Output, State, Step, output_key
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
from cutmv.progress import ProgressEvent
from cutmv.services import Services
from cutmv.storage import ObjectNotFound
from cutmv.worker.heartbeat import Heartbeat, Listener
from cutmv.worker.workspace import work_folder

#: The media type of each kind of output.
CONTENT_TYPES = {"cutdown": "video/mp4", "gif": "image/gif", "still": "image/jpeg"}

log = logging.getLogger(__name__)


class StepBusy(Exception):
    """Another worker has claimed the step, for `remaining_s` seconds at least."""

    def __init__(self, remaining_s: float) -> None:
        super().__init__(f"Another worker runs this step, for {remaining_s:.0f} s at least.")
        self.remaining_s = remaining_s


class Stopped(Exception):
    """This process is about to end; it has released the step."""


class StepRun:
    """One attempt at one step, by one owner.

    Each of `listeners` is given a progress event at most four times a second, and one at the end;
    it must return at once, since the same thread renews the claim. `stopping` says that this
    process wants to end. `route` is the mode by which the step came here.
    """

    def __init__(
        self,
        services: Services,
        step_id: str,
        *,
        owner: str,
        route: str,
        listeners: Sequence[Listener],
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._services, self._step_id, self._route = services, step_id, route
        self._claims = Claims(services.store, owner)
        self._listeners, self._stopping = listeners, stopping
        #: The step as it was when we claimed it; None before that.
        self.step: Step | None = None

    def run(self) -> Step:
        """Run the step and return it as it ended, by us or by another worker.

        Raises StepBusy, UnknownJob, Stopped; MediaError once the step is marked as failed; and
        MediaUnavailable, StorageError or SQLAlchemyError for a failure that may pass: then the step
        is still ours, and the caller must `release` or `fail` it.
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
            with Heartbeat(self._claims, step, self._listeners) as heartbeat:
                output = self._make(step, heartbeat)
        except Cancelled:
            return self._interrupted(step)
        except MediaError as error:
            self.fail(str(error))
            raise
        if not self._claims.finish(step, output):
            return self._superseded(step, output)
        self._tell(step, State.DONE)
        return self._stored(step)

    def fail(self, error: str) -> None:
        """Mark the step as failed for good, with one line for people."""
        if self.step and self._claims.fail(self.step, error):
            self._tell(self.step, State.FAILED)

    def release(self, *, expected: bool) -> bool:
        """Queue the step again after a failure that may pass; see Claims.release."""
        if self.step is None:
            return False
        return self._claims.release(self.step, expected=expected, failed=True)

    def _make(self, step: Step, heartbeat: Heartbeat) -> Output:
        storage, settings = self._services.storage, self._services.settings
        key = output_key(step.job_id, step.id, step.name)
        content_type = CONTENT_TYPES[step.spec.kind]
        try:
            return Output(key, storage.stat(key).size, content_type)
        except ObjectNotFound:
            pass
        upload = self._services.store.job(step.job_id).upload
        try:
            storage.stat(upload.key)
        except ObjectNotFound:
            raise MediaError("The upload is no longer kept: upload the video again.") from None
        info = upload.info
        clip = parse_clip(step.clip, info.video.frame_rate if info.video else None)
        with work_folder(settings.data_dir) as folder:
            made = folder / f"output.{output_extension(step.spec.kind)}"
            render(
                storage.source(upload.key),
                plan(info, clip, step.spec),
                made,
                on_progress=heartbeat.progressed,
                cancelled=lambda: heartbeat.lost or self._stopping(),
                timeout_s=time_limit_s(info, clip, step.spec),
            )
            heartbeat.stage = "storing"
            if heartbeat.lost:
                raise Cancelled("Cancelled.")
            storage.put_file(key, made, content_type=content_type, if_absent=True)
            return Output(key, storage.stat(key).size, content_type)

    def _interrupted(self, step: Step) -> Step:
        if self._stopping() and self._claims.release(step, expected=False, failed=False):
            raise Stopped("This process ends; another will run the step.")
        stored = self._stored(step)
        if stored.state is State.CANCELLED:
            self._tell(step, State.CANCELLED)
        return stored

    def _superseded(self, step: Step, output: Output) -> Step:
        """The step was cancelled, or another worker claimed it and found our output."""
        stored = self._stored(step)
        if stored.state is State.CANCELLED:
            self._services.storage.delete(output.key)
        return stored

    def _stored(self, step: Step) -> Step:
        return next(s for s in self._services.store.job(step.job_id).steps if s.id == step.id)

    def _tell(self, step: Step, state: State) -> None:
        progress = Progress(100.0 if state is State.DONE else step.shown_percent)
        event = ProgressEvent.of_render(step, state.value, progress)
        for listener in self._listeners:
            listener(event)
