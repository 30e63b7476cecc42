"""The Celery app: `celery -A cutmv worker`, `inspect`, `events`, `flower`."""

from celery import Celery
from celery.signals import after_setup_logger

from cutmv.config import Settings, celery_config
from cutmv.logs import keep_secrets

app = Celery("cutmv", include=["cutmv.worker.tasks", "cutmv.worker.analysis_task"])
# Celery reads the configuration at its first use: a wrong variable is no error of the import.
app.add_defaults(lambda: celery_config(Settings.from_env()))
after_setup_logger.connect(keep_secrets)
