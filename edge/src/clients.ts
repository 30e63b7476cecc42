/**
 * The hub's record of its clients: bindings, watches, and messages kept for clients that are away.
 *
 * The record is in the Durable Object's SQLite, so it outlives hibernation, eviction and deploys.
 */

import { MAX_ENTRIES, MAX_HELD, MAX_HELD_BYTES } from "./limits.ts";
import { Problem } from "./problems.ts";

export type Kind = "direct" | "topic" | "fanout";

export interface Binding {
  exchange: string;
  kind: Kind;
  key: string;
  queue: string;
}

export interface Held {
  messages: string[];
  missed: number;
}

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS clients (
    id TEXT PRIMARY KEY, gone_at INTEGER, missed INTEGER NOT NULL DEFAULT 0
  ) WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS clients_gone ON clients (gone_at) WHERE gone_at IS NOT NULL;
  CREATE TABLE IF NOT EXISTS bindings (
    exchange TEXT, kind TEXT, key TEXT, client TEXT, queue TEXT,
    PRIMARY KEY (exchange, kind, key, client, queue)
  ) WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS bindings_client ON bindings (client);
  CREATE TABLE IF NOT EXISTS watches (
    queue TEXT, client TEXT, PRIMARY KEY (queue, client)
  ) WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS watches_client ON watches (client);
  CREATE TABLE IF NOT EXISTS held (
    seq INTEGER PRIMARY KEY, client TEXT, message TEXT, bytes INTEGER
  );
  CREATE INDEX IF NOT EXISTS held_client ON held (client, seq, bytes);
`;

export class Clients {
  private readonly storage: DurableObjectStorage;
  private readonly sql: SqlStorage;

  constructor(storage: DurableObjectStorage) {
    this.storage = storage;
    this.sql = storage.sql;
    this.sql.exec(SCHEMA);
  }

  /** Note that a client has connected. Return what was kept for it, once. */
  arrive(client: string): Held {
    this.sql.exec("INSERT INTO clients (id) VALUES (?) ON CONFLICT DO NOTHING", client);
    const messages = this.column("SELECT message FROM held WHERE client = ? ORDER BY seq", client);
    const [missed] = this.column("SELECT missed FROM clients WHERE id = ?", client);
    this.sql.exec("DELETE FROM held WHERE client = ?", client);
    this.sql.exec("UPDATE clients SET gone_at = NULL, missed = 0 WHERE id = ?", client);
    return { messages: messages as string[], missed: missed as number };
  }

  /** Note the time at which a client went away. */
  leave(client: string, now: number): void {
    this.sql.exec("UPDATE clients SET gone_at = ? WHERE id = ? AND gone_at IS NULL", now, client);
  }

  /** Return the clients that should have a socket. */
  present(): string[] {
    return this.column("SELECT id FROM clients WHERE gone_at IS NULL") as string[];
  }

  firstGone(): number | null {
    return this.column("SELECT min(gone_at) FROM clients")[0] as number | null;
  }

  /** Forget the clients that went away at `then` or before. */
  forget(then: number): void {
    for (const client of this.column("SELECT id FROM clients WHERE gone_at <= ?", then)) {
      for (const table of ["bindings", "watches", "held"]) {
        this.sql.exec(`DELETE FROM ${table} WHERE client = ?`, client);
      }
      this.sql.exec("DELETE FROM clients WHERE id = ?", client);
    }
  }

  bind(client: string, { exchange, kind, key, queue }: Binding): void {
    this.storage.transactionSync(() => {
      const insert = "INSERT OR IGNORE INTO bindings VALUES (?, ?, ?, ?, ?)";
      this.sql.exec(insert, exchange, kind, key, client, queue);
      // The default exchange reaches every queue by its name.
      this.sql.exec(insert, "", "direct", queue, client, queue);
      const counts = "SELECT count(*) FROM bindings WHERE client = ? GROUP BY exchange = ''";
      this.limit("bindings", this.column(counts, client) as number[]);
    });
  }

  unbind(client: string, { exchange, kind, key, queue }: Binding): void {
    const of = "exchange = ? AND kind = ? AND key = ? AND client = ? AND queue = ?";
    this.sql.exec(`DELETE FROM bindings WHERE ${of}`, exchange, kind, key, client, queue);
  }

  watch(client: string, queue: string): void {
    this.storage.transactionSync(() => {
      this.sql.exec("INSERT OR IGNORE INTO watches VALUES (?, ?)", queue, client);
      const count = this.column("SELECT count(*) FROM watches WHERE client = ?", client);
      this.limit("watches", count as number[]);
    });
  }

  unwatch(client: string, queue: string): void {
    this.sql.exec("DELETE FROM watches WHERE queue = ? AND client = ?", queue, client);
  }

  watchers(queue: string): string[] {
    return this.column("SELECT client FROM watches WHERE queue = ?", queue) as string[];
  }

  /** Return each client that a message goes to, with those of its queues that match. */
  route(exchange: string, kind: Kind, key: string): Map<string, Set<string>> {
    const routes = new Map<string, Set<string>>();
    for (const [client, queue, pattern] of this.bound(exchange, kind, key)) {
      if (kind === "topic" && !matches(pattern, key)) continue;
      if (!routes.has(client)) routes.set(client, new Set());
      routes.get(client)!.add(queue);
    }
    return routes;
  }

  /** Keep messages for a client that is away. */
  hold(client: string, messages: string[], bytesIn: (text: string) => number): void {
    for (const message of messages) {
      const insert = "INSERT INTO held (client, message, bytes) VALUES (?, ?, ?)";
      this.sql.exec(insert, client, message, bytesIn(message));
    }
    // Keep the newest that fit: drop a message if it and all newer ones exceed a limit.
    const dropped = this.sql.exec(
      `DELETE FROM held WHERE seq IN (
        SELECT seq FROM (
          SELECT seq, row_number() OVER newer AS messages, sum(bytes) OVER newer AS size
          FROM held WHERE client = ? WINDOW newer AS (ORDER BY seq DESC)
        ) WHERE messages > ? OR size > ?
      ) RETURNING seq`,
      client,
      MAX_HELD,
      MAX_HELD_BYTES,
    );
    const missed = dropped.toArray().length;
    if (missed)
      this.sql.exec("UPDATE clients SET missed = missed + ? WHERE id = ?", missed, client);
  }

  private bound(exchange: string, kind: Kind, key: string) {
    const of = "SELECT client, queue, key FROM bindings WHERE exchange = ? AND kind = ?";
    const rows =
      kind === "direct"
        ? this.sql.exec(`${of} AND key = ?`, exchange, kind, key)
        : this.sql.exec(of, exchange, kind);
    return rows.raw<[string, string, string]>();
  }

  private limit(what: string, counts: number[]): void {
    if (counts.some((count) => count > MAX_ENTRIES)) {
      throw new Problem(400, `A client has at most ${MAX_ENTRIES} ${what}.`);
    }
  }

  private column(query: string, ...values: SqlStorageValue[]): SqlStorageValue[] {
    return [...this.sql.exec(query, ...values).raw()].map(([value]) => value!);
  }
}

/** Tell whether a topic's pattern matches a key: `*` is one word, `#` any number of words. */
export function matches(pattern: string, key: string): boolean {
  const words = key.split(".");
  // reach[n]: the parts of the pattern so far match the first n words.
  let reach = [true, ...words.map(() => false)];
  for (const part of pattern.split(".")) {
    const first = reach.indexOf(true);
    reach = reach.map((_, n) => {
      if (part === "#") return first >= 0 && n >= first;
      return n > 0 && reach[n - 1]! && (part === "*" || part === words[n - 1]);
    });
  }
  return reach[words.length]!;
}
