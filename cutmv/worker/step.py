"""Run one step: claim it, cut, store the output, finish. Knows no Celery.

See `cutmv.jobs.claims` for what happens when the process dies in between.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from cutmv.jobs import (
    Busy,
    Claimed,
    Claims,
    Ended,
    Output,
    Parts,
    State,
    Step,
    UnknownJob,
)
from cutmv.media import Cancelled, MediaError, Progress
from cutmv.progress import ProgressEvent
from cutmv.services import Services
from cutmv.worker.heartbeat import Heartbeat, Listener
from cutmv.worker.making import Cut, Divided, Making
from cutmv.worker.operating import traceback_of
from cutmv.worker.patience import DATABASE, PATIENCE_S, STORAGE, Patience

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
    the run waits for it, `patience_s` seconds at most. `send` brings steps to workers that are to
    be run now; a step that takes long is divided only if there is one. What it does not send the
    janitor does.
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
        send: Callable[[Sequence[Step]], None] | None = None,
    ) -> None:
        self._services, self._step_id, self._route = services, step_id, route
        self._patience = Patience(patience_s, stopping=stopping)
        self._claims, self._parts = Claims(services.store, owner), Parts(services.store)
        self._send = send
        self._listeners, self._stopping = listeners, stopping
        #: The step as it was when we claimed it, and what makes its output; None before that.
        self.step: Step | None = None
        self.making: Making | None = None
        self._heartbeat: Heartbeat | None = None
        #: What cuts its output where that is not its own `making`.
        self.cut: Cut | None = None

    def run(self) -> Step:
        """Run the step and return it as it ended, by us or by another worker.

        Raises StepBusy, UnknownJob, Stopped; MediaError once the step is marked as failed; the
        error of a neighbour that is away (`patience.neighbour_away`), and any other for a failure
        that may pass: then the step is still ours, and the caller must `release` or `fail` it.
        """
        ended = self.claim()
        if ended is not None:
            return ended
        step, heartbeat, making = self._ours()
        try:
            try:
                output = self._patience.call(STORAGE, making.output, heartbeat.waits)
                if isinstance(output, Divided):
                    return self._divided(step, output)
                finished = self._ask(lambda: self._claims.finish(step, output))
            finally:
                self.stop()
        except Cancelled:
            return self._interrupted(step)
        except MediaError as error:
            self.fail(str(error), error)
            raise
        if not finished:
            return self._superseded(step, output)
        self._tell(step, State.DONE)
        self._settle(step)
        return self._stored(step)

    def claim(self) -> Step | None:
        """Claim the step, and keep the claim until `stop`; return the step where it has ended.

        Raises StepBusy, UnknownJob.
        """
        if self.step is not None:
            return None
        match self._ask(lambda: self._claims.claim(self._step_id, self._route)):
            case Busy(remaining_s):
                raise StepBusy(remaining_s)
            case Ended(step):
                return step
            case Claimed(step):
                self.step = step
        log.info(
            "step %s of job %s: attempt %d",
            *(step.id, step.job_id, step.attempts),
            extra={"job_id": step.job_id, "step_id": step.id},
        )
        # Who watches a job knows no parts: the job store tells how far they are together.
        listeners = () if step.parent_id else self._listeners
        heartbeat = Heartbeat(self._claims, step, listeners)
        self.making = Making(
            self._services,
            step,
            heartbeat,
            self._patience,
            stopping=self._stopping,
            divides=self._send is not None,
        )
        self.making.cut = self.cut or self.making.cut
        self._heartbeat = heartbeat
        heartbeat.__enter__()
        return None

    def stop(self) -> None:
        """Renew the claim no more."""
        if self._heartbeat is not None:
            self._heartbeat.__exit__()

    @property
    def lost(self) -> bool:
        """Whether the step is no longer ours."""
        return self._heartbeat is not None and self._heartbeat.lost

    def progressed(self, progress: Progress) -> None:
        """Note how far the cut is; the next heartbeat tells it."""
        if self._heartbeat is not None:
            self._heartbeat.progressed(progress)

    def fail(self, error: str, cause: BaseException) -> None:
        """Mark the step as failed for good, with one line for people; operators see the `cause`."""
        step, told = self.step, traceback_of(cause)
        if step and self._ask(lambda: self._claims.fail(step, error, told)):
            self._tell(step, State.FAILED)
            self._settle(step)

    def release(self, *, failed: bool, stage: str | None, due_s: float | None) -> bool:
        """Queue the step again, if it is ours; see Claims.release."""
        if self.step is None:
            return False
        return self._claims.release(self.step, failed=failed, stage=stage, due_s=due_s)

    def _ours(self) -> tuple[Step, Heartbeat, Making]:
        if self.step is None or self._heartbeat is None or self.making is None:
            raise AssertionError("the step is claimed first")
        return self.step, self._heartbeat, self.making

    def _divided(self, step: Step, divided: Divided) -> Step:
        """Give up the step, and have its parts run."""
        owner, store = self._claims.owner, self._parts
        parts = self._ask(lambda: store.divide(step, owner, divided.spans, divided.seconds))
        log.info("step %s is made in %d parts", step.id, len(parts))
        self._bring(parts)
        return self._stored(step)

    def _settle(self, step: Step) -> None:
        """Have the step go on whose part has ended, if it was the last."""
        if step.parent_id:
            self._bring(self._ask(lambda: self._parts.settle(step.parent_id)))

    def _bring(self, steps: Sequence[Step]) -> None:
        if steps and self._send:
            self._send(steps)

    def _interrupted(self, step: Step) -> Step:
        if self._stopping() and self._claims.release(step, failed=False):
            raise Stopped("This process ends; another will run the step.")
        stored = self._stored(step)
        if stored.state is State.CANCELLED:
            self._tell(step, State.CANCELLED)
        return stored

    def _superseded(self, step: Step, output: Output) -> Step:
        """The step was cancelled or deleted, or another worker claimed it and found our output."""
        try:
            stored = self._stored(step)
        except UnknownJob:
            self._services.storage.delete(output.key)
            raise
        if stored.state is State.CANCELLED:
            self._services.storage.delete(output.key)
        return stored

    def _stored(self, step: Step) -> Step:
        try:
            return self._ask(lambda: self._services.store.step(step.id))
        except UnknownJob:
            if step.parent_id:  # its step has ended
                return replace(step, state=State.CANCELLED)
            raise

    def _ask(self, question: Callable[[], T]) -> T:
        """What the job store answers, which is waited for."""
        return self._patience.call(DATABASE, question)

    def _tell(self, step: Step, state: State) -> None:
        if step.parent_id:
            return
        progress = Progress(100.0 if state is State.DONE else step.shown_percent)
        event = ProgressEvent.of_render(step, state.value, progress)
        for listener in self._listeners:
            listener(event)
