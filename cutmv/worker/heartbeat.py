"""The heartbeat of a running step: renews its claim and tells its progress, from a thread."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Self

from sqlalchemy.exc import SQLAlchemyError

from cutmv.jobs import MAX_RUNNING_PERCENT, Claims, Step
from cutmv.media import Progress
from cutmv.progress import ProgressEvent
from cutmv.transports.cloudflare import keep_going
from cutmv.worker.patience import DATABASE, STAGES, answered, missed

#: Seconds between heartbeats, which carry the progress: 4 a second is what a person can follow.
HEARTBEAT_INTERVAL_S = 0.25
#: Seconds of the longest pause after an error: far less than a claim lasts.
MAX_PAUSE_S = 2.0
#: The stages of a step that FFmpeg is at work on, and whose parts are put together.
CUTTING, JOINING = "cutting", "joining"

#: Takes a progress event and returns at once.
Listener = Callable[[ProgressEvent], None]


class Heartbeat:
    """Keeps the claim of a running step while its `with` block runs.

    `lost` becomes true when the step is no longer ours: cancelled, or claimed by another. `stage`
    is what the step does now. A job store that is silent ends no cut: a step that another has
    claimed meanwhile can't be finished twice.
    """

    def __init__(self, claims: Claims, step: Step, listeners: Sequence[Listener]) -> None:
        self._claims, self._step, self._listeners = claims, step, listeners
        self.stage = CUTTING
        self.lost = False
        self.progress = Progress()
        self._told: tuple[str, Progress] | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"heartbeat-{step.id}", daemon=True)

    def progressed(self, progress: Progress) -> None:
        """Note where FFmpeg is; the next heartbeat carries it."""
        percent = round(min(progress.percent, MAX_RUNNING_PERCENT), 1)
        self.progress = replace(progress, percent=percent)

    def waits(self, neighbour: str) -> None:
        """Note that the step waits for a neighbour; without the database nobody can be told."""
        self.stage = STAGES.get(neighbour, self.stage)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        keep_going("heartbeat", self._beat, self._ended, MAX_PAUSE_S)

    def _beat(self) -> None:
        while True:
            stage, progress = self.stage, self.progress
            try:
                if not self._claims.beat(self._step, stage, progress):
                    self.lost = True
                    return
                answered(DATABASE)
            except SQLAlchemyError as error:
                missed(DATABASE, error)
            if self._told != (stage, progress):
                self._told = (stage, progress)
                event = ProgressEvent.of_render(self._step, stage, progress)
                for listener in self._listeners:
                    listener(event)
            if self._ended.wait(HEARTBEAT_INTERVAL_S):
                return
