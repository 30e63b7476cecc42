"""What a deployment is configured with: its settings, and Celery's configuration made of them.

`environment` describes every variable, `settings` reads and validates them once (`access` those
that say who may come in, `incoming` those about objects of others), and `celery` turns the settings
into Celery's configuration. The package imports nothing of CUTMV but `cutmv.install`.
"""

from cutmv.config.celery import OBJECT_TASK, RESULT_EXPIRES_S, RESULTS_PREFIX, celery_config
from cutmv.config.environment import VARIABLES, Variable
from cutmv.config.errors import ConfigError
from cutmv.config.incoming import OWN_PREFIXES, IncomingObjects
from cutmv.config.limits import MIN_RATE, Limits, Network
from cutmv.config.settings import WEBHOOK_PATH, WEBHOOK_PURPOSE, Settings

__all__ = [
    "MIN_RATE",
    "OBJECT_TASK",
    "OWN_PREFIXES",
    "RESULTS_PREFIX",
    "RESULT_EXPIRES_S",
    "VARIABLES",
    "WEBHOOK_PATH",
    "WEBHOOK_PURPOSE",
    "ConfigError",
    "IncomingObjects",
    "Limits",
    "Network",
    "Settings",
    "Variable",
    "celery_config",
]
