"""Group commit: runs the work of many requests in one SQLite transaction.

Each turn of the event loop gathers the work of all requests that became ready in it, runs it in one
transaction, and wakes the requests only after the commit: a response means that the work is in the
file. Each piece of work runs in its own savepoint, so a piece that fails undoes no other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from cutmv.emulator.store import Store

T = TypeVar("T")


@dataclass(frozen=True)
class _Piece:
    work: Callable[[Store], Any]
    done: asyncio.Future[Any]


class GroupCommit:
    """Runs work on the store, in the event loop's thread, in one transaction for each turn."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: list[_Piece] = []

    async def run(self, work: Callable[[Store], T]) -> T:
        """Return the result of `work` once it is committed; raise its error once it is undone."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._flush)
        self._waiting.append(_Piece(work, done))
        return await done

    def _flush(self) -> None:
        pieces, self._waiting = self._waiting, []
        try:
            with self._store.transaction():
                outcomes = [self._attempt(piece.work) for piece in pieces]
        except Exception as error:  # the disk is full, say: none of the work was done
            outcomes = [error] * len(pieces)
        for piece, outcome in zip(pieces, outcomes, strict=True):
            if piece.done.done():  # the request was cancelled
                continue
            if isinstance(outcome, Exception):
                piece.done.set_exception(outcome)
            else:
                piece.done.set_result(outcome)

    def _attempt(self, work: Callable[[Store], Any]) -> Any:
        """Return the result of the work, or the exception that it raised."""
        try:
            with self._store.savepoint():
                return work(self._store)
        except Exception as error:
            if not self._store.in_transaction:  # the work before it is undone as well
                raise
            return error
