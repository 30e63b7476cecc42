"""All the SQL: queues and their settings (`registry`), messages (`messages`), and the `tables`.

The store is synchronous, has one connection, and is used by one thread. `Registry` and `Messages`
neither begin nor commit a transaction: their caller does, so that many calls share one. The caller
passes in the clock (`now_ms`), so that a test can set it.
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
    """One file: its `registry`, its `messages`, and the transactions around both."""

    def __init__(self, path: Path | str, now_ms: Callable[[], int]) -> None:
        self._db = connect(path)
        self.registry = Registry(self._db, now_ms)
        self.messages = Messages(self._db, now_ms, self.registry)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit the block's work at its end, or undo all of it when the block raises."""
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
        """Inside a transaction, undo only this block's work when it raises, if possible."""
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
        """Whether a transaction is open. SQLite itself undoes and ends it when the disk is full."""
        return self._db.in_transaction

    def reset(self) -> None:
        """Remove everything."""
        for table in ("messages", "consumers", "notification_rules", "queues", "subscriptions"):
            self._db.execute(f"DELETE FROM {table}")  # noqa: S608  # names of our own

    def close(self) -> None:
        """Write the write-ahead log into the file, and close it."""
        self._db.close()
