"""What the transport adds to how Celery publishes, in a process that has Celery loaded.

- The members of a canvas (group, chord, chunks, a task's many callbacks) share calls: Celery
  publishes them in one loop, which runs in a batch here. Other brokers are not touched.
- What Celery tells of a published message (its signals) waits until Cloudflare has the message.
- Who waits for a result does not wait for a message that waits itself: it is sent before.
- ``cloudflare://`` names the result backend, too. Where it does, revoked tasks and rate limits are
  noted for workers that start later.
- ``self.retry`` never loses the task because its message can't be sent.

This module never imports Celery: it changes a module of Celery's that is loaded, or once it is.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from functools import partial, wraps
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Protocol

from cutmv.transports.cloudflare.errors import CloudflareError

logger = logging.getLogger(__name__)

#: Seconds between attempts to send a task's retry, and after how many a message that is not acked
#: goes back to its queue.
RETRY_PAUSE, RETRY_PATIENCE = 1.0, 60.0

#: How often Celery tries a callback's message again where its policy does not say.
CALLBACK_RETRIES = 3


class Gathering(Protocol):
    """A block whose messages wait for a call that they share; see `producer.batch.Batch`."""

    def when_sent(self, task_id: str, action: Callable[[], object], *, event: bool = False) -> bool:
        """Have a signal or an event sent once the task's message is; false if it was no part."""

    def outside(self, members: Iterable[Any], lazy: bool) -> Iterable[Any]:
        """Yield the members of a canvas, computed as if outside of the block; now, if `lazy`."""

    def send_waiting(self) -> None:
        """Send what waits; raises a `CloudflareError` where that fails."""


#: The innermost block of this context; the canvas of which it computes a member; and the block to
#: which its last message came, if that waits.
current: ContextVar[Gathering | None] = ContextVar("cloudflare_publish_batch", default=None)
computed: ContextVar[Gathering | None] = ContextVar("cloudflare_computed", default=None)
latest: ContextVar[Gathering | None] = ContextVar("cloudflare_latest_batch", default=None)


def _share_calls(module: Any) -> None:
    """Have the loop in which `celery.canvas` publishes a group's members share calls."""
    apply_tasks = module.group._apply_tasks

    @wraps(apply_tasks)
    def sharing(
        self: Any, tasks: Any, producer: Any = None, app: Any = None, *args: Any, **options: Any
    ) -> Iterable[Any]:
        app = app or self.app
        with app.producer_or_acquire(producer) as held:
            transport: Any = getattr(getattr(held, "connection", None), "transport", None)
            if hasattr(type(transport), "gathering"):  # it is ours
                with transport.gathering(_attempts(app)) as batch:
                    members = batch.outside(tasks, _is_lazy(self.tasks, module._regen))
                    return list(apply_tasks(self, members, held, app, *args, **options))
        results: Iterable[Any] = apply_tasks(self, tasks, producer, app, *args, **options)
        return results

    module.group._apply_tasks = sharing


def _is_lazy(tasks: Any, generated: type) -> bool:
    """Return whether members are still to come from a generator."""
    if isinstance(tasks, generated):
        return True
    return any(_is_lazy(getattr(each, "tasks", ()), generated) for each in tasks)


def _attempts(app: Any) -> int:
    """Return how often Celery would try to publish each message that it publishes now."""
    retried = getattr(sys.modules.get("celery.app.amqp"), "_callback_publish_retry", None)
    if retried is None or not retried.get() or not app.conf.task_publish_retry:
        return 1
    most = (app.conf.task_publish_retry_policy or {}).get("max_retries")
    return 1 + int(CALLBACK_RETRIES if most is None else most)


def _tell_when_sent(module: Any) -> None:
    """Have the signals that follow a publish wait for the message that they are about."""
    for name in ("after_task_publish", "task_sent"):
        signal = getattr(module, name, None)
        if signal is not None:
            signal.send = _waiting(signal, signal.send)


def _waiting(signal: Any, send: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(send)
    def waiting(sender: Any = None, **named: Any) -> Any:
        block, body = latest.get(), named.get("body")
        if block is not None and signal.receivers:
            task_id = named.get("task_id") or (named.get("headers") or {}).get("id")
            if not task_id and isinstance(body, dict):  # the task message protocol 1
                task_id = body.get("id")
            if block.when_sent(str(task_id), partial(send, sender=sender, **named)):
                return []
        return send(sender=sender, **named)

    return waiting


def _send_before_waiting(module: Any) -> None:
    """Have a block's messages sent before somebody in the block waits for a result."""
    for owner, names in (
        (module.AsyncResult, ("get", "wait")),
        (module.ResultSet, ("join", "join_native")),
    ):
        for name in names:
            setattr(owner, name, _sending(getattr(owner, name)))


def _sending(wait: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(wait)
    def sending(*args: Any, **options: Any) -> Any:
        for block in (computed.get(), current.get()):
            if block is not None:
                block.send_waiting()
        return wait(*args, **options)

    return sending


def _keep_retried(module: Any) -> None:
    """Have `Task.retry` send its message when Cloudflare takes it, where Celery gives it up.

    It sends it at once, as `Task.replace` does: by exceptions they end a block around them, too.

    Celery would remove the task's message without its successor. A message that is not acked yet
    goes back to its queue after a minute; of one that is acked, the successor is all there is.
    """
    retry, rejected = _at_once(module.Task.retry), module.Reject
    module.Task.on_replace = _at_once(module.Task.on_replace)

    @wraps(module.Task.retry)
    def keeping(self: Any, *args: Any, **options: Any) -> Any:
        started, told_at = time.monotonic(), float("-inf")
        while True:
            try:
                return retry(self, *args, **options)
            except rejected as reject:
                error = reject.reason
                if not isinstance(error, CloudflareError):
                    raise
                now, final = time.monotonic(), not error.passing
                if self.acks_late and (final or now - started >= RETRY_PATIENCE):
                    raise rejected(error, requeue=True) from error
                if final:
                    logger.error(
                        "cloudflare: task %s[%s] is lost: its retry can't be sent, and its message "
                        "was acked before it ran: %s",
                        self.name,
                        self.request.id,
                        error,
                    )
                    raise
                if now - told_at >= RETRY_PATIENCE:
                    told_at = now
                    logger.warning(
                        "cloudflare: the retry of task %s[%s] waits to be sent: %s",
                        self.name,
                        self.request.id,
                        error,
                    )
            time.sleep(RETRY_PAUSE)

    module.Task.retry = keeping


def _at_once(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def at_once(*args: Any, **options: Any) -> Any:
        token = current.set(None)
        try:
            return function(*args, **options)
        finally:
            current.reset(token)

    return at_once


def _name_results(module: Any) -> None:
    """Have ``cloudflare://`` name the result backend where no installation says so."""
    module.BACKEND_ALIASES["cloudflare"] = "cutmv.backends.cloudflare:CloudflareBackend"


def _note_commands(module: Any) -> None:
    """Have revoked tasks and rate limits noted for later workers, where the results are ours."""
    broadcast = module.Control.broadcast

    @wraps(broadcast)
    def noting(
        self: Any, command: str, arguments: Any = None, destination: Any = None, **options: Any
    ) -> Any:
        if not destination and "cloudflare://" in str(self.app.conf.result_backend):
            notes = getattr(self.app.backend, "notes", None)
            if notes is not None:
                notes.keep(command, arguments or {})
        return broadcast(self, command, arguments, destination, **options)

    module.Control.broadcast = noting


_CHANGES: dict[str, Callable[[Any], None]] = {
    "celery.app.backends": _name_results,
    "celery.app.control": _note_commands,
    "celery.canvas": _share_calls,
    "celery.signals": _tell_when_sent,
    "celery.result": _send_before_waiting,
    "celery.app.task": _keep_retried,
}


class _WhenLoaded(MetaPathFinder):
    """Changes modules of Celery's right after they are loaded."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return a module's spec as the other finders find it, whose loader then changes it."""
        if name not in _CHANGES:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None and spec.loader is not None:
                loader: Any = spec.loader
                loader.exec_module = partial(_load, name, loader.exec_module)
                return spec
        return None


def _load(name: str, load: Callable[[ModuleType], None], module: ModuleType) -> None:
    load(module)
    if module.__name__ == name:  # a loader may load others, too
        _CHANGES[name](module)


def attach() -> None:
    """Change Celery's modules: those that are loaded now, the others when they are.

    Called when the transport's package is imported.
    """
    if any(isinstance(finder, _WhenLoaded) for finder in sys.meta_path):
        return
    for name, change in _CHANGES.items():
        if name in sys.modules:
            change(sys.modules[name])
    sys.meta_path.insert(0, _WhenLoaded())
