"""The outputs of one clip in one worker: what is to be cut of them shares a decode.

Each step is run in its turn, as if it were alone: with its own claim, heartbeat, result and
failure. But what is to be cut is cut at once, by a thread, of all steps that nobody else runs; and
the turn of each comes as soon as its output is whole, whatever becomes of the others.
"""

import contextvars
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Self

from cutmv.database import DATABASE_AWAY
from cutmv.jobs import UnknownJob
from cutmv.media import (
    MediaError,
    Order,
    Rendered,
    Result,
    Work,
    render_together,
    works_of,
)
from cutmv.services import Services
from cutmv.storage import StorageError
from cutmv.tracing import span
from cutmv.worker.making import Cutting
from cutmv.worker.step import StepBusy, StepRun
from cutmv.worker.workspace import work_folder

#: What came of a cut: an output, or why there is none.
Outcome = Result | BaseException


class Together:
    """Steps of one clip that one worker runs, each in its turn, while its `with` block runs."""

    def __init__(
        self, services: Services, runs: Sequence[StepRun], stopping: Callable[[], bool]
    ) -> None:
        self._services, self._runs, self._stopping = services, runs, stopping
        #: Those whose turn has not come.
        self._left = list(runs)
        self._stack = ExitStack()
        #: What is being cut, or was, and what its encoding is.
        self._cutting: dict[StepRun, Work] = {}
        #: What came of that, until its turn takes it.
        self._made: dict[StepRun, tuple[Path, Outcome]] = {}
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._ended = False

    def __enter__(self) -> Self:
        self._folder = self._stack.enter_context(work_folder(self._services.settings.data_dir))
        for run in self._runs:
            run.cut = partial(self._cut, run)
            self._stack.callback(run.stop)
        self._stack.callback(self._end)
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stack.close()

    def turns(self) -> Iterator[StepRun]:
        """Yield each run when its turn has come: what is cut has it as soon as that is whole."""
        while self._left:
            run = self._next()
            self._left.remove(run)
            yield run

    def _next(self) -> StepRun:
        for run in self._left:
            if run not in self._cutting and (wanted := _claimed(run)):
                self._begin(run, wanted)
            if run not in self._cutting:
                return run  # its turn tells why
        return self._wait(self._left)

    def _cut(self, run: StepRun, wanted: Cutting, made: Path) -> tuple[Rendered, Work]:
        """What was cut for a run; it is cut now if it could not be before. Raises as `render`."""
        if run not in self._cutting:
            self._begin(run, wanted)
        self._wait([run])
        path, outcome = self._made.pop(run)
        work = self._cutting.pop(run)
        if isinstance(outcome, BaseException):
            raise outcome
        path.replace(made)
        return outcome, work

    def _begin(self, first: StepRun, wanted: Cutting) -> None:
        """Begin to cut the output of a run, and of the others that can be cut now."""
        wanted_of = {first: wanted}
        for run in self._left:
            if run is not first and self._may_begin(run) and (found := _claimed(run)):
                wanted_of[run] = found
        for run in wanted_of:
            self._made.pop(run, None)
        context = contextvars.copy_context()
        thread = threading.Thread(
            target=context.run, args=(self._render, wanted_of), name="cutting"
        )
        thread.start()
        self._threads.append(thread)
        works = works_of([each.plan for each in wanted_of.values()])
        self._cutting.update(zip(wanted_of, works, strict=True))

    def _may_begin(self, run: StepRun) -> bool:
        """Whether a run is not cut, or was in vain, for a reason that may have passed."""
        _, outcome = self._made.get(run, (None, None))
        passing = isinstance(outcome, BaseException) and not isinstance(outcome, MediaError)
        return passing or run not in self._cutting

    def _render(self, wanted_of: dict[StepRun, Cutting]) -> None:
        """Cut what is wanted; what goes wrong becomes of all that is not there by then."""
        left = {
            run: self._folder / f"{self._runs.index(run)}-{run.making.file_name}"
            for run in wanted_of
            if run.making
        }

        def put(run: StepRun, outcome: Outcome) -> None:
            with self._changed:
                self._made[run] = (left.pop(run), outcome)
                self._changed.notify_all()

        def cancelled() -> bool:
            return self._ended or self._stopping() or all(run.lost for run in tuple(left))

        orders = [
            Order(each.plan, left[run], run.progressed, on_made=partial(put, run))
            for run, each in wanted_of.items()
        ]
        outcomes: Sequence[Outcome]
        try:
            with span("render", {"cutmv.outputs": len(orders)}):
                outcomes = render_together(
                    next(iter(wanted_of.values())).source,
                    orders,
                    cancelled=cancelled,
                    timeout_s=sum(each.limit_s for each in wanted_of.values()),
                    cache=self._services.cache,
                )
        except BaseException as error:
            outcomes = [error] * len(orders)
        for run, outcome in zip(wanted_of, outcomes, strict=True):
            if run in left:
                put(run, outcome)

    def _wait(self, runs: Sequence[StepRun]) -> StepRun:
        """The first of some runs that are being cut whose cut has ended."""
        with self._changed:
            while True:
                for run in runs:
                    if run in self._made:
                        return run
                self._changed.wait()

    def _end(self) -> None:
        self._ended = True
        for thread in self._threads:
            thread.join()


def _claimed(run: StepRun) -> Cutting | None:
    """Claim a step before its turn; none where it is not to be cut now: its turn tells why."""
    try:
        run.claim()
        return run.making.cutting() if run.making else None
    except (StepBusy, UnknownJob, MediaError, StorageError, *DATABASE_AWAY):
        return None
