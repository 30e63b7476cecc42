"""The tables, and the connection to the file that holds them.

A message row is in one of three states, which its columns alone tell, so no timer has to change it:
delayed (`visible_ms` in the future, `leased_ms` null), waiting (`visible_ms` in the past), leased
(`visible_ms` in the future, `leased_ms` set). Triggers keep the count of each queue's backlog,
since to count it for each response would take longer the longer the backlog is.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

#: Seconds to wait for another emulator to close the file.
_LOCK_TIMEOUT_S = 2

#: NORMAL syncs at checkpoints only: committed work survives the process's death, but not a power
#: cut, which no test can cause. EXCLUSIVE keeps a second emulator from opening the file.
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
    consumer_id TEXT PRIMARY KEY,
    queue_id TEXT NOT NULL REFERENCES queues ON DELETE CASCADE,
    created_ms INTEGER NOT NULL,
    type TEXT NOT NULL,
    settings TEXT NOT NULL,
    dead_letter_queue TEXT NOT NULL,
    script_name TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS consumers_by_queue ON consumers (queue_id, created_ms);
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
CREATE TABLE IF NOT EXISTS notification_rules (
    rule_id TEXT PRIMARY KEY,
    bucket TEXT NOT NULL,
    queue_id TEXT NOT NULL REFERENCES queues ON DELETE CASCADE,
    created_ms INTEGER NOT NULL,
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
    """Open the file for this process alone, and create it if it is missing.

    The connection is in autocommit mode: the code that groups calls begins and ends transactions.
    Error: sqlite3.Error when another emulator uses the file, or it is no database.
    """
    # One thread may open and close the connection, and another use it; no two use it at once.
    db = sqlite3.connect(
        path, timeout=_LOCK_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    try:
        db.executescript(_PRAGMAS + _SCHEMA)
    except sqlite3.Error:
        db.close()
        raise
    return db
