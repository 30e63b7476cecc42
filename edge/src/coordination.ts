/**
 * What processes of an app agree on, in one object's SQLite: notes, which outlive who made them
 * (revoked tasks, rate limits), and leases, each with the runs of a schedule that its holder alone
 * may begin.
 *
 * A run is begun before its message is sent, and committed after. What a holder began and did not
 * commit, the next one finds, and does again.
 */

import { MAX_NOTES } from "./limits.ts";
import { endOf } from "./result_rows.ts";

/** A note: its name, its value, and the value of a run that was begun and not committed. */
export type Note = (string | null)[];

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS notes (
    key TEXT, member TEXT, value TEXT NOT NULL, begun TEXT, ends INTEGER, PRIMARY KEY (key, member)
  ) WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS notes_ends ON notes (ends) WHERE ends IS NOT NULL;
  CREATE TABLE IF NOT EXISTS leases (
    key TEXT PRIMARY KEY, owner TEXT NOT NULL, ends INTEGER NOT NULL
  ) WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS leases_ends ON leases (ends);
`;

export class Coordination {
  private readonly sql: SqlStorage;

  constructor(storage: DurableObjectStorage) {
    this.sql = storage.sql;
    this.sql.exec(SCHEMA);
  }

  /** Keep a note; one that is there stays if the note is to be the `first`. */
  note(
    key: string,
    member: string,
    value: string,
    seconds: number,
    first: boolean,
    now: number,
  ): void {
    this.sql.exec("DELETE FROM notes WHERE key = ? AND member = ? AND ends <= ?", key, member, now);
    const conflict = first ? "NOTHING" : "UPDATE SET value = ?3, begun = NULL, ends = ?4";
    this.sql.exec(
      `INSERT INTO notes VALUES (?1, ?2, ?3, NULL, ?4) ON CONFLICT (key, member) DO ${conflict}`,
      key,
      member,
      value,
      endOf(seconds, now),
    );
  }

  /** Return the notes after one, by the order of their names: as many as an answer holds. */
  notes(key: string, after: string, now: number): Note[] {
    const rows = this.sql.exec(
      `SELECT member, value, begun FROM notes
      WHERE key = ? AND member > ? AND (ends IS NULL OR ends > ?) ORDER BY member LIMIT ?`,
      key,
      after,
      now,
      MAX_NOTES,
    );
    return [...rows.raw<Note>()];
  }

  /** Take a lease, or hold it for longer. Return for how many seconds more another has it, or 0. */
  lease(key: string, owner: string, seconds: number, now: number): number {
    const [held] = this.sql.exec("SELECT owner, ends FROM leases WHERE key = ?", key).toArray();
    const left = held && held["owner"] !== owner ? (held["ends"] as number) - now : 0;
    if (left > 0) return left / 1000;
    const insert = "INSERT OR REPLACE INTO leases VALUES (?, ?, ?)";
    this.sql.exec(insert, key, owner, now + seconds * 1000);
    return 0;
  }

  /** End a lease, if it is this owner's. */
  release(key: string, owner: string): void {
    this.sql.exec("DELETE FROM leases WHERE key = ? AND owner = ?", key, owner);
  }

  /** Note that a run begins. Return false where its caller does not hold the lease. */
  begin(
    key: string,
    owner: string,
    member: string,
    value: string,
    seconds: number,
    now: number,
  ): boolean {
    if (!this.holds(key, owner, now)) return false;
    this.sql.exec(
      "UPDATE notes SET begun = ?, ends = ? WHERE key = ? AND member = ?",
      value,
      endOf(seconds, now),
      key,
      member,
    );
    return true;
  }

  /** Note that a run that has begun is sent. Return false where its caller lost the lease. */
  commit(key: string, owner: string, member: string, now: number): boolean {
    if (!this.holds(key, owner, now)) return false;
    this.sql.exec(
      `UPDATE notes SET value = begun, begun = NULL
      WHERE key = ? AND member = ? AND begun IS NOT NULL`,
      key,
      member,
    );
    return true;
  }

  /** Delete what has ended. */
  sweep(now: number): void {
    for (const table of ["notes", "leases"]) {
      this.sql.exec(`DELETE FROM ${table} WHERE ends <= ?`, now);
    }
  }

  /** Return when the first row ends, or null where none ever does. */
  firstEnd(): number | null {
    const [row] = this.sql
      .exec("SELECT min(ends) AS ends FROM (SELECT ends FROM notes UNION SELECT ends FROM leases)")
      .toArray();
    return row!["ends"] as number | null;
  }

  private holds(key: string, owner: string, now: number): boolean {
    const query = "SELECT 1 FROM leases WHERE key = ? AND owner = ? AND ends > ?";
    return this.sql.exec(query, key, owner, now).toArray().length > 0;
  }
}
