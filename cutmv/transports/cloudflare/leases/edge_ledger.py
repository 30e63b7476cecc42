"""The lease ledger that the edge Worker keeps, in Durable Objects (docs/edge.md)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from cutmv.transports.cloudflare.errors import (
    CloudflareError,
    LedgerRefused,
    LedgerUnavailable,
    NotFound,
)
from cutmv.transports.cloudflare.leases.ledger import Entry, Record
from cutmv.transports.cloudflare.messages.object_keys import lease_key

#: The Worker's calls.
READ, WRITE, ACCEPT = "/v1/ledger/read", "/v1/ledger/write", "/v1/ledger/accept"

#: Makes a signed call of a path to the Worker, and returns its JSON; raises a `CloudflareError`.
Ask = Callable[[str, Mapping[str, Any]], Mapping[str, Any]]


class EdgeLedger:
    """Records that the edge Worker keeps, and replaces by compare-and-set. See `Ledger`."""

    def __init__(self, ask: Ask, close: Callable[[], None] = lambda: None) -> None:
        self._ask, self._close = ask, close

    def read(self, key: str) -> Record | None:
        """Return the record of a message."""
        found = self._asked(READ, {"key": lease_key(key)}).get("record")
        if found is None:
            return None
        try:
            return Record(
                Entry(**found["entry"]), max(0.0, float(found["age"])), str(found["version"])
            )
        except (TypeError, ValueError, KeyError):
            raise LedgerUnavailable("lease ledger of the edge Worker: a record is none") from None

    def write(self, key: str, entry: Entry, version: str | None) -> str | None:
        """Replace a record; see `Ledger`."""
        written = {"key": lease_key(key), "entry": asdict(entry), "version": version}
        answer = self._asked(WRITE, written)
        new = answer.get("version", "")
        if new is None or (isinstance(new, str) and new):
            return new
        raise LedgerUnavailable("lease ledger of the edge Worker: its answer is none to a write")

    def accept(self, request_id: str) -> bool:
        """Note that a signed request is used; see `Ledger`."""
        accepted = self._asked(ACCEPT, {"id": request_id}).get("accepted")
        if isinstance(accepted, bool):
            return accepted
        raise LedgerUnavailable("lease ledger of the edge Worker: its answer is none to an id")

    def close(self) -> None:
        """Close the connections."""
        self._close()

    def _asked(self, path: str, document: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            return self._ask(path, document)
        except NotFound as error:  # a Worker of a version without a ledger, or none
            raise LedgerRefused(f"lease ledger of the edge Worker: {error}") from error
        except CloudflareError as error:
            raise LedgerUnavailable(f"lease ledger of the edge Worker: {error}") from error
