"""The local runner: runs steps in this process, in eager mode or as a fallback."""

import contextvars
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from cutmv.dispatch.turns import Turn, Turns
from cutmv.media import yielding
from cutmv.progress import ProgressFeed
from cutmv.services import Services
from cutmv.tracing import carried
from cutmv.transports.cloudflare import note_trouble
from cutmv.worker import LocalContext, cut, derivative_id, local_context

#: Groups of steps that run at once. FFmpeg uses all cores for one; a second fills its pauses. So
#: many more run of clients that have none running.
MAX_STEPS_AT_ONCE, MORE_AT_ONCE = 2, 4


class LocalRunner:
    """Runs `cutmv.cut` by Celery's eager `apply`, in a bounded executor, by the steps' ids."""

    def __init__(self, services: Services, feed: ProgressFeed) -> None:
        self._context = LocalContext(services, feed.publish, self._retry_later, threading.Event())
        self._executor = ThreadPoolExecutor(
            MAX_STEPS_AT_ONCE + MORE_AT_ONCE, thread_name_prefix="local"
        )
        self._lock = threading.Lock()
        self._accepted: set[str] = set()
        self._turns = Turns[Callable[[], None]](MAX_STEPS_AT_ONCE, MORE_AT_ONCE)
        #: Seconds until a step, or a derivative of an upload, that is ending runs once more.
        self._retries: dict[str, float] = {}
        self._timers: dict[str, threading.Timer] = {}

    def run(self, *step_ids: str, client: str = "", job_id: str = "") -> None:
        """Run steps together when it is the turn of their client, and of their job.

        Those that wait or run here already are left out. Returns at once.
        """
        with self._lock:
            new = [step_id for step_id in step_ids if step_id not in self._accepted]
            if not new or self._context.stopping.is_set():
                return
            self._executor.submit(self._take_turns)
            self._turns.add(client, job_id, partial(self._apply, new, carried()))
            # Only now: what could not be submitted is left to the janitor.
            self._accepted.update(new)

    def derive(self, task: Any, name: str, upload_id: str, client: str = "") -> None:
        """Make a derivative of an upload by its task when it is the client's turn.

        Returns at once. One that is there is not made again.
        """
        what = derivative_id(name, upload_id)
        with self._lock:
            if not self._context.stopping.is_set():
                self._executor.submit(self._take_turns)
                self._turns.add(client, what, partial(self._derive, task, name, upload_id, client))
                self._accepted.add(what)

    def has(self, what: str) -> bool:
        """Whether a step, or a derivative of an upload, waits or runs here."""
        with self._lock:
            return what in self._accepted or what in self._timers

    def close(self) -> None:
        """Stop the steps that run, which releases them, and wait for that."""
        with self._lock:
            self._context.stopping.set()
            for timer in self._timers.values():
                timer.cancel()
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _retry_later(self, what: str, seconds: float) -> None:
        """Run a step or a derivative that is ending once more after some seconds, by its id.

        Until then others may run.
        """
        with self._lock:
            self._retries[what] = seconds

    def _take_turns(self) -> None:
        """Run what may run now, and what may when that has ended."""
        while turn := self._next():
            try:
                contextvars.Context().run(self._run_turn, turn)
            finally:
                with self._lock:
                    self._turns.ended(turn.client)

    def _next(self) -> Turn[Callable[[], None]] | None:
        with self._lock:
            return None if self._context.stopping.is_set() else self._turns.next()

    def _run_turn(self, turn: Turn[Callable[[], None]]) -> None:
        yielding.set(turn.yields)
        turn.group()

    def _apply(self, step_ids: Sequence[str], headers: dict[str, str]) -> None:
        local_context.set(self._context)
        try:
            # The job store has the errors, where people look; Celery has logged them.
            cut.apply(tuple(step_ids), task_id=step_ids[0], throw=False, headers=headers)
        except BaseException as error:  # the janitor sends the step again
            note_trouble("local-runner", error, "the janitor sends the step again")
        try:
            for step_id in step_ids:
                self._ended(step_id, partial(self.run, step_id))
        except Exception as error:
            note_trouble("local-runner", error, "the janitor sends the step again")

    def _derive(self, task: Any, name: str, upload_id: str, client: str) -> None:
        local_context.set(self._context)
        try:
            # The record of the derivative has the error; Celery has logged it.
            task.apply((upload_id,), throw=False)
        except BaseException as error:
            note_trouble("local-runner", error, "who wants it asks for it again")
        again = partial(self.derive, task, name, upload_id, client)
        self._ended(derivative_id(name, upload_id), again)

    def _ended(self, what: str, again: Callable[[], None]) -> None:
        """Have a step, or a derivative of an upload, run once more if it is to, by `again`."""
        with self._lock:
            self._accepted.discard(what)
            seconds = self._retries.pop(what, None)
            if seconds is not None and not self._context.stopping.is_set():
                timer = threading.Timer(seconds, self._wake, (what, again))
                timer.daemon = True
                timer.start()
                self._timers[what] = timer

    def _wake(self, what: str, again: Callable[[], None]) -> None:
        with self._lock:
            del self._timers[what]
        try:
            again()
        except Exception as error:
            note_trouble("local-runner", error, "it is brought again by whoever asks for it")
