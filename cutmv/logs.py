"""What a process logs: one line an event, on standard error, and no secret."""

import logging
import re
import threading
import time

#: The form of a line: when, how bad, which process, which module, what.
FORMAT = "[%(asctime)s: %(levelname)s/%(processName)s] %(name)s: %(message)s"
#: Libraries that log URLs with signatures, or headers with tokens, below the level WARNING.
SECRET_LOGGERS = ("httpx", "httpcore", "hpack", "boto3", "botocore", "s3transfer", "urllib3")
#: Characters of a message; what is beyond is left out. Strangers choose paths and names.
MAX_MESSAGE_CHARS = 2_000
#: What would begin a line, or move a terminal's cursor.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class OneLine(logging.Formatter):
    """Writes a message as one line of bounded length; a traceback follows as it is."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """See logging.Formatter."""
        text = record.message
        if len(text) > MAX_MESSAGE_CHARS:
            text = f"{text[:MAX_MESSAGE_CHARS]}… ({len(text)} characters)"
        record.message = _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)
        return super().formatMessage(record)


def set_up_logging(level: int = logging.INFO) -> None:
    """Log to standard error from `level` up. Celery does this by itself in its workers."""
    logging.basicConfig(level=level)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(OneLine(FORMAT))
    keep_secrets()


def keep_secrets(**_signal: object) -> None:
    """Silence the loggers that would write a secret, at any level that is set for the rest."""
    for name in SECRET_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)


class Outage:
    """Logs once that a neighbour went away, and once that it is back. Threads may share it.

    `name` begins a sentence, as in "the storage"; `meanwhile` says what its absence means.
    """

    def __init__(self, log: logging.Logger, name: str, meanwhile: str) -> None:
        self._log, self._name, self._meanwhile = log, name, meanwhile
        self._lock = threading.Lock()
        self._since: float | None = None

    def began(self, reason: object) -> None:
        """The neighbour did not answer; `reason` is one line without secrets."""
        with self._lock:
            if self._since is not None:
                return
            self._since = time.monotonic()
        told = str(reason).rstrip(".")
        self._log.warning("%s is away: %s; %s", self._name, told, self._meanwhile)

    def ended(self) -> None:
        """The neighbour answered."""
        with self._lock:
            since, self._since = self._since, None
        if since is not None:
            away_s = time.monotonic() - since
            self._log.warning("%s answers again, after %.0f s", self._name, away_s)
