"""A Celery app with Celery's documented broadcast routes, for the transport's tests."""

from __future__ import annotations

import json
import os
from typing import Any

from celery import Celery, Task
from kombu import Queue
from kombu.common import Broadcast

from tests.support.transport_app import note, wait_for

app = Celery("broadcast_app", broker=os.environ.get("TRANSPORT_BROKER", "cloudflare://"))
app.conf.update(
    task_ignore_result=True,
    task_default_queue="work",
    broker_transport_options=json.loads(os.environ.get("TRANSPORT_OPTIONS", "{}")),
    task_queues=(
        Queue("work"),
        Broadcast("broadcast_tasks"),
        Broadcast("unique", queue="named", unique=True),
    ),
    task_routes={
        "tests.support.broadcast_app.reload": {
            "queue": "broadcast_tasks",
            "exchange": "broadcast_tasks",
        },
        "tests.support.broadcast_app.late": {"queue": "unique", "exchange": "unique"},
    },
)


@app.task(bind=True)
def reload(self: Task, value: Any) -> None:
    """Note the value, and who runs it."""
    note(event="reload", value=value, worker=self.request.hostname)


@app.task(bind=True, acks_late=True)
def late(self: Task, value: Any, until: str) -> None:
    """The same, acked when it has run."""
    wait_for(until)
    note(event="late", value=value, worker=self.request.hostname)


@app.task(bind=True)
def record(self: Task, value: Any) -> None:
    """A task of one worker."""
    note(event="record", value=value, worker=self.request.hostname)
