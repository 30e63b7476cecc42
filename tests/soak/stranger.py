"""A Celery app as anybody writes one: no option of the transport, results on Redis.

Tasks write what they did to the file named by `TRANSPORT_LOG`, a line each. `TRANSPORT_OPTIONS`
is for the short run alone.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from celery import Celery, Task
from kombu import Exchange, Queue, binding

import cutmv.transports.cloudflare

assert cutmv.transports.cloudflare

app = Celery(
    "stranger",
    broker=os.environ.get("TRANSPORT_BROKER", "cloudflare://"),
    backend=os.environ["TRANSPORT_RESULTS"],
)
news = Exchange("news", type="topic")
app.conf.update(
    task_default_queue="work",
    task_queues=[
        Queue("work", Exchange("work"), routing_key="work"),
        Queue("left", [binding(news, routing_key="news.#")]),
        Queue("right", [binding(news, routing_key="news.#")]),
    ],
    task_store_errors_even_if_ignored=False,
    broker_connection_retry_on_startup=True,
    broker_transport_options=json.loads(os.environ.get("TRANSPORT_OPTIONS", "{}")),
)


def note(event: str, task: Task, **more: object) -> None:
    """Append a line in one write, so that processes do not mix theirs."""
    told = {"id": task.request.id, "try": task.request.retries, "worker": os.getpgid(0), **more}
    line = json.dumps({"event": event, "at": time.time(), **told}) + "\n"
    with Path(os.environ["TRANSPORT_LOG"]).open("ab", buffering=0) as log:
        log.write(line.encode())


def work(task: Task, seconds: float) -> None:
    """Start, take a while, end."""
    note("started", task)
    time.sleep(seconds)
    note("ended", task)


@app.task(bind=True, ignore_result=True)
def early(self: Task, seconds: float) -> None:
    """Acknowledged when it starts."""
    work(self, seconds)


@app.task(bind=True, acks_late=True, reject_on_worker_lost=True, ignore_result=True)
def late(self: Task, seconds: float) -> None:
    """Acknowledged when it ends."""
    work(self, seconds)


@app.task(bind=True, acks_late=True, reject_on_worker_lost=True, max_retries=5, ignore_result=True)
def retry(self: Task, seconds: float, failures: int) -> None:
    """Fail as often as told; acknowledged when it ends."""
    work(self, seconds)
    if self.request.retries < failures:
        raise self.retry(countdown=1)


@app.task(bind=True, acks_late=True, reject_on_worker_lost=True)
def part(self: Task, number: int) -> int:
    """A chord's part."""
    work(self, 0)
    return number


@app.task(bind=True, acks_late=True, reject_on_worker_lost=True, ignore_result=True)
def total(self: Task, numbers: list[int]) -> None:
    """A chord's end."""
    work(self, 0)
    note("total", self, total=sum(numbers))
