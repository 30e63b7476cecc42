"""`tests.support.transport_app` with tasks that end in every way a task may.

`TRANSPORT_CONF` has further settings of Celery, as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from celery import Task
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded

from tests.support.transport_app import app, flaky, hold, note, record, wait_for

app.conf.update(json.loads(os.environ.get("TRANSPORT_CONF", "{}")))

__all__ = ["app", "flaky", "hold", "record"]

#: Seconds that what is to be cut short would take.
FOR_EVER = 60.0


def begin(task: Task, value: Any) -> int:
    """Note that a task starts; return how often it has started before."""
    info = task.request.delivery_info
    # The last line may still be on its way, of another thread's.
    lines = Path(os.environ["TRANSPORT_LOG"]).read_text().split("\n")[:-1]
    before = [
        line
        for line in map(json.loads, lines)
        if line["event"] == "started" and line["id"] == task.request.id
    ]
    note(event="started", value=value, id=task.request.id, redelivered=info.get("redelivered"))
    return len(before)


@app.task(bind=True)
def hold_early(self: Task, value: Any, until: str) -> None:
    """As `hold`, but acknowledged when it starts."""
    begin(self, value)
    wait_for(until)
    note(event="ended", value=value, id=self.request.id)


@app.task(bind=True, acks_late=True, acks_on_failure_or_timeout=True)
def fail_and_ack(self: Task, value: Any) -> None:
    """Fail, which acknowledges."""
    begin(self, value)
    raise ValueError(value)


@app.task(bind=True, acks_late=True, acks_on_failure_or_timeout=False)
def fail_and_reject(self: Task, value: Any) -> None:
    """Fail, which rejects without a return to the queue."""
    begin(self, value)
    raise ValueError(value)


@app.task(bind=True, acks_late=True, acks_on_failure_or_timeout=True, time_limit=1)
def hang_and_ack(self: Task, value: Any) -> None:
    """Pass the hard time limit, which acknowledges."""
    begin(self, value)
    time.sleep(FOR_EVER)


@app.task(bind=True, acks_late=True, acks_on_failure_or_timeout=False, time_limit=1)
def hang_once(self: Task, value: Any) -> None:
    """Pass the hard time limit, which acknowledges nothing; end when it comes again."""
    if not begin(self, value):
        time.sleep(FOR_EVER)
    note(event="ended", value=value, id=self.request.id)


@app.task(bind=True, soft_time_limit=1)
def hang_softly(self: Task, value: Any) -> None:
    """Pass the soft time limit, and tidy up."""
    begin(self, value)
    try:
        time.sleep(FOR_EVER)
    except SoftTimeLimitExceeded:
        note(event="tidied", value=value)


@app.task(bind=True, acks_late=True, reject_on_worker_lost=True)
def die_once(self: Task, value: Any) -> None:
    """Have the pool's process killed, as for want of memory; end when it comes again."""
    if not begin(self, value):
        os.kill(os.getpid(), signal.SIGKILL)
    note(event="ended", value=value, id=self.request.id)


@app.task(bind=True, acks_late=True)
def die(self: Task, value: Any) -> None:
    """Have the pool's process killed, which is a failure as any other."""
    begin(self, value)
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(bind=True, acks_late=True)
def reject_once(self: Task, value: Any, requeue: bool) -> None:
    """Reject the first delivery; end when it comes again."""
    if not begin(self, value):
        raise Reject(value, requeue=requeue)
    note(event="ended", value=value, id=self.request.id)


@app.task(bind=True)
def ignore(self: Task, value: Any) -> None:
    """End without a result."""
    begin(self, value)
    raise Ignore


@app.task(bind=True, acks_late=True, rate_limit="6/s")
def seldom(self: Task, value: Any) -> None:
    """Run six times a second at most."""
    begin(self, value)


@app.task(ignore_result=False)
def add(one: int, other: int) -> int:
    """Return the sum."""
    return one + other


@app.task(ignore_result=False)
def total(numbers: list[int]) -> int:
    """Return the sum of all."""
    return sum(numbers)


@app.task(bind=True, acks_late=True)
def hold_at_site(self: Task, value: Any) -> None:
    """As `hold`, until the file `go` is there, beside the log."""
    begin(self, value)
    wait_for(str(Path(os.environ["TRANSPORT_LOG"]).with_name("go")))
    note(event="ended", value=value, id=self.request.id)
