"""The outboxes by which the progress events of a worker process leave it."""

import os
from functools import lru_cache

from cutmv.app import app
from cutmv.progress import EventSender, Outbox, WebhookSender
from cutmv.services import services


def process_outboxes(hostname: str | None) -> tuple[Outbox, ...]:
    """This process's outboxes, made at the first use, for the worker `hostname`.

    Celery's events, and the webhook where WEBHOOK_URL names one.
    """
    return _outboxes(hostname, os.getpid())


@lru_cache(maxsize=1)
def _outboxes(hostname: str | None, _pid: int) -> tuple[Outbox, ...]:
    # By process: an outbox that was made before a fork has no thread after it.
    settings = services().settings
    events = EventSender(app, hostname)
    if not settings.webhook_url:
        return (events,)
    return (events, WebhookSender(settings.webhook_url, settings.webhook_secret))
