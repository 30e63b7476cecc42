"""A small Celery app over `cloudflare://`, run by the transport's tests as a real worker.

Tasks write what they did, one line each, to the file named by `TRANSPORT_LOG`, which is how a
test sees what happened in another process.
"""

from __future__ import annotations

import json
import os
import time
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import uuid4

from celery import Celery, Task
from celery.exceptions import Reject

import cutmv.transports.cloudflare
from cutmv.jobs import JobStore, Output
from cutmv.jobs.claims import Claimed, Claims

assert cutmv.transports.cloudflare

BROKER = os.environ.get("TRANSPORT_BROKER", "cloudflare://")

app = Celery("transport_app", broker=BROKER)
app.conf.update(
    task_ignore_result=True,
    task_default_queue=os.environ.get("TRANSPORT_QUEUE", "work"),
    broker_connection_retry_on_startup=True,
    broker_connection_timeout=2,
    broker_transport_options=json.loads(os.environ.get("TRANSPORT_OPTIONS", "{}")),
    result_backend=os.environ.get("TRANSPORT_RESULTS"),
    worker_prefetch_multiplier=int(os.environ.get("TRANSPORT_PREFETCH", "4")),
    worker_send_task_events=os.environ.get("TRANSPORT_EVENTS", "on") == "on",
    task_send_sent_event=True,
)


def note(**what: Any) -> None:
    """Append a line in one write, so that processes do not mix theirs."""
    line = json.dumps({**what, "pid": os.getpid(), "at": time.time()}) + "\n"
    with Path(os.environ["TRANSPORT_LOG"]).open("ab", buffering=0) as log:
        log.write(line.encode())


def wait_for(path: str, seconds: float = 60) -> None:
    """Wait until a file is there."""
    end = time.monotonic() + seconds
    while not Path(path).exists() and time.monotonic() < end:
        time.sleep(0.02)


@app.task
def nothing() -> None:
    """Do nothing."""


@app.task(bind=True)
def record(self: Task, value: Any) -> None:
    """Note the value, and how it came."""
    note(
        event="record",
        value=value,
        id=self.request.id,
        redelivered=self.request.delivery_info.get("redelivered"),
    )


@app.task(bind=True, acks_late=True)
def hold(self: Task, value: Any, until: str) -> None:
    """Note the start, run until the file is there, note the end."""
    info = self.request.delivery_info
    note(event="started", value=value, id=self.request.id, redelivered=info.get("redelivered"))
    wait_for(until)
    note(event="ended", value=value, id=self.request.id)


@app.task(bind=True)
def hold_early(self: Task, value: Any, until: str) -> None:
    """Do as `hold`, acked before it runs."""
    note(event="started", value=value, id=self.request.id)
    wait_for(until)
    note(event="ended", value=value, id=self.request.id)


@app.task(acks_late=True)
def nap(value: Any, seconds: float) -> None:
    """Take so long, and note it."""
    began = time.time()
    time.sleep(seconds)
    note(event="nap", value=value, seconds=seconds, began=began)


@app.task
def nap_early(value: Any, seconds: float) -> None:
    """Do as `nap`, acked before it runs."""
    nap(value, seconds)


@app.task(acks_late=True, time_limit=600)
def nap_long(value: Any, seconds: float) -> None:
    """Do as `nap`, though it might take long."""
    nap(value, seconds)


@app.task(bind=True, max_retries=3)
def flaky(self: Task, value: Any, failures: int, countdown: float = 0) -> None:
    """Fail as often as told, each time asking for a retry."""
    note(event="try", value=value, retries=self.request.retries)
    if self.request.retries < failures:
        raise self.retry(countdown=countdown)


@app.task(bind=True, acks_late=True, max_retries=3)
def on_event(self: Task, document: Any) -> None:
    """Note a document that another program put into the queue, and do as it says."""
    note(event="event", value=document, id=self.request.id, retries=self.request.retries)
    told = document if isinstance(document, dict) else {}
    if "until" in told:
        wait_for(told["until"])
    if self.request.retries < told.get("failures", 0):
        raise self.retry(countdown=0)
    if told.get("reject"):
        raise Reject("it says so", requeue=False)
    note(event="event-ended", id=self.request.id)


@app.task(ignore_result=False)
def add(one: int, other: int) -> int:
    """Return the sum of two numbers."""
    return one + other


@app.task
def total(numbers: list[int]) -> None:
    """Note the sum of all numbers."""
    note(event="total", value=sum(numbers))


@app.task
def spread(value: Any, count: int) -> None:
    """Publish subtasks from the pool's process."""
    for number in range(count):
        record.delay([value, number])


@lru_cache(maxsize=1)
def job_store(_pid: int) -> JobStore:
    """This process's job store, at `TRANSPORT_STORE`; a pool's child opens its own."""
    return JobStore(os.environ["TRANSPORT_STORE"])


@app.task(acks_late=True)
def once(step_id: str) -> None:
    """Do nothing, once for each step, however often it is delivered; note each delivery."""
    claims = Claims(job_store(os.getpid()), owner=uuid4().hex)
    match claims.claim(step_id, "cloudflare"):
        case Claimed(step):
            note(event="run", step=step_id)
            assert claims.finish(step, Output(f"jobs/{step_id}", 0, "text/plain"))
        case _:
            note(event="absorbed", step=step_id)
