"""Notes that outlive the processes which make them: revoked tasks, and rate limits.

``app.control.revoke`` and ``app.control.rate_limit`` reach the workers that run. What they say is
noted at the Worker, too, and a worker that starts later reads it before it takes a task.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from celery import signals
from celery.exceptions import ImproperlyConfigured
from celery.utils.functional import maybe_list

from cutmv.backends.cloudflare.calls import Calls
from cutmv.transports.cloudflare.errors import CloudflareError

logger = logging.getLogger(__name__)

#: Seconds for which a task stays revoked: no queue of Cloudflare's keeps a message for longer.
REVOKED_FOR = 14 * 86_400

#: The keys of the notes, behind the app's prefix.
REVOKED, RATE_LIMITS = "celery-revoked", "celery-rate-limits"


class Notes:
    """An app's notes, by the calls of its backend; `prefix` is before their keys."""

    def __init__(self, calls: Calls, prefix: str) -> None:
        self._calls, self._prefix = calls, prefix

    def keep(self, command: str, arguments: Mapping[str, Any]) -> None:
        """Note a command of remote control, if it is one that later workers obey."""
        if command == "revoke":
            ids = [str(each) for each in maybe_list(arguments["task_id"]) or ()]
            self._note(REVOKED, dict.fromkeys(ids, ""), REVOKED_FOR)
        elif command == "rate_limit":
            limit = str(arguments["rate_limit"] or 0)
            self._note(RATE_LIMITS, {arguments["task_name"]: limit}, 0)

    def revoked(self) -> list[str]:
        """Return the ids of revoked tasks."""
        return [member for member, _ in self._read(REVOKED)]

    def rate_limits(self) -> dict[str, str]:
        """Return the rate limits that were set, by the name of their task."""
        return dict(self._read(RATE_LIMITS))

    def _note(self, kind: str, values: Mapping[str, str], seconds: int) -> None:
        common = {"op": "note", "key": self._prefix + kind, "seconds": seconds, "first": False}
        self._calls.perform(
            [{**common, "member": member, "value": value} for member, value in values.items()]
        )

    def _read(self, kind: str) -> Iterator[tuple[str, str]]:
        for member, value, _ in read_notes(self._calls, self._prefix + kind):
            yield member, value


def read_notes(calls: Calls, key: str) -> Iterator[tuple[str, str, str | None]]:
    """Yield the notes of a key: their names, values, and what was begun and not committed."""
    after = ""
    while True:
        (answer,) = calls.perform([{"op": "notes", "key": key, "after": after}])
        for note in answer["notes"]:
            yield note[0], note[1], note[2]
            after = note[0]
        if not answer["notes"]:
            return


def _obey(sender: Any, **_: Any) -> None:
    """Have a worker that begins to take tasks obey what was noted before it started."""
    notes = getattr(sender.app.backend, "notes", None)
    if notes is None:
        return
    try:
        revoked, limits = notes.revoked(), notes.rate_limits()
    except ImproperlyConfigured as error:
        logger.critical("%s", error)
        raise SystemExit(1) from None
    except CloudflareError as error:
        logger.warning(
            "cloudflare: revoked tasks and rate limits of before this worker's start are not "
            "known to it: %s",
            error,
        )
        return
    from celery.worker import state  # heavy, and there in a worker

    state.revoked.update(revoked)
    for name, limit in limits.items():
        if name in sender.app.tasks:
            sender.app.tasks[name].rate_limit = None if limit == "0" else limit
    if limits:
        sender.reset_rate_limits()
    if revoked or limits:
        logger.info("cloudflare: %d revoked tasks, %d rate limits", len(revoked), len(limits))


signals.worker_ready.connect(_obey, dispatch_uid="cloudflare-notes")
