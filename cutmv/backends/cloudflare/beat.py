"""A scheduler for beat of which several may run, and one at a time works: `Scheduler`.

    celery -A tasks beat -S cloudflare

Each beat asks for a lease at the edge Worker. Who has it renews it and runs the schedule; the
others wait for it. When each entry ran last is kept there, so that the next one goes on where the
last one was: no run is done twice, and none that came due meanwhile is missed.

The Worker lets the holder of the lease alone begin a run. A run is begun before its message is
sent, and committed after. Its task's id is made of the schedule, the entry and when the entry ran
before: a holder that died in between leaves a run that its heir sends again, under the same id.
"""

from __future__ import annotations

import copy
import json
import logging
import os
import socket
import time
from datetime import datetime
from importlib import import_module
from typing import Any
from uuid import NAMESPACE_URL, uuid4, uuid5

from cutmv.backends.cloudflare.connection import connection_to
from cutmv.backends.cloudflare.finding import find_edge
from cutmv.backends.cloudflare.notes import read_notes
from cutmv.transports.cloudflare.errors import CloudflareError

_Scheduler: Any = import_module("celery.beat").Scheduler

logger = logging.getLogger(__name__)

#: Seconds of the lease: after those another beat takes over from one that died.
LEASE = 30

#: Seconds between two renewals, and between two questions for another's lease.
RENEW_EVERY, ASK_EVERY = 10.0, 5.0

#: Seconds for which the last run of an entry is kept: longer than any schedule's interval.
KEPT_FOR = 5 * 366 * 86_400


class Scheduler(_Scheduler):
    """Runs the schedule while it has the lease of its app's beat.

    The lease is that of the app's name (``app.main``), behind ``global_keyprefix``.
    """

    #: Seconds: the lease has to be renewed.
    max_interval = RENEW_EVERY

    def __init__(self, app: Any, *args: Any, **kwargs: Any) -> None:
        self._edge = find_edge(app.conf)
        options = app.conf.get("result_backend_transport_options") or {}
        self._key = f"{options.get('global_keyprefix') or ''}celery-beat:{app.main or 'celery'}"
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"
        self._held = False
        self._ask_at = 0.0
        self._sent: dict[str, str] = {}  # by entry: the last run that this beat sent
        kwargs["max_interval"] = min(kwargs.get("max_interval") or RENEW_EVERY, RENEW_EVERY)
        super().__init__(app, *args, **kwargs)

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Run what is due if this beat has the lease; return the seconds until the next look."""
        try:
            if not self._hold():
                return ASK_EVERY
        except CloudflareError as error:
            logger.warning("beat: nothing runs until the edge Worker answers: %s", error)
            self._held = False
            return ASK_EVERY
        seconds: float = super().tick(*args, **kwargs)
        return max(0.0, min(seconds, self._ask_at - time.monotonic()))

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        """Send a run that is due, if the Worker lets this beat begin it."""
        after = self.schedule[entry.name]
        run = {"member": entry.name, "value": _written(after)}
        try:
            begun = self._held and self._perform("begin", seconds=KEPT_FOR, **run)["done"]
        except CloudflareError as error:
            logger.warning("beat: %s does not run: %s", entry.name, error)
            begun = False
        if not begun:
            self._held, self._ask_at = False, 0.0  # and read, with the lease, what ran last
            return
        sent = copy.copy(entry)
        sent.options = {"task_id": self._run_id(entry), **entry.options}
        super().apply_entry(sent, producer=producer)
        self._sent[entry.name] = run["value"]
        try:
            self._perform("commit", member=entry.name)
        except CloudflareError as error:
            logger.warning("beat: %s was sent, which is not noted: %s", entry.name, error)

    def close(self) -> None:
        """Give the lease to another beat."""
        try:
            if self._held:
                self._held = False
                self._perform("release")
        except CloudflareError as error:
            logger.warning("beat: the lease ends in %d s: %s", LEASE, error)
        finally:
            super().close()

    @property
    def info(self) -> str:
        """Where the lease is, for beat's banner."""
        return f"    . lease -> {self._key}"

    def _hold(self) -> bool:
        """Take or renew the lease, if it is time to; return whether this beat has it."""
        now = time.monotonic()
        if now < self._ask_at:
            return self._held
        left = self._perform("lease", seconds=LEASE)["left"]
        had, self._held = self._held, not left
        self._ask_at = now + (RENEW_EVERY if self._held else ASK_EVERY)
        if self._held and not had:
            self._resume()
            logger.info("beat: this one has the lease %s", self._key)
        elif had and not self._held:
            logger.warning("beat: another one has the lease %s", self._key)
        return self._held

    def _resume(self) -> None:
        """Go on where the last holder of the lease was."""
        calls = connection_to(*self._edge).calls
        first = {"op": "note", "key": self._key, "seconds": KEPT_FOR, "first": True}
        notes = [
            {**first, "member": entry.name, "value": _written(entry)}
            for entry in self.schedule.values()
        ]
        calls.perform(notes)
        for name, committed, begun in read_notes(calls, self._key):
            entry, value = self.schedule.get(name), committed
            if begun is not None and begun == self._sent.get(name):
                self._perform("commit", member=name)  # the Worker was away when it was sent
                value = begun
            if entry is not None:
                told = json.loads(value)
                entry.last_run_at = datetime.fromisoformat(told["last_run_at"])
                entry.total_run_count = int(told["total_run_count"])
        self._heap = None  # is made anew

    def _run_id(self, entry: Any) -> str:
        """Return the id of the task of an entry's next run: whichever beat sends it."""
        last = entry.last_run_at.isoformat()
        return str(uuid5(NAMESPACE_URL, f"{self._key}\n{entry.name}\n{last}"))

    def _perform(self, op: str, **fields: Any) -> Any:
        calls = connection_to(*self._edge).calls
        told = {"op": op, "key": self._key, "owner": self._owner, **fields}
        (answer,) = calls.perform([told], patience=LEASE / 2)
        return answer


def _written(entry: Any) -> str:
    """Return what is kept of an entry: when it ran last, and how often."""
    return json.dumps(
        {"last_run_at": entry.last_run_at.isoformat(), "total_run_count": entry.total_run_count}
    )
