"""Looks at a task's message once more before a Celery pool starts the task."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from typing import Any

logger = logging.getLogger(__name__)

#: Returns the time limit (s) of a message's task.
Limit = Callable[[Mapping[str, Any]], float | None]


def guard(pool: Any, limit_of: Limit) -> None:
    """Have the pool start no task whose message is not this worker's any more, or soon will not be.

    A message may wait in a pool for longer than its lease, or be given back while it waits there.
    `limit_of` returns the seconds after which the pool ends a message's task; none for never.
    """
    apply_async = pool.apply_async
    if getattr(apply_async, "guards", False):
        return
    revoked: Any = sys.modules["celery.exceptions"].TaskRevokedError
    in_children = pool.uses_semaphore  # there a task is handed over when a process is free

    def guarded(target: Callable[..., Any], *args: Any, **options: Any) -> Any:
        request: Any = getattr(options.get("accept_callback"), "__self__", None)
        if getattr(getattr(request, "message", None), "may_start", None) is None:
            return apply_async(target, *args, **options)
        start = _Start(request, target, options, limit_of)
        if not start.allowed():
            raise revoked(request.id)
        if not in_children:
            target = start.run
            options |= {"accept_callback": start.accept, "callback": start.done}
        result = apply_async(target, *args, **options)
        future = getattr(result, "f", None)  # where a thread runs the task
        if future is not None:
            future.add_done_callback(start.give_back)
        return result

    guarded.guards = True  # type: ignore[attr-defined]
    pool.apply_async = guarded


class _Start:
    """A task that waits in a pool, and is looked at once more when its turn has come."""

    def __init__(
        self,
        request: Any,
        target: Callable[..., Any],
        options: Mapping[str, Any],
        limit_of: Limit,
    ) -> None:
        self._limit_of = limit_of
        self._request, self._target = request, target
        self._accept, self._done = options["accept_callback"], options["callback"]
        self._let_go = False

    def allowed(self) -> bool:
        """Return whether the task may start; if not, leave its message to others."""
        request = self._request
        headers = {"timelimit": request.time_limits, "task": request.name}
        if request.message.may_start(self._limit_of({"headers": headers})):
            return True
        self._let_go = True
        logger.warning(
            "cloudflare: task %s[%s] does not start here: its message waited for longer than its "
            "lease allows, or was given back",
            request.name,
            request.id,
        )
        request.acknowledged = True  # so that nobody ends the message again
        request.send_event("task-rejected", requeue=True)
        sys.modules["celery.worker.state"].task_ready(request)
        request.message.let_go()
        return False

    def give_back(self, future: Any) -> None:
        """Give the message back at once if the pool has cancelled its task, since the worker ends.

        The pool keeps hold of the last one that it cancels until its running tasks have ended.
        """
        if future.cancelled():
            self._request.message.let_go()

    def accept(self, *args: Any) -> None:
        """Take the place of the request's callback for a task that starts."""
        if self.allowed():
            self._accept(*args)

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task, if it may start."""
        return None if self._let_go else self._target(*args, **kwargs)

    def done(self, *args: Any, **kwargs: Any) -> None:
        """Take the place of the request's callback for a task that has ended."""
        if not self._let_go:
            self._done(*args, **kwargs)
