"""Celery results in Redis, for a process that sends tasks and never asks for their results."""

from typing import Any

from celery.backends.redis import RedisBackend


class RedisResults(RedisBackend):
    """Celery's own, but that subscribes to a result when somebody waits for it, not before.

    Celery subscribes at every task that is sent. With Redis away it tries to for 20 seconds
    before the task is published, or its publishing fails: a job would fall back that late.
    """

    def on_task_call(self, producer: Any, task_id: str) -> None:
        """Do nothing. (`AsyncResult.get` subscribes by itself.)"""
