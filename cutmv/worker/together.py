"""The outputs of one clip in one worker: what is to be cut of them shares a decode.

Each step is run in its turn, as if it were alone: with its own claim, heartbeat, result and
failure. But when the first has to be cut, all those after it that nobody else runs are claimed, and
cut with it.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Self

from cutmv.jobs import DATABASE_AWAY, UnknownJob
from cutmv.media import MediaError, Order, Rendered, Result, render_together
from cutmv.services import Services
from cutmv.storage import StorageError
from cutmv.worker.making import Cutting
from cutmv.worker.step import StepBusy, StepRun
from cutmv.worker.workspace import work_folder


class Together:
    """Steps of one clip that one worker runs, each in its turn, while its `with` block runs."""

    def __init__(
        self, services: Services, runs: Sequence[StepRun], stopping: Callable[[], bool]
    ) -> None:
        self._services, self._runs, self._stopping = services, list(runs), stopping
        self._stack = ExitStack()
        self._made: dict[StepRun, tuple[Path, Result]] = {}

    def __enter__(self) -> Self:
        self._folder = self._stack.enter_context(work_folder(self._services.settings.data_dir))
        for run in self._runs:
            run.cut = partial(self._cut, run)
            self._stack.callback(run.stop)
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stack.close()

    def _cut(self, run: StepRun, wanted: Cutting, made: Path) -> Rendered:
        """Cut an output, and those after it; or find that it was cut with another. As `render`."""
        if run not in self._made:
            self._cut_with_others(run, wanted)
        path, result = self._made.pop(run)
        if isinstance(result, Exception):
            raise result
        path.replace(made)
        return result

    def _cut_with_others(self, first: StepRun, wanted: Cutting) -> None:
        wanted_of = {first: wanted}
        for run in self._runs[self._runs.index(first) + 1 :]:
            if run not in self._made and (found := _claimed(run)):
                wanted_of[run] = found
        paths = {
            run: self._folder / f"{place}-{run.making.file_name}"
            for place, run in enumerate(self._runs)
            if run in wanted_of and run.making
        }
        results = render_together(
            wanted.source,
            [Order(each.plan, paths[run], run.progressed) for run, each in wanted_of.items()],
            cancelled=lambda: self._stopping() or all(run.lost for run in wanted_of),
            timeout_s=sum(each.limit_s for each in wanted_of.values()),
            cache=self._services.cache,
        )
        for run, result in zip(wanted_of, results, strict=True):
            self._made[run] = (paths[run], result)


def _claimed(run: StepRun) -> Cutting | None:
    """Claim a step before its turn; none where it is not to be cut now: its turn tells why."""
    try:
        run.claim()
        return run.making.cutting() if run.making else None
    except (StepBusy, UnknownJob, MediaError, StorageError, *DATABASE_AWAY):
        return None
