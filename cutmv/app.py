"""The Celery app: `celery -A cutmv worker`, `inspect`, `events`, `flower`."""

import logging
import time
from typing import Any

import click
from celery import Celery, current_task
from celery.signals import after_setup_logger, after_setup_task_logger, before_task_publish

from cutmv.config import ConfigError, Settings, celery_config
from cutmv.logs import keep_secrets, use_json
from cutmv.tracing import carried

#: The header of a message that tells when it was published, in seconds since 1970.
PUBLISHED_AT = "published_at"


def _config() -> dict[str, Any]:
    """Celery's configuration, from the environment. Raises ConfigError.

    The `celery` command shows that as one line, since click does so with errors of its own.
    """
    try:
        return celery_config(Settings.from_env())
    except ConfigError as error:
        context = click.get_current_context(silent=True)
        if context is None or context.find_root().command.name != "celery":
            raise
        raise click.ClickException(str(error)) from None


def _add_headers(headers: dict[str, Any], **_signal: object) -> None:
    headers[PUBLISHED_AT] = time.time()
    headers.update(carried())


def _use_json(logger: logging.Logger, **_signal: object) -> None:
    use_json(logger)
    for handler in logger.handlers:
        handler.addFilter(_tell_task)


def _tell_task(record: logging.LogRecord) -> bool:
    """Have a record tell of the task that runs, unless it does already."""
    if not hasattr(record, "task_id") and (task := current_task):
        record.task_id = task.request.id
    return True


app = Celery(
    "cutmv",
    include=[
        "cutmv.worker.tasks",
        "cutmv.worker.derivative_tasks",
        "cutmv.worker.operating.status",
        "cutmv.dispatch.objects.task",
    ],
)
# Celery reads the configuration at its first use: a wrong variable is no error of the import.
app.add_defaults(_config)
after_setup_logger.connect(keep_secrets)
for set_up in (after_setup_logger, after_setup_task_logger):
    set_up.connect(_use_json)
before_task_publish.connect(_add_headers)
