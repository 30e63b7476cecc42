"""The Celery worker that this process may be: what the transport asks of it.

Other users of kombu have none, and nothing here loads Celery.
"""

from __future__ import annotations

import sys
from typing import Any

#: The process's worker (`celery.worker.WorkController`), once it has been made.
_workers: list[Any] = []


def attach(driver_type: str) -> None:
    """Learn of the worker, and let its mingle and gossip start over this transport.

    A worker looks at the driver of its connection before it builds them, so this is in time.
    """
    for module, step in (("mingle", "Mingle"), ("gossip", "Gossip")):
        loaded: Any = sys.modules.get(f"celery.worker.consumer.{module}")
        if loaded is not None:
            getattr(loaded, step).compatible_transports.add(driver_type)
    signals: Any = sys.modules.get("celery.signals")
    if signals is not None:
        signals.worker_init.connect(_on_worker_init, dispatch_uid=__name__)


def _on_worker_init(sender: Any, **_kwargs: Any) -> None:
    _workers[:] = [sender]


def longest_hold() -> float | None:
    """Return the seconds for which a message may be held: its own run, and those it waits for.

    None where there is no worker, or one of its tasks has no hard time limit.
    """
    if not _workers:
        return None
    worker = _workers[0]
    limits = [
        task.time_limit or worker.time_limit
        for name, task in worker.app.tasks.items()
        if not name.startswith("celery.")
    ]
    if not limits or not all(limits):
        return None
    return float(max(limits) * max(1, worker.prefetch_multiplier))


def running_tags() -> set[str]:
    """Return the delivery tags of the tasks that a worker in this process is running."""
    state: Any = sys.modules.get("celery.worker.state")
    if state is None:
        return set()
    if state.should_terminate is not None and state.should_terminate is not False:
        return set()  # a cold shutdown kills them
    return {request.message.delivery_tag for request in tuple(state.active_requests)}


def abandon(delivery_tag: str) -> bool:
    """Stop the task of a message that another worker has now; tell whether there was one.

    Its process is ended, without a word about the task's state: the other worker gives that. Pools
    that can't end a task let it run.
    """
    state: Any = sys.modules.get("celery.worker.state")
    pool = getattr(_workers[0], "pool", None) if _workers else None
    if state is None or pool is None:
        return False
    for request in {*state.reserved_requests, *state.scheduled_requests}:
        if request.message.delivery_tag == delivery_tag:
            try:
                request.cancel(pool, emit_retry=False)
            except NotImplementedError:
                return False
            if not request.time_start:  # it waits for a process: let it not start
                request._announce_cancelled(emit_retry=False)
            return True
    return False
