"""The Celery app: `celery -A cutmv worker`, `inspect`, `events`, `flower`."""

import time
from typing import Any

import click
from celery import Celery
from celery.signals import after_setup_logger, before_task_publish

from cutmv.config import ConfigError, Settings, celery_config
from cutmv.logs import keep_secrets

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


def _note_time(headers: dict[str, Any], **_signal: object) -> None:
    headers[PUBLISHED_AT] = time.time()


app = Celery(
    "cutmv",
    include=[
        "cutmv.worker.tasks",
        "cutmv.worker.derivative_tasks",
        "cutmv.worker.operating.status",
    ],
)
# Celery reads the configuration at its first use: a wrong variable is no error of the import.
app.add_defaults(_config)
after_setup_logger.connect(keep_secrets)
before_task_publish.connect(_note_time)
