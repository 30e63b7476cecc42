"""CUTMV whose steps halt at a point each, until a test lets them go on.

`celery -A tests.support.halting worker` and `gunicorn tests.support.halting:web`; HALT_DIR is the
folder by which the test and the processes talk. The step at position N of a job halts at the Nth of
POINTS, once; steps behind them do not halt. In the web process a job halts on its way to the broker
whose upload's name begins with one of WEB_POINTS.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from cutmv.app import app
from cutmv.dispatch import Dispatcher, local_runner
from cutmv.jobs import Backlog, Claims, Job
from cutmv.jobs.tables import steps
from cutmv.services import services
from cutmv.storage import LocalStorage, R2Storage
from cutmv.worker import making
from cutmv.worker import step as running
from tests.support.halting_points import POINTS, WEB_POINTS

__all__ = ["POINTS", "WEB_POINTS", "app", "halt", "web"]

#: Seconds after which a step goes on whatever the test does.
LONGEST_S = 240.0

_here = threading.local()


def web() -> Any:
    """Make the web application, as `cutmv.web.wsgi` does; gunicorn is given `web()`."""
    from cutmv.web.factory import create_app

    return create_app(start_background=True)


def halt(point: str) -> None:
    """Wait here, if the step that this thread runs halts at this point and did not yet."""
    if getattr(_here, "point", None) != point:
        return
    _here.point = None
    folder = Path(os.environ["HALT_DIR"])
    reached = folder / f"{_here.step_id} reached"
    if reached.exists():
        return
    reached.write_text(point)
    end = time.monotonic() + LONGEST_S
    while not (folder / f"{_here.job_id} go").exists() and time.monotonic() < end:
        time.sleep(0.02)


def _run(run: Callable[..., Any]) -> Callable[..., Any]:
    def halting(self: running.StepRun) -> Any:
        _here.point = None
        with services().store.reading() as db:
            row = db.execute(sa.select(steps).where(steps.c.id == self._step_id)).one_or_none()
        if row is not None and row.position < len(POINTS):
            _here.step_id, _here.job_id = row.id, row.job_id
            _here.point = POINTS[row.position]
        halt("before the claim")
        return run(self)

    return halting


def _send(send: Callable[..., Any]) -> Callable[..., Any]:
    def halting(self: Dispatcher, job: Job, *more: Any) -> Any:
        name = job.upload.filename
        _here.step_id = _here.job_id = name
        _here.point = next((point for point in WEB_POINTS if name.startswith(point)), None)
        halt("kept")
        return send(self, job, *more)

    return halting


def _around(
    function: Callable[..., Any], before: str | None, after: str | None = None
) -> Callable[..., Any]:
    def halting(*args: Any, **kwargs: Any) -> Any:
        if before:
            halt(before)
        result = function(*args, **kwargs)
        if after:
            halt(after)
        return result

    return halting


def _render(render: Callable[..., Any]) -> Callable[..., Any]:
    def halting(*args: Any, on_progress: Callable[..., Any], **kwargs: Any) -> Any:
        halt("before the cut")
        return render(*args, on_progress=_around(on_progress, "in the cut"), **kwargs)

    return halting


def _patch(owner: Any, name: str, halting: Callable[..., Any]) -> None:
    setattr(owner, name, halting)


if "HALT_DIR" in os.environ:  # else a test has imported this for its names alone
    _patch(running.StepRun, "run", _run(running.StepRun.run))
    _patch(Claims, "claim", _around(Claims.claim, None, "after the claim"))
    _patch(making, "render", _render(making.render))
    for storage in (LocalStorage, R2Storage):
        _patch(storage, "put_file", _around(storage.put_file, "before the output is stored"))
    _patch(
        Claims,
        "finish",
        _around(Claims.finish, "before the step is done", "after the step is done"),
    )
    _patch(Dispatcher, "send", _send(Dispatcher.send))
    _patch(Backlog, "sent", _around(Backlog.sent, "noted"))
    _patch(local_runner, "MAX_STEPS_AT_ONCE", len(POINTS))
