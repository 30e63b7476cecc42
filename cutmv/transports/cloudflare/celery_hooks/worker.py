"""The calls that the transport makes to Celery, in a process that is a Celery worker.

Other programs that use kombu have no worker, and this module never imports Celery.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from cutmv.transports.cloudflare.celery_hooks import start as celery_start
from cutmv.transports.cloudflare.errors import FOR_PEOPLE

logger = logging.getLogger(__name__)

#: Seconds for which a worker remembers a revoke, since a task may wait in its queue that long; and
#: for which Celery does unless its environment says otherwise.
REVOKE_EXPIRES, CELERYS_REVOKE_EXPIRES = 14 * 86_400, 10_800

#: The process's worker (`celery.worker.WorkController`), once it has been made.
_workers: list[Any] = []


def attach(driver_type: str, *, gossip: bool = False) -> None:
    """Have Celery report its worker, and allow the worker's mingle on this transport.

    `gossip` allows its gossip, too. A worker makes a connection before it reports itself, and reads
    its driver type before it builds these, so this is early enough when the transport is imported
    and again when it is made.
    """
    for module, step, allowed in (("mingle", "Mingle", True), ("gossip", "Gossip", gossip)):
        loaded: Any = sys.modules.get(f"celery.worker.consumer.{module}")
        if loaded is not None:
            compatible: set[str] = getattr(loaded, step).compatible_transports
            (compatible.add if allowed else compatible.discard)(driver_type)
    signals: Any = sys.modules.get("celery.signals")
    if signals is not None:
        signals.worker_init.connect(_on_worker_init, dispatch_uid=__name__)
        logging.getLogger("celery.worker").addFilter(_without_traceback)


def when_shutting_down(act: Callable[..., object]) -> None:
    """Have `act` called as this process's worker is told to shut down, in the signal's handler.

    Celery's event loop looks for that when something wakes it. A signal does not; its heartbeats
    do, and without these its next timer, up to 5 s later. `act`, a method, is held weakly.
    """
    signals: Any = sys.modules.get("celery.signals")
    if signals is not None:
        signals.worker_shutting_down.connect(act)


@lru_cache  # so that it is said once
def _say_that_one_is_read(brokers: tuple[str, ...]) -> None:
    logger.warning(
        "cloudflare: broker_url names %d brokers, and a worker reads one of them at a time, while "
        "publishers move to another in an outage and stay there: run a worker for each broker, as "
        "docs/transport.md shows under Failover lists",
        len(brokers),
    )


def _warn_of_failover(connection: Any) -> None:
    brokers = tuple(getattr(connection, "alt", ()))
    if any(not url.startswith("cloudflare") for url in brokers):
        _say_that_one_is_read(brokers)


def _without_traceback(record: logging.LogRecord) -> bool:
    """Have Celery log in one line the error that ends a worker, where that line says what to do."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, FOR_PEOPLE) and record.levelno == logging.CRITICAL:
        record.msg, record.args, record.exc_info = "Unrecoverable error: %s", (error,), None
    return True


def _on_worker_init(sender: Any, **_kwargs: Any) -> None:
    _workers[:] = [sender]
    sender.app.steps["consumer"].add(_stats_step())
    state: Any = sys.modules.get("celery.worker.state")
    if state is not None and state.revoked.expires == CELERYS_REVOKE_EXPIRES:
        state.revoked.expires = REVOKE_EXPIRES


def _stats_step() -> type[Any]:
    """Return the bootstep that adds the transport's figures to `celery inspect stats`.

    It also says so if the worker's gossip is off because it would cost too much.
    """
    bootsteps: Any = sys.modules["celery.bootsteps"]

    class Stats(bootsteps.StartStopStep):
        name = "cloudflare"
        requires = ("celery.worker.consumer:Connection",)

        def __init__(self, consumer: Any, without_gossip: bool = False, **options: Any) -> None:
            super().__init__(consumer, **options)
            consumer.call_soon_ack = _at_once(consumer.call_soon_ack)
            celery_start.guard(consumer.pool, enforced_limit)
            self.tells = not without_gossip

        def start(self, consumer: Any) -> None:
            options = getattr(getattr(consumer.connection, "transport", None), "options", None)
            if self.tells and options is not None and not getattr(options, "gossips", True):
                logger.info(
                    "cloudflare: gossip is off, since without the edge Worker each heartbeat would "
                    "cost a call for each other worker; the transport option gossip turns it on"
                )
            self.tells = False  # and not again after each reconnect
            _warn_of_failover(consumer.connection)

        def info(self, consumer: Any) -> dict[str, Any]:
            transport = getattr(consumer.connection, "transport", None)  # none while it reconnects
            report = getattr(transport, "stats", None)  # none for another broker of a failover list
            return {} if report is None else {"cloudflare": report()}

    return Stats


def _at_once(later: Callable[..., Any]) -> Callable[..., Any]:
    """Return what Celery acks and rejects messages by: at once, those of this transport.

    Celery has its event loop do it `later`. In a solo pool the loop comes to it when all tasks that
    were received together have run.
    """

    def call_soon_ack(end: Any, *args: Any, **kwargs: Any) -> Any:
        channel = getattr(getattr(end, "__self__", None), "channel", None)
        if not getattr(channel, "ends_in_any_thread", False):
            return later(end, *args, **kwargs)
        try:
            end(*args, **kwargs)
        except Exception:
            logger.exception("cloudflare: a message can't be acked or rejected")
        return end

    return call_soon_ack


def end(reason: str) -> None:
    """End the worker of this process, if there is one, with a line in the log and no traceback."""
    if _workers:
        logger.critical(reason)
        raise SystemExit(1)


def longest_hold() -> float | None:
    """Return the seconds for which a worker may hold a message: its task's run and those before it.

    None where there is no worker, where nothing enforces time limits, or where a task has none.
    """
    if not _workers or not _enforces_limits():
        return None
    worker = _workers[0]
    limits = [
        task.time_limit or worker.time_limit
        for name, task in worker.app.tasks.items()
        if not name.startswith("celery.")
    ]
    if not limits or not all(limits):
        return None
    # Messages that wait for their turn: they fill the prefetch, which belongs to the most processes
    # that there may be, and the fewest run them. Without a prefetch limit there is no bound.
    fewest = max(1, worker.min_concurrency)
    most = worker.max_concurrency or fewest  # none without autoscale
    rounds: int = max(1, -(-most * worker.prefetch_multiplier // fewest))
    return float(max(limits)) * rounds


def enforced_limit(message: Mapping[str, Any]) -> float | None:
    """Return the seconds after which this worker ends a message's task, however it is.

    None where it may run for any time, and where there is no worker.
    """
    return time_limit(message) if _workers and _enforces_limits() else None


def _enforces_limits() -> bool:
    """Return whether the worker's pool ends a task at its hard time limit."""
    pool: Any = _workers[0].pool_cls
    module = pool if isinstance(pool, str) else pool.__module__
    return module.endswith(("prefork", "gevent"))


def redis_of_results(timeout: float) -> Any:
    """Return a new client of the Redis that keeps the worker's results; none if there is no such.

    Its calls may take `timeout` seconds each.
    """
    loaded: Any = sys.modules.get("celery.backends.redis")
    if loaded is None or not _workers:
        return None
    backend = _workers[0].app.backend
    if not isinstance(backend, loaded.RedisBackend):
        return None
    timeouts = {"socket_timeout", "socket_connect_timeout"} & backend.connparams.keys()
    return backend._create_client(**{**backend.connparams, **dict.fromkeys(timeouts, timeout)})


def slots() -> int | None:
    """Return how many tasks the worker in this process can run at once; none without a worker."""
    worker = _workers[0] if _workers else None
    pool = getattr(worker, "pool", None)
    if worker is None or pool is None:
        return None
    if getattr(worker, "autoscaler", None) is not None:
        return int(worker.autoscaler.max_concurrency)  # it starts processes once messages are there
    return int(pool.num_processes)


def free_slots() -> int | None:
    """Return how many tasks the worker could start now; none without a worker."""
    count, state = slots(), sys.modules.get("celery.worker.state")
    return None if count is None or state is None else count - len(state.reserved_requests)


def tasks() -> int:
    """Return how many tasks the worker has that run, wait in it or are due later; 0 without one."""
    state: Any = sys.modules.get("celery.worker.state")
    return 0 if state is None else len({*state.reserved_requests, *state.scheduled_requests})


def time_limit(message: Mapping[str, Any]) -> float | None:
    """Return the hard time limit (s) of a message's task, by what this process knows.

    That is the message's own, else its task's, else the app's or the worker's. None where there is
    none, or nobody knows.
    """
    headers = message["headers"]
    match headers.get("timelimit"):
        case [int() | float() as own, *_] if own > 0:
            return float(own)
    name = str(headers.get("task"))
    limits = {_app_limit(app, name) for app in _apps(name)}
    return limits.pop() if len(limits) == 1 else None  # several apps need not agree


def tasks_over(seconds: float) -> list[str]:
    """Return the names of the worker's tasks whose hard time limit is longer."""
    if not _workers:
        return []
    app = _workers[0].app
    names = sorted(name for name in app._tasks if not name.startswith("celery."))
    return [name for name in names if (_app_limit(app, name) or 0) > seconds]


def _app_limit(app: Any, name: str) -> float | None:
    task = app._tasks.get(name)
    worker = _workers[0] if _workers and _workers[0].app is app else None
    limit = getattr(task, "time_limit", None)
    limit = limit or getattr(worker, "time_limit", None) or app.conf.task_time_limit
    return float(limit) if limit else None


def _apps(name: str) -> list[Any]:
    """Return the apps of this process that have a task, or all apps if none has it."""
    if _workers:
        return [_workers[0].app]
    state: Any = sys.modules.get("celery._state")
    apps = [] if state is None else [app for app in state._get_active_apps() if app.configured]
    return [app for app in apps if name in app._tasks] or apps


def present() -> bool:
    """Return whether this process is a Celery worker."""
    return bool(_workers)


def forget(delivery_tag: str) -> None:
    """Have the worker forget a task that it has reserved, and then failed with."""
    state: Any = sys.modules["celery.worker.state"]
    for request in {*state.reserved_requests, *state.scheduled_requests}:
        if request.message.delivery_tag == delivery_tag:
            state.task_ready(request)


def running_tags() -> set[str]:
    """Return the delivery tags of the tasks that a worker here is running, or surely will run.

    A pool that can't take a task back runs what it was handed, though the connection is gone.
    """
    state: Any = sys.modules.get("celery.worker.state")
    if state is None:
        return set()
    running = set(state.active_requests)
    if state.should_terminate is not None and state.should_terminate is not False:
        # A cold shutdown kills prefork's processes. Other pools' tasks run on, and the worker ends
        # when they have, except those that it could stop.
        running = set() if _kills_tasks() else {r for r in running if not r._already_cancelled}
    if _workers and getattr(_workers[0].pool, "active", False):
        running |= {each for each in tuple(state.reserved_requests) if _is_handed_over(each)}
    return {request.message.delivery_tag for request in running}


def _kills_tasks() -> bool:
    """Return whether the end of the worker's pool ends its tasks, too."""
    return not _workers or bool(getattr(_workers[0].pool, "uses_semaphore", True))


def _is_handed_over(request: Any) -> bool:
    """Return whether the pool has a task that has been reserved.

    Prefork's tasks wait in the worker until a process is free; other pools get each at once.
    """
    worker = _workers[0]
    if worker.process_task != worker._process_task_sem:
        return True
    result = request._apply_result
    return result is not None and result() is not None


def abandon(delivery_tag: str) -> bool:
    """Stop the task of a message that another worker has taken over; return whether it was stopped.

    The task's process is ended, and no state of the task is reported: the other worker does that. A
    pool that can't end a task lets it run.
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
            if not request.time_start:  # it waits for a process, and must not start
                request._announce_cancelled(emit_retry=False)
            return True
    return False
