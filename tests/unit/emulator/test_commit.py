"""Many requests, one transaction: all of it on file before any is answered, or none."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from cutmv.emulator.errors import ApiError, unknown_error
from cutmv.emulator.model import Metrics, NewMessage
from cutmv.emulator.store import Store
from cutmv.emulator.store.commit import GroupCommit


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "db", lambda: 1_800_000_000_000)
    yield store
    store.close()


@pytest.fixture
def queue_id(store: Store) -> str:
    return store.registry.create_queue("work").queue_id


def test_calls_that_arrive_together_share_a_commit_and_are_answered_after_it(
    store: Store, queue_id: str
) -> None:
    seen: list[str] = []

    async def push_many() -> None:
        commits = GroupCommit(store)

        async def push() -> None:
            await commits.run(lambda s: s.messages.push(queue_id, [NewMessage(b"a", "text", 0)]))
            seen.append("answer")

        await asyncio.gather(*(push() for _ in range(50)))

    store._db.set_trace_callback(lambda sql: seen.append(sql) if sql == "COMMIT" else None)
    asyncio.run(push_many())
    assert seen == ["COMMIT"] + ["answer"] * 50


def test_a_call_that_fails_is_undone_alone(store: Store, queue_id: str) -> None:
    def push(each: Store) -> Metrics:
        return each.messages.push(queue_id, [NewMessage(b"a", "text", 0)])

    def push_and_fail(each: Store) -> None:
        push(each)
        raise unknown_error(500)

    async def run_three() -> list[object]:
        commits = GroupCommit(store)
        calls = [commits.run(work) for work in (push, push_and_fail, push)]
        return await asyncio.gather(*calls, return_exceptions=True)

    first, failed, last = asyncio.run(run_three())
    assert isinstance(failed, ApiError)
    assert (first, last) == (Metrics(1, 1, first.oldest_ms), Metrics(2, 2, first.oldest_ms))
    assert store.messages.backlogs() == {"work": 2}


def test_when_a_full_disk_undoes_the_transaction_no_one_is_told_that_it_worked(
    store: Store, queue_id: str
) -> None:
    def push(each: Store) -> Metrics:
        return each.messages.push(queue_id, [NewMessage(b"a", "text", 0)])

    def fill(each: Store) -> None:
        each._db.execute("INSERT INTO scrap VALUES (zeroblob(1000000))")

    async def run_three() -> list[object]:
        commits = GroupCommit(store)
        calls = [commits.run(work) for work in (push, fill, push)]
        return await asyncio.gather(*calls, return_exceptions=True)

    # SQLite undoes all, and not the one statement, where no trigger made it keep a journal of that.
    store._db.execute("CREATE TABLE scrap (a)")
    [pages] = store._db.execute("PRAGMA page_count").fetchone()
    store._db.execute(f"PRAGMA max_page_count = {pages + 20}")
    outcomes = asyncio.run(run_three())
    assert [type(each) for each in outcomes] == [sqlite3.OperationalError] * 3
    assert store.messages.backlogs() == {"work": 0}
