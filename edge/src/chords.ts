/**
 * The chords of one object, in its SQLite: how many parts a chord's header has, which of them have
 * returned, and who publishes its body.
 *
 * A part counts once, whatever returns it again. When all are there, one caller gets the claim to
 * publish the body; the claim ends after a time, so that another can where that one died. Once the
 * body is published, the chord is done, and later parts change nothing.
 */

import { MAX_ANSWER } from "./limits.ts";
import { endOf, type ResultRows } from "./result_rows.ts";

export interface Part {
  op: "part";
  key: string;
  /** The part's name. */
  member: string;
  /** The part's place among the others; null for the end. */
  place: number | null;
  value: string;
  /** Seconds to keep what is noted of the chord; 0 for ever. */
  seconds: number;
  /** Who claims the body, and for how many seconds. */
  token: string;
  claim_seconds: number;
}

export interface Counted {
  count: number;
  total: number | null;
  claimed: boolean;
  done: boolean;
  /** Seconds until another's claim ends; 0 where there is none. */
  claim_left: number;
}

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS chords (
    key TEXT PRIMARY KEY, size INTEGER, added INTEGER NOT NULL DEFAULT 0,
    count INTEGER NOT NULL DEFAULT 0, claim TEXT, claim_ends INTEGER,
    done INTEGER NOT NULL DEFAULT 0, ends INTEGER
  ) WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS chords_ends ON chords (ends) WHERE ends IS NOT NULL;
  CREATE TABLE IF NOT EXISTS parts (
    key TEXT, member TEXT, place REAL, seq INTEGER, value TEXT NOT NULL, PRIMARY KEY (key, member)
  ) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS additions (
    key TEXT, id TEXT, PRIMARY KEY (key, id)
  ) WITHOUT ROWID;
`;

type Row = Record<string, SqlStorageValue>;

export class Chords {
  private readonly sql: SqlStorage;
  private readonly rows: ResultRows;

  constructor(storage: DurableObjectStorage, rows: ResultRows) {
    this.sql = storage.sql;
    this.rows = rows;
    this.sql.exec(SCHEMA);
  }

  /** Set how many parts a chord has, which begins it anew where it is done. */
  resize(key: string, size: number, seconds: number, now: number): void {
    this.touch(key, seconds, now);
    this.sql.exec(
      "UPDATE chords SET size = ?, claim = NULL, claim_ends = NULL, done = 0 WHERE key = ?",
      size,
      key,
    );
  }

  /** Count one part more than the size says; the same `id` counts once. */
  enlarge(key: string, id: string, seconds: number, now: number): void {
    this.touch(key, seconds, now);
    const insert = "INSERT INTO additions VALUES (?, ?) ON CONFLICT DO NOTHING RETURNING id";
    if (this.sql.exec(insert, key, id).toArray().length) {
      this.sql.exec("UPDATE chords SET added = added + 1 WHERE key = ?", key);
    }
  }

  /** Note a part that has returned; give the claim to its caller if it may publish the body. */
  add({ key, member, place, value, seconds, token, claim_seconds }: Part, now: number): Counted {
    const before = this.chord(key, now);
    if (before?.["done"]) {
      this.rows.release(value);
      return { count: 0, total: null, claimed: false, done: true, claim_left: 0 };
    }
    this.touch(key, seconds, now);
    const [former] = this.sql
      .exec("SELECT value FROM parts WHERE key = ? AND member = ?", key, member)
      .toArray();
    if (former) {
      if (former["value"] !== value) this.rows.release(value); // the first to return counts
    } else {
      this.sql.exec("UPDATE chords SET count = count + 1 WHERE key = ?", key);
      const seq = (before?.["count"] ?? 0) as number;
      this.sql.exec("INSERT INTO parts VALUES (?, ?, ?, ?, ?)", key, member, place, seq, value);
      this.rows.hold(value, null); // as long as the chord, which grows older with each part
    }
    const chord = this.chord(key, now)!;
    const count = chord["count"] as number;
    const size = chord["size"] as number | null;
    const total = size === null ? null : size + (chord["added"] as number);
    const left = chord["claim"] === token ? 0 : ((chord["claim_ends"] as number | null) ?? 0) - now;
    const claimed = total !== null && count === total && left <= 0;
    if (claimed) this.claim(key, token, claim_seconds, now);
    return { count, total, claimed, done: false, claim_left: Math.max(0, left) / 1000 };
  }

  /** Return the values of parts after the first `skip`, in order: as many as fit an answer. */
  parts(key: string, skip: number): string[] {
    const values: string[] = [];
    let size = 0;
    const rows = this.sql.exec(
      `SELECT value FROM parts WHERE key = ? ORDER BY place IS NULL, place, seq LIMIT -1 OFFSET ?`,
      key,
      skip,
    );
    for (const [value] of rows.raw<[string]>()) {
      size += value.length;
      if (values.length && size > MAX_ANSWER) break;
      values.push(value);
    }
    return values;
  }

  /** Keep a claim for longer, or take it where it has ended. Return false if another has it. */
  extend(key: string, token: string, seconds: number, now: number): boolean {
    const chord = this.chord(key, now);
    if (!chord || chord["done"] || chord["size"] === null) return false;
    if (chord["claim"] !== token && ((chord["claim_ends"] as number | null) ?? 0) > now) {
      return false;
    }
    this.claim(key, token, seconds, now);
    return true;
  }

  /** Note that the body is published, if it was by who has the claim. */
  finish(key: string, token: string, seconds: number, now: number): boolean {
    const chord = this.chord(key, now);
    if (chord?.["claim"] !== token) return false;
    this.clear(key);
    const ends = endOf(seconds, now);
    this.sql.exec("UPDATE chords SET done = 1, size = NULL, ends = ? WHERE key = ?", ends, key);
    return true;
  }

  /** Note that a chord has failed: no part that returns again fails it once more. */
  fail(key: string): void {
    this.sql.exec("UPDATE chords SET size = NULL WHERE key = ?", key);
  }

  /** Delete the chords that have ended. */
  sweep(now: number): void {
    for (const { key } of this.sql.exec("SELECT key FROM chords WHERE ends <= ?", now).toArray()) {
      this.remove(key as string);
    }
  }

  firstEnd(): number | null {
    const [row] = this.sql.exec("SELECT min(ends) AS ends FROM chords").toArray();
    return row!["ends"] as number | null;
  }

  private chord(key: string, now: number): Row | undefined {
    const there = "SELECT * FROM chords WHERE key = ? AND (ends IS NULL OR ends > ?)";
    return this.sql.exec(there, key, now).toArray()[0];
  }

  /** Have a chord be there for so long from now, without what is left of one that has ended. */
  private touch(key: string, seconds: number, now: number): void {
    if (!this.chord(key, now)) this.remove(key);
    this.sql.exec(
      `INSERT INTO chords (key, ends) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET ends = ?2`,
      key,
      endOf(seconds, now),
    );
  }

  private claim(key: string, token: string, seconds: number, now: number): void {
    const update = "UPDATE chords SET claim = ?, claim_ends = ? WHERE key = ?";
    this.sql.exec(update, token, now + seconds * 1000, key);
  }

  private clear(key: string): void {
    for (const { value } of this.sql.exec("SELECT value FROM parts WHERE key = ?", key).toArray()) {
      this.rows.release(value as string);
    }
    this.sql.exec("DELETE FROM parts WHERE key = ?", key);
    this.sql.exec("DELETE FROM additions WHERE key = ?", key);
    this.sql.exec("UPDATE chords SET count = 0, added = 0 WHERE key = ?", key);
  }

  private remove(key: string): void {
    this.clear(key);
    this.sql.exec("DELETE FROM chords WHERE key = ?", key);
  }
}
