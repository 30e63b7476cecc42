"""What a process logs: one line an event, on standard error, and no secret."""

import logging

#: A line: when, how bad, which process, who says what.
FORMAT = "[%(asctime)s: %(levelname)s/%(processName)s] %(name)s: %(message)s"
#: Libraries that below this level write URLs with signatures, or headers with tokens.
TELLTALE = ("httpx", "httpcore", "hpack", "boto3", "botocore", "s3transfer", "urllib3")


def set_up_logging(level: int = logging.INFO) -> None:
    """Log to standard error from `level` up; for processes that Celery does not set up."""
    logging.basicConfig(format=FORMAT, level=level)
    keep_secrets()


def keep_secrets(**_signal: object) -> None:
    """Silence what would log a secret, at any level that somebody sets for the rest."""
    for name in TELLTALE:
        logging.getLogger(name).setLevel(logging.WARNING)
