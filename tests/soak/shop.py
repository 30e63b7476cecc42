"""A Celery app as anybody writes one, that knows nothing of the transport but its URL.

Tasks write what they did to the file named by `TRANSPORT_LOG`, a line each.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from celery import Celery, Task

import cutmv.transports.cloudflare

assert cutmv.transports.cloudflare

app = Celery("shop", broker="cloudflare://")
app.conf.update(
    task_ignore_result=True,
    task_default_queue="work",
    broker_connection_retry_on_startup=True,
    broker_transport_options=json.loads(os.environ["TRANSPORT_OPTIONS"]),
)


def note(event: str, task: Task) -> None:
    """Append a line in one write, so that processes do not mix theirs."""
    told = {"id": task.request.id, "try": task.request.retries, "worker": os.getpgid(0)}
    line = json.dumps({"event": event, "at": time.time(), **told}) + "\n"
    with Path(os.environ["TRANSPORT_LOG"]).open("ab", buffering=0) as log:
        log.write(line.encode())


@app.task(bind=True)
def early(self: Task, seconds: float) -> None:
    """Work for a while; acknowledged when it starts."""
    note("started", self)
    time.sleep(seconds)
    note("ended", self)


@app.task(bind=True, acks_late=True)
def late(self: Task, seconds: float) -> None:
    """Work for a while; acknowledged when it ends."""
    note("started", self)
    time.sleep(seconds)
    note("ended", self)


@app.task(bind=True, acks_late=True, max_retries=5)
def retry(self: Task, seconds: float, failures: int) -> None:
    """Work for a while, and fail as often as told; acknowledged when it ends."""
    note("started", self)
    time.sleep(seconds)
    if self.request.retries < failures:
        raise self.retry(countdown=1)
    note("ended", self)
