"""What operators ask of a worker, and tell it: all in one reply, since replies cost."""

import platform
import sys
import time
from collections.abc import Sequence
from typing import Any

import celery
from celery.worker import state as worker_state
from celery.worker.control import control_command, inspect_command

from cutmv import __version__
from cutmv.progress import dropped_events
from cutmv.transports.cloudflare import operations_report, threads_report
from cutmv.worker.operating import CONSUME, STATUS

#: Tasks that a reply names; Cloudflare's messages are small.
MAX_NAMED = 50


@inspect_command(name=STATUS)
def tell_status(state: Any, **_later: object) -> dict[str, Any]:
    """Tell versions, tasks, queues, threads, leases and what was counted."""
    consumer = state.consumer
    stats = consumer.controller.stats()
    transport = stats.get("cloudflare") or {}
    queues = consumer.task_consumer.queues if consumer.task_consumer else ()
    return {
        "version": __version__,
        "celery": celery.__version__,
        "python": platform.python_version(),
        "pid": stats["pid"],
        "uptime_s": stats["uptime"],
        "pool": type(consumer.pool).__module__.rpartition(".")[2],
        "slots": consumer.pool.num_processes,
        "active": [_task(each) for each in list(worker_state.active_requests)[:MAX_NAMED]],
        "busy": len(worker_state.active_requests),
        "reserved": len(worker_state.reserved_requests),
        "queues": [queue.name for queue in queues],
        "threads": threads_report(),
        "ledger": (transport.get("leases") or {}).get("ledger"),
        "operations": operations_report()
        if "cutmv.transports.cloudflare.api" in sys.modules
        else {},
        "dropped_events": dropped_events(),
    }


@control_command(name=CONSUME)
def consume(state: Any, names: Sequence[str], on: bool, **_later: object) -> dict[str, Any]:
    """Take tasks from queues of the app's, or no more of them; what runs goes on.

    What Celery's own `add_consumer` adds is forgotten when the worker connects again.
    """
    queues = state.app.amqp.queues
    for name in names:
        if name not in queues:
            continue
        if on:
            queues.select_add(queues[name])
            state.consumer.call_soon(state.consumer.add_task_queue, name)
        else:
            state.consumer.call_soon(state.consumer.cancel_task_queue, name)
    return {"ok": "it will"}


def _task(request: Any) -> dict[str, Any]:
    since = request.time_start  # none while it waits for a process
    ran_s = None if since is None else round(max(0.0, time.time() - since), 1)
    return {"id": request.id, "name": request.name, "ran_s": ran_s}
