"""A lease ledger that no option names: it may be silent at first, and its key may change."""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from cutmv.transports.cloudflare.errors import LedgerRefused, LedgerUnavailable
from cutmv.transports.cloudflare.leases.ledger import Entry, Ledger, Record
from cutmv.transports.cloudflare.runtime import run_aside
from cutmv.transports.cloudflare.troubles import shown

logger = logging.getLogger(__name__)

#: Seconds between two openings: of a ledger that does not answer, and of one that refuses a key.
OPEN_AGAIN, KEY_AGAIN = 5.0, 30.0

_T = TypeVar("_T")


class SoughtLedger:
    """A ledger that is opened by its first use, and again when it refuses its key. See `Ledger`.

    `opened` opens it; it returns none, or the ledger raises `LedgerRefused`, where it is not there.
    After `keep` it is opened aside, since that may take long, and `on_refused` is called, once,
    where the first answer ever says that it is not there. Then nobody has records there: it is
    empty, and takes each write.
    """

    def __init__(
        self, name: str, opened: Callable[[], Ledger | None], on_refused: Callable[[str], object]
    ) -> None:
        self._name = name
        self._opened = opened
        self._on_refused = on_refused
        self._lock = threading.Lock()
        self._ledger: Ledger | None = None
        self._opened_at = self._open_at = -math.inf  # when it was; no sooner is it opened again
        self._trouble = LedgerUnavailable(f"{name} was not opened yet")
        self._kept = self._heard = self._absent = False

    def keep(self, heard: bool) -> None:
        """Have the ledger waited for from now on; `heard` tells whether it has answered."""
        self._kept, self._heard = True, heard

    def read(self, key: str) -> Record | None:
        """Return the record of a message."""
        return self._asked(lambda ledger: ledger.read(key), None)

    def write(self, key: str, entry: Entry, version: str | None) -> str | None:
        """Replace a record; see `Ledger`."""
        absent: str | None = "absent"
        return self._asked(lambda ledger: ledger.write(key, entry, version), absent)

    def accept(self, request_id: str) -> bool:
        """Note that a signed request is used; see `Ledger`."""
        return self._asked(lambda ledger: ledger.accept(request_id), True)

    def close(self) -> None:
        """Close the connections."""
        ledger = self._ledger
        if ledger is not None:
            with contextlib.suppress(Exception):
                ledger.close()

    def _asked(self, ask: Callable[[Ledger], _T], if_absent: _T) -> _T:
        """Return the ledger's answer, or `if_absent` where it turned out not to be there."""
        try:
            if self._absent:
                return if_absent
            ledger = self._open()
            try:
                answer = ask(ledger)
            except LedgerRefused:
                self._drop(ledger)
                raise
        except LedgerRefused as error:
            if self._heard or not self._kept:
                raise
            self._note_absent(error)
            return if_absent
        if self._kept and not self._heard:
            self._heard = True
            logger.info("cloudflare: the lease ledger answers: %s", self._name)
        return answer

    def _open(self) -> Ledger:
        with self._lock:
            ledger = self._ledger
            if ledger is not None:
                return ledger
            trouble = type(self._trouble)(str(self._trouble))  # threads must not share it
            due = time.monotonic() >= self._open_at
            if due:
                self._open_at = time.monotonic() + OPEN_AGAIN
        if not due:
            raise trouble
        if self._kept:
            run_aside("ledger-opener", self._try_to_open)
            raise trouble
        self._try_to_open()
        if self._ledger is None:
            raise self._trouble
        return self._ledger

    def _try_to_open(self) -> None:
        ledger: Ledger | None = None
        try:
            ledger = self._opened()
            trouble: LedgerUnavailable = LedgerRefused(f"{self._name} is not there")
        except LedgerUnavailable as error:
            trouble = error
        except Exception as error:  # of whatever kind: a worker starts all the same
            trouble = LedgerUnavailable(shown(error))
        with self._lock:
            self._ledger, self._trouble = ledger, trouble
            if ledger is not None:
                self._opened_at = time.monotonic()

    def _drop(self, ledger: Ledger) -> None:
        """Have the ledger opened again, by the key that is valid by now."""
        with self._lock:
            if self._ledger is ledger:
                self._ledger = None
                self._trouble = LedgerUnavailable(f"{self._name} is opened again")
                self._open_at = self._opened_at + KEY_AGAIN

    def _note_absent(self, error: LedgerRefused) -> None:
        with self._lock:
            if self._absent:
                return
            self._absent = True
        self._on_refused(f"there is no lease ledger in {self._name} after all ({error})")
