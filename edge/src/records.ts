/** The lease ledger's records, in a Durable Object's SQLite: each is replaced by compare-and-set. */

import { MAX_ENTRY_BYTES, MAX_LEDGER_KEY_BYTES, MAX_LOSSES } from "./limits.ts";
import { asObject, bytesIn, integerOf, Problem, stringOf } from "./problems.ts";

const STATES = ["held", "free", "done"];

/** A record as a reader gets it. `age` is how many seconds ago it was written. */
export interface LedgerRecord {
  entry: unknown;
  age: number;
  version: string;
}

export interface Written {
  key: string;
  /** The entry, as JSON. */
  entry: string;
  /** The version that it replaces; null where there must be none. */
  version: string | null;
}

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS records (
    key TEXT PRIMARY KEY, entry TEXT NOT NULL, version TEXT NOT NULL, written INTEGER NOT NULL
  ) WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS records_written ON records (written);
`;

/** The records of one object. All times are in milliseconds; a record older than `keep` is none. */
export class Records {
  private readonly sql: SqlStorage;
  private readonly keep: number;

  constructor(storage: DurableObjectStorage, keep: number) {
    this.sql = storage.sql;
    this.keep = keep;
    this.sql.exec(SCHEMA);
  }

  read(key: string, now: number): LedgerRecord | null {
    const [row] = this.sql
      .exec(
        "SELECT entry, version, written FROM records WHERE key = ? AND written > ?",
        key,
        now - this.keep,
      )
      .toArray();
    if (!row) return null;
    return {
      entry: JSON.parse(row["entry"] as string),
      age: Math.max(0, now - (row["written"] as number)) / 1000,
      version: row["version"] as string,
    };
  }

  /** Replace a record, or write the first. Return the new version, or null where another is there. */
  write({ key, entry, version }: Written, now: number): string | null {
    const fresh = crypto.randomUUID();
    const old = now - this.keep;
    const rows =
      version === null
        ? this.sql.exec(
            `INSERT INTO records (key, entry, version, written) VALUES (?1, ?2, ?3, ?4)
            ON CONFLICT (key) DO UPDATE SET entry = ?2, version = ?3, written = ?4
            WHERE written <= ?5 RETURNING key`,
            key,
            entry,
            fresh,
            now,
            old,
          )
        : this.sql.exec(
            `UPDATE records SET entry = ?2, version = ?3, written = ?4
            WHERE key = ?1 AND version = ?6 AND written > ?5 RETURNING key`,
            key,
            entry,
            fresh,
            now,
            old,
            version,
          );
    return rows.toArray().length ? fresh : null;
  }

  /** Delete the records that are too old. Return when the first of the others will be, or null. */
  sweep(now: number): number | null {
    this.sql.exec("DELETE FROM records WHERE written <= ?", now - this.keep);
    const [row] = this.sql.exec("SELECT min(written) AS oldest FROM records").toArray();
    const oldest = row!["oldest"] as number | null;
    return oldest === null ? null : oldest + this.keep;
  }
}

export function readKey(document: unknown): string {
  const key = stringOf(asObject(document, "The body"), "key");
  if (!key || bytesIn(key) > MAX_LEDGER_KEY_BYTES) {
    throw new Problem(400, `\`key\` must have 1 to ${MAX_LEDGER_KEY_BYTES} bytes.`);
  }
  return key;
}

export function readWrite(document: unknown): Written {
  const fields = asObject(document, "The body");
  const entry = asObject(fields["entry"], "`entry`");
  stringOf(entry, "owner");
  if (!STATES.includes(stringOf(entry, "state"))) {
    throw new Problem(400, `\`state\` is one of ${STATES.join(", ")}.`);
  }
  const seconds = entry["seconds"];
  if (typeof seconds !== "number" || seconds < 0) {
    throw new Problem(400, "`seconds` must be a number of 0 or more.");
  }
  integerOf(entry, "losses", MAX_LOSSES);
  const text = JSON.stringify(entry);
  if (bytesIn(text) > MAX_ENTRY_BYTES) {
    throw new Problem(400, `\`entry\` is at most ${MAX_ENTRY_BYTES} bytes of JSON.`);
  }
  const version = fields["version"] ?? null;
  return {
    key: readKey(document),
    entry: text,
    version: version === null ? null : stringOf(fields, "version"),
  };
}
