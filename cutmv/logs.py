"""What a process logs: one line an event, on standard error, and no secret.

The lines are for people, or JSON for programs where CUTMV_LOG_FORMAT says `json`.
"""

import json
import logging
import os
import re
import threading
import time
from datetime import UTC, datetime
from typing import Any

from cutmv.tracing import trace_id

#: The form of a line: when, how bad, which process, which module, what.
FORMAT = "[%(asctime)s: %(levelname)s/%(processName)s] %(name)s: %(message)s"
#: Libraries that log URLs with signatures, or headers with tokens, below the level WARNING.
SECRET_LOGGERS = ("httpx", "httpcore", "hpack", "boto3", "botocore", "s3transfer", "urllib3")
#: Characters of a message; what is beyond is left out. Strangers choose paths and names.
MAX_MESSAGE_CHARS = 2_000
#: Characters of a traceback in JSON.
MAX_TRACEBACK_CHARS = 20_000
#: What begins a message of note for people, and what JSON calls it.
MARKERS = {"🚀": "attempt", "✅": "success", "⚠️": "warning", "🔄": "fallback"}
#: What a record may tell of, beside its message.
FIELDS = ("job_id", "step_id", "task_id")
#: What would begin a line, or move a terminal's cursor.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class OneLine(logging.Formatter):
    """Writes a message as one line of bounded length; a traceback follows as it is."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """See logging.Formatter."""
        record.message = _CONTROL.sub(lambda found: ascii(found[0])[1:-1], _bounded(record.message))
        return super().formatMessage(record)


class JsonLines(logging.Formatter):
    """Writes a record as one JSON object in one line; a marker of a message is its `event`."""

    def format(self, record: logging.LogRecord) -> str:
        """See logging.Formatter."""
        told: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.processName,
            "pid": record.process,
        }
        message = record.getMessage()
        for marker, event in MARKERS.items():
            if message.startswith(marker):
                told["event"], message = event, message.removeprefix(marker).lstrip()
        told["message"] = _bounded(message)
        told |= {name: getattr(record, name) for name in FIELDS if getattr(record, name, None)}
        if traced := trace_id():
            told["trace_id"] = traced
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)[-MAX_TRACEBACK_CHARS:]
        return json.dumps(told, default=str)


def _bounded(text: str) -> str:
    if len(text) <= MAX_MESSAGE_CHARS:
        return text
    return f"{text[:MAX_MESSAGE_CHARS]}… ({len(text)} characters)"


def writes_json() -> bool:
    """Whether the environment asks for JSON."""
    return os.environ.get("CUTMV_LOG_FORMAT", "").strip().lower() == "json"


def set_up_logging(level: int = logging.INFO) -> None:
    """Log to standard error from `level` up. Celery does this by itself in its workers."""
    logging.basicConfig(level=level)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(JsonLines() if writes_json() else OneLine(FORMAT))
    keep_secrets()


def use_json(logger: logging.Logger) -> None:
    """Have a logger that others have set up write JSON, where that is asked for."""
    for handler in logger.handlers if writes_json() else ():
        handler.setFormatter(JsonLines())


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
