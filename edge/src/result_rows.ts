/**
 * The results of one object, in its SQLite: a value by its key, who waits for it, and the objects
 * of the bucket that hold the values which are too large for a row.
 *
 * All times are in milliseconds. What has ended at `now` is not there, whether or not it was swept.
 */

import { MAX_SWEPT_OBJECTS, WATCH_S } from "./limits.ts";

/** The first character of a value that stands for an object of the bucket, before its name. */
const LARGE = "r";

export interface Put {
  op: "put";
  key: string;
  value: string;
  /** Whether nobody needs to wait any longer. */
  ready: boolean;
  /** Whether no later value may replace it. */
  final: boolean;
  /** Seconds to keep it; 0 for ever. */
  seconds: number;
}

/** Who waits for a result: a queue of a client of the hub. */
export interface Waiter {
  scope: string;
  queue: string;
}

/** A value for those who waited for it. */
export interface News {
  key: string;
  value: string;
  waiters: Waiter[];
}

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS results (
    key TEXT PRIMARY KEY, value TEXT NOT NULL, ready INTEGER NOT NULL, final INTEGER NOT NULL,
    ends INTEGER
  ) WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS results_ends ON results (ends) WHERE ends IS NOT NULL;
  CREATE TABLE IF NOT EXISTS waiters (
    key TEXT, scope TEXT, queue TEXT, ends INTEGER NOT NULL, PRIMARY KEY (key, scope, queue)
  ) WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS waiters_ends ON waiters (ends);
  CREATE TABLE IF NOT EXISTS large (name TEXT PRIMARY KEY, ends INTEGER) WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS large_ends ON large (ends) WHERE ends IS NOT NULL;
  CREATE TABLE IF NOT EXISTS calls (id TEXT PRIMARY KEY, ends INTEGER NOT NULL) WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS calls_ends ON calls (ends);
`;

/** Return when what is kept for so many seconds from now ends; null where it never does. */
export function endOf(seconds: number, now: number): number | null {
  return seconds ? now + seconds * 1000 : null;
}

export class ResultRows {
  private readonly sql: SqlStorage;

  constructor(storage: DurableObjectStorage) {
    this.sql = storage.sql;
    this.sql.exec(SCHEMA);
  }

  /** Note that a signed call is used, until `ends`. Return false if it was used before. */
  use(id: string, ends: number): boolean {
    const insert = "INSERT INTO calls VALUES (?, ?) ON CONFLICT DO NOTHING RETURNING id";
    return this.sql.exec(insert, id, ends).toArray().length > 0;
  }

  /** Keep a value, unless a final one is there. Return whom to tell; null where it was not kept. */
  put({ key, value, ready, final, seconds }: Put, now: number): News | null {
    const [former] = this.sql
      .exec("SELECT value, final, ends FROM results WHERE key = ?", key)
      .toArray();
    const there = former && (former["ends"] === null || (former["ends"] as number) > now);
    if (there && former["final"]) return null;
    if (former && former["value"] !== value) this.release(former["value"] as string);
    const ends = endOf(seconds, now);
    this.sql.exec(
      `INSERT INTO results VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (key) DO UPDATE
      SET value = ?2, ready = ?3, final = ?4, ends = ?5`,
      key,
      value,
      Number(ready),
      Number(final),
      ends,
    );
    this.hold(value, ends);
    const waiters = this.sql
      .exec("SELECT scope, queue FROM waiters WHERE key = ? AND ends > ?", key, now)
      .toArray()
      .map((row) => ({ scope: row["scope"] as string, queue: row["queue"] as string }));
    if (ready) this.sql.exec("DELETE FROM waiters WHERE key = ?", key);
    return { key, value, waiters };
  }

  get(key: string, now: number): { value: string; ready: boolean } | null {
    const [row] = this.sql
      .exec(
        "SELECT value, ready FROM results WHERE key = ? AND (ends IS NULL OR ends > ?)",
        key,
        now,
      )
      .toArray();
    return row ? { value: row["value"] as string, ready: Boolean(row["ready"]) } : null;
  }

  /** Return a value, and tell a client of those to come, unless there are none to come. */
  watch(key: string, { scope, queue }: Waiter, now: number): string | null {
    const found = this.get(key, now);
    if (!found?.ready) {
      const ends = now + WATCH_S * 1000;
      this.sql.exec("INSERT OR REPLACE INTO waiters VALUES (?, ?, ?, ?)", key, scope, queue, ends);
    }
    return found?.value ?? null;
  }

  delete(key: string): void {
    const rows = this.sql.exec("DELETE FROM results WHERE key = ? RETURNING value", key).toArray();
    for (const { value } of rows) this.release(value as string);
  }

  expire(key: string, seconds: number, now: number): void {
    const ends = endOf(seconds, now);
    const rows = this.sql
      .exec(
        "UPDATE results SET ends = ? WHERE key = ? AND (ends IS NULL OR ends > ?) RETURNING value",
        ends,
        key,
        now,
      )
      .toArray();
    for (const { value } of rows) this.hold(value as string, ends);
  }

  /** Note an object of the bucket before it is written. */
  expect(name: string, ends: number): void {
    this.sql.exec("INSERT INTO large VALUES (?, ?)", name, ends);
  }

  /** Keep the object that a value may stand for as long as the value. */
  hold(value: string, ends: number | null): void {
    if (value.startsWith(LARGE)) {
      this.sql.exec("INSERT OR REPLACE INTO large VALUES (?, ?)", value.slice(1), ends);
    }
  }

  /** Have the next sweep delete the object that a value may stand for. */
  release(value: string): void {
    this.hold(value, 0);
  }

  /** Delete the rows that have ended; their objects of the bucket follow. */
  sweep(now: number): void {
    for (const table of ["results", "waiters", "calls"]) {
      this.sql.exec(`DELETE FROM ${table} WHERE ends <= ?`, now);
    }
  }

  /** Return objects of the bucket that nobody needs any more. */
  unneeded(now: number): string[] {
    const rows = this.sql.exec(
      "SELECT name FROM large WHERE ends <= ? LIMIT ?",
      now,
      MAX_SWEPT_OBJECTS,
    );
    return rows.toArray().map(({ name }) => name as string);
  }

  /** Note that objects of the bucket are deleted. */
  gone(names: string[]): void {
    for (const name of names) this.sql.exec("DELETE FROM large WHERE name = ?", name);
  }

  /** Return when the first row ends, or null where none ever does. */
  firstEnd(): number | null {
    const ends = ["results", "waiters", "large", "calls"].map((table) => {
      const [row] = this.sql.exec(`SELECT min(ends) AS ends FROM ${table}`).toArray();
      return row!["ends"] as number | null;
    });
    return ends.reduce((first, each) => (first === null || (each ?? first) < first ? each : first));
  }
}
