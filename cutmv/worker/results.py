"""Celery's result backend over Redis, for processes that send tasks and never wait for results."""

from typing import Any

from celery.backends.redis import RedisBackend


class RedisResults(RedisBackend):
    """Celery's Redis backend, which subscribes to a result only when somebody waits for it.

    Celery's own subscribes at every task that is sent. When Redis does not answer, it tries to for
    20 seconds before the task is published: a job would fall back that late.
    """

    def on_task_call(self, producer: Any, task_id: str) -> None:
        """Do nothing: `AsyncResult.get` subscribes by itself."""
