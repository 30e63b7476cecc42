"""What a process logs: one line an event, on standard error, and no secret."""

import logging

#: The form of a line: when, how bad, which process, which module, what.
FORMAT = "[%(asctime)s: %(levelname)s/%(processName)s] %(name)s: %(message)s"
#: Libraries that log URLs with signatures, or headers with tokens, below the level WARNING.
SECRET_LOGGERS = ("httpx", "httpcore", "hpack", "boto3", "botocore", "s3transfer", "urllib3")


def set_up_logging(level: int = logging.INFO) -> None:
    """Log to standard error from `level` up. Celery does this by itself in its workers."""
    logging.basicConfig(format=FORMAT, level=level)
    keep_secrets()


def keep_secrets(**_signal: object) -> None:
    """Silence the loggers that would write a secret, at any level that is set for the rest."""
    for name in SECRET_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
