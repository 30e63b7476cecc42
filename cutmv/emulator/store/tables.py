"""The tables, and the connection to the file that holds them.

A message row is in one of three states, told by its columns alone, so no timer moves it: delayed
(`visible_ms` ahead, `leased_ms` null), waiting (`visible_ms` past), leased (`visible_ms` ahead,
`leased_ms` set). Triggers keep each queue's backlog counted, because counting it anew would make
every answer as slow as the backlog is long.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

#: Seconds to wait for another emulator to let go of the file.
_LOCK_TIMEOUT_S = 2

#: NORMAL syncs at checkpoints only: what was committed survives the process's death, not a
#: power cut, which no test of ours can make. EXCLUSIVE keeps a second emulator off the file.
_PRAGMAS = """
PRAGMA locking_mode = EXCLUSIVE;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
PRAGMA foreign_keys = ON;
PRAGMA temp_store = MEMORY;
"""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS queues (
    queue_id TEXT PRIMARY KEY,
    queue_name TEXT NOT NULL UNIQUE,
    jurisdiction TEXT,
    created_ms INTEGER NOT NULL,
    modified_ms INTEGER NOT NULL,
    delivery_delay INTEGER NOT NULL,
    delivery_paused INTEGER NOT NULL,
    message_retention_period INTEGER NOT NULL,
    backlog_count INTEGER NOT NULL DEFAULT 0,
    backlog_bytes INTEGER NOT NULL DEFAULT 0,
    purged_ms INTEGER
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS consumers (
    queue_id TEXT PRIMARY KEY REFERENCES queues ON DELETE CASCADE,
    consumer_id TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    type TEXT NOT NULL,
    settings TEXT NOT NULL,
    dead_letter_queue TEXT NOT NULL,
    script_name TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS consumers_by_dead_letter_queue ON consumers (dead_letter_queue);
CREATE TABLE IF NOT EXISTS messages (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    queue_id TEXT NOT NULL,
    message_id TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    visible_ms INTEGER NOT NULL,
    leased_ms INTEGER,
    attempts INTEGER NOT NULL,
    is_copy INTEGER NOT NULL,
    content_type TEXT NOT NULL,
    size INTEGER NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS messages_by_visibility ON messages (queue_id, visible_ms);
CREATE INDEX IF NOT EXISTS messages_by_age ON messages (queue_id, created_ms);
CREATE INDEX IF NOT EXISTS messages_by_attempts ON messages (queue_id, attempts)
    WHERE attempts > 0;
CREATE TABLE IF NOT EXISTS subscriptions (
    subscription_id TEXT PRIMARY KEY,
    created_ms INTEGER NOT NULL,
    modified_ms INTEGER NOT NULL,
    document TEXT NOT NULL
) WITHOUT ROWID;
CREATE TRIGGER IF NOT EXISTS count_in AFTER INSERT ON messages BEGIN
    UPDATE queues SET backlog_count = backlog_count + 1, backlog_bytes = backlog_bytes + new.size
    WHERE queue_id = new.queue_id;
END;
CREATE TRIGGER IF NOT EXISTS count_out AFTER DELETE ON messages BEGIN
    UPDATE queues SET backlog_count = backlog_count - 1, backlog_bytes = backlog_bytes - old.size
    WHERE queue_id = old.queue_id;
END;
CREATE TRIGGER IF NOT EXISTS count_over AFTER UPDATE OF queue_id ON messages BEGIN
    UPDATE queues SET backlog_count = backlog_count - 1, backlog_bytes = backlog_bytes - old.size
    WHERE queue_id = old.queue_id;
    UPDATE queues SET backlog_count = backlog_count + 1, backlog_bytes = backlog_bytes + new.size
    WHERE queue_id = new.queue_id;
END;
"""


def connect(path: Path | str) -> sqlite3.Connection:
    """Open the file, made when missing, for this process alone.

    In autocommit: transactions are begun and ended by whoever groups the calls. Error:
    sqlite3.Error when the file is another emulator's, or no database.
    """
    # Another thread may open and close it than serves; no two use it at once.
    db = sqlite3.connect(
        path, timeout=_LOCK_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    try:
        db.executescript(_PRAGMAS + _SCHEMA)
    except sqlite3.Error:
        db.close()
        raise
    return db
