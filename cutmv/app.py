"""The Celery app: `celery -A cutmv worker`, `inspect`, `events`, `flower`."""

from celery import Celery
from celery.signals import after_setup_logger

from cutmv.config import Settings, celery_config
from cutmv.logs import keep_secrets

app = Celery("cutmv", include=["cutmv.worker.tasks"])
# Read at the first use, not at import, so that a wrong variable can be answered with one line.
app.add_defaults(lambda: celery_config(Settings.from_env()))
after_setup_logger.connect(keep_secrets)
