"""Run one step: claim it, cut, store the output, finish. Knows no Celery.

See `cutmv.jobs.claims` for what happens when the process dies in between.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath
from typing import TypeVar

from cutmv.jobs import (
    Busy,
    Claimed,
    Claims,
    Ended,
    Output,
    State,
    Step,
    output_key,
)
from cutmv.media import (
    Cancelled,
    MediaError,
    MediaInfo,
    Progress,
    Rendered,
    join,
    plan,
    plan_film,
    render,
)
from cutmv.progress import ProgressEvent
from cutmv.services import Services
from cutmv.storage import ObjectNotFound
from cutmv.worker.heartbeat import CUTTING, Heartbeat, Listener
from cutmv.worker.patience import DATABASE, PATIENCE_S, STORAGE, Patience
from cutmv.worker.workspace import work_folder

#: The media type of each output, by the extension of its name.
CONTENT_TYPES = {
    "mp4": "video/mp4",
    "mov": "video/quicktime",
    "mkv": "video/x-matroska",
    "webm": "video/webm",
    "gif": "image/gif",
    "webp": "image/webp",
    "jpg": "image/jpeg",
    "m4a": "audio/mp4",
    "mp3": "audio/mpeg",
    "wav": "audio/wav",
    "flac": "audio/flac",
}

T = TypeVar("T")
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
    process wants to end. `route` is the mode by which the step came here. While a neighbour is away
    the run waits for it, `patience_s` seconds at most.
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
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._services, self._step_id, self._route = services, step_id, route
        self._patience = Patience(patience_s, stopping=stopping)
        self._claims = Claims(services.store, owner)
        self._listeners, self._stopping = listeners, stopping
        #: The step as it was when we claimed it; None before that.
        self.step: Step | None = None

    def run(self) -> Step:
        """Run the step and return it as it ended, by us or by another worker.

        Raises StepBusy, UnknownJob, Stopped; MediaError once the step is marked as failed; the
        error of a neighbour that is away (`patience.neighbour_away`), and any other for a failure
        that may pass: then the step is still ours, and the caller must `release` or `fail` it.
        """
        match self._ask(lambda: self._claims.claim(self._step_id, self._route)):
            case Busy(remaining_s):
                raise StepBusy(remaining_s)
            case Ended(step):
                return step
            case Claimed(step):
                self.step = step
        log.info("step %s of job %s: attempt %d", step.id, step.job_id, step.attempts)
        try:
            with Heartbeat(self._claims, step, self._listeners) as heartbeat:
                output = self._patience.call(
                    STORAGE, lambda: self._make(step, heartbeat), heartbeat.waits
                )
                finished = self._ask(lambda: self._claims.finish(step, output))
        except Cancelled:
            return self._interrupted(step)
        except MediaError as error:
            self.fail(str(error))
            raise
        if not finished:
            return self._superseded(step, output)
        self._tell(step, State.DONE)
        return self._stored(step)

    def fail(self, error: str) -> None:
        """Mark the step as failed for good, with one line for people."""
        step = self.step
        if step and self._ask(lambda: self._claims.fail(step, error)):
            self._tell(step, State.FAILED)

    def release(self, *, failed: bool, stage: str | None, due_s: float | None) -> bool:
        """Queue the step again, if it is ours; see Claims.release."""
        if self.step is None:
            return False
        return self._claims.release(self.step, failed=failed, stage=stage, due_s=due_s)

    def _make(self, step: Step, heartbeat: Heartbeat) -> Output:
        storage, settings = self._services.storage, self._services.settings
        if heartbeat.lost:
            raise Cancelled("Cancelled.")
        key = output_key(step.job_id, step.id, step.name)
        extension = PurePath(step.name).suffix.removeprefix(".")
        content_type = CONTENT_TYPES[extension]
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
        with work_folder(settings.data_dir) as folder:
            made = folder / f"output.{extension}"
            heartbeat.stage = CUTTING
            try:
                told = self._cut(step, info, storage.source(upload.key), made, heartbeat)
            except MediaError:
                storage.stat(upload.key)  # a storage that went away in mid-cut says so
                raise
            output = Output(key, made.stat().st_size, content_type, told)
            # What was cut need not be cut again.
            self._patience.call(
                STORAGE, lambda: self._keep(output, made, heartbeat), heartbeat.waits
            )
            return output

    def _cut(
        self, step: Step, info: MediaInfo, source: str, made: Path, heartbeat: Heartbeat
    ) -> Rendered:
        def cancelled() -> bool:
            return heartbeat.lost or self._stopping()

        clips, told = step.clips(info), heartbeat.progressed
        if step.spec.join:
            film = plan_film(info, clips, step.spec)
            cache = self._services.cache
            return join(source, film, made, on_progress=told, cancelled=cancelled, cache=cache)
        return render(
            source,
            plan(info, clips[0], step.spec),
            made,
            on_progress=told,
            cancelled=cancelled,
            timeout_s=step.limit_s(info),
            cache=self._services.cache,
        )

    def _keep(self, output: Output, made: Path, heartbeat: Heartbeat) -> None:
        heartbeat.stage = "storing"
        if heartbeat.lost:
            raise Cancelled("Cancelled.")
        self._services.storage.put_file(
            output.key, made, content_type=output.content_type, if_absent=True
        )

    def _interrupted(self, step: Step) -> Step:
        if self._stopping() and self._claims.release(step, failed=False):
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
        job = self._ask(lambda: self._services.store.job(step.job_id))
        return next(s for s in job.steps if s.id == step.id)

    def _ask(self, question: Callable[[], T]) -> T:
        """What the job store answers, which is waited for."""
        return self._patience.call(DATABASE, question)

    def _tell(self, step: Step, state: State) -> None:
        progress = Progress(100.0 if state is State.DONE else step.shown_percent)
        event = ProgressEvent.of_render(step, state.value, progress)
        for listener in self._listeners:
            listener(event)
