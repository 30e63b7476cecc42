"""All the SQL: what is configured (`registry`) and what is queued (`messages`), in `tables`.

Synchronous, one connection, used by one thread. `Registry` and `Messages` neither begin nor commit:
whoever calls them does, so that many calls share one transaction. Time comes in through `now_ms`,
so that a test may turn the clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cutmv.emulator.store.messages import Messages
from cutmv.emulator.store.registry import Registry
from cutmv.emulator.store.tables import connect

__all__ = ["Messages", "Registry", "Store"]


class Store:
    """One file: its `registry` and its `messages`, and the transactions around both."""

    def __init__(self, path: Path | str, now_ms: Callable[[], int]) -> None:
        self._db = connect(path)
        self.registry = Registry(self._db, now_ms)
        self.messages = Messages(self._db, now_ms, self.registry)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit at the end, or undo everything when it raises."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Inside a transaction: undo this piece alone when it raises, if that can be done."""
        self._db.execute("SAVEPOINT piece")
        try:
            yield
        except BaseException:
            if self.in_transaction:
                self._db.execute("ROLLBACK TO piece")
                self._db.execute("RELEASE piece")
            raise
        self._db.execute("RELEASE piece")

    @property
    def in_transaction(self) -> bool:
        """Whether one is open. SQLite ends it by itself, undone, when the disk is full."""
        return self._db.in_transaction

    def reset(self) -> None:
        """Remove everything."""
        for table in ("messages", "consumers", "queues", "subscriptions"):
            self._db.execute(f"DELETE FROM {table}")  # noqa: S608  # names of our own

    def close(self) -> None:
        """Fold the write-ahead log into the file, and let go of it."""
        self._db.close()
