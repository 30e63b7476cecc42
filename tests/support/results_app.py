"""A stranger's Celery app with a broker and a result backend, for the tests of results.

Tasks write what they did, one line each, to the file named by `TRANSPORT_LOG`.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from celery import Celery, Task, chord, group

import cutmv.transports.cloudflare

assert cutmv.transports.cloudflare

app = Celery(
    "results_app",
    broker=os.environ.get("TRANSPORT_BROKER", "cloudflare://"),
    backend=os.environ["TRANSPORT_RESULTS"],
)
app.conf.update(
    broker_connection_retry_on_startup=True,
    broker_transport_options=json.loads(os.environ.get("TRANSPORT_OPTIONS", "{}")),
    task_track_started=True,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=16,
)
app.conf.update(json.loads(os.environ.get("TRANSPORT_CONF", "{}")))


def note(**what: Any) -> None:
    """Append a line in one write, so that processes do not mix theirs."""
    line = json.dumps({**what, "pid": os.getpid(), "at": time.time()}) + "\n"
    with Path(os.environ["TRANSPORT_LOG"]).open("ab", buffering=0) as log:
        log.write(line.encode())


@app.task
def add(x: int, y: int) -> int:
    """Add two numbers."""
    return x + y


@app.task
def total(numbers: list[int]) -> int:
    """Add all numbers, and note that it ran."""
    note(event="total", count=len(numbers))
    return sum(numbers)


@app.task
def gather(values: Any) -> Any:
    """Return what came."""
    note(event="gather")
    return values


@app.task
def large(size: int) -> str:
    """Return so many characters."""
    return "é" * size


@app.task
def fail(text: str) -> None:
    """Raise an error."""
    raise ValueError(text)


@app.task(bind=True, max_retries=3)
def flaky(self: Task, failures: int) -> int:
    """Fail so many times, then return how many tries it took."""
    if self.request.retries < failures:
        raise self.retry(countdown=0)
    return int(self.request.retries) + 1


@app.task(bind=True)
def stepwise(self: Task, until: str) -> str:
    """Tell of progress, and end when the file is there."""
    self.update_state(state="PROGRESS", meta={"done": 1, "of": 2})
    wait_for(until)
    return "done"


@app.task(bind=True)
def parent(self: Task) -> str:
    """Start a child."""
    return str(add.delay(1, 1).id)


@app.task(ignore_result=True)
def ignored(x: int) -> int:
    """Return what nobody keeps."""
    return x


@app.task(ignore_result=True, store_errors_even_if_ignored=True)
def ignored_error() -> None:
    """Raise an error that is kept."""
    raise ValueError("kept")


@app.task
def errback(request: Any, error: Any, traceback: Any) -> None:
    """Note an error, as an errback of the new kind."""
    note(event="errback", error=repr(error))


@app.task
def errback_by_id(task_id: str) -> None:
    """Note an error, as an errback of the old kind."""
    note(event="errback by id", id=task_id)


@app.task
def callback(value: Any) -> None:
    """Note a value."""
    note(event="callback", value=value)


@app.task(bind=True)
def replaced(self: Task, count: int) -> Any:
    """Become a chord."""
    raise self.replace(chord(group(add.s(n, n) for n in range(count)), total.s()))


@app.task(bind=True)
def hold(self: Task, value: int, until: str) -> int:
    """Note the start, and return when the file is there."""
    note(event="started", value=value, id=self.request.id)
    wait_for(until)
    return value


def wait_for(path: str, seconds: float = 60) -> None:
    """Wait until a file is there."""
    end = time.monotonic() + seconds
    while not Path(path).exists() and time.monotonic() < end:
        time.sleep(0.02)
