import assert from "node:assert/strict";
import { test } from "node:test";
import { Clients, type Kind, matches } from "../src/clients.ts";
import { MAX_ENTRIES, MAX_HELD, MAX_HELD_BYTES } from "../src/limits.ts";
import { bytesIn } from "../src/problems.ts";
import { memoryStorage } from "./support.ts";

const MATCHES: [string, string, boolean][] = [
  ["a.b", "a.b", true],
  ["a.b", "a.b.c", false],
  ["a.*", "a.b", true],
  ["a.*", "a", false],
  ["*.b", "a.b", true],
  ["*", "", true], // the empty key is one empty word, as in kombu
  ["a.#", "a", true],
  ["a.#", "a.b.c", true],
  ["#.c", "a.b.c", true],
  ["#.c", "c", true],
  ["#", "", true],
  ["a.#.d", "a.b.c.d", true],
  ["a.#.d", "a.b.c", false],
  ["#.#.a.#", "b.a.c", true],
  ["a.#.*", "a", false],
  ["a.#.*", "a.b", true],
  ["worker.*.online", "worker.w1.offline", false],
];

for (const [pattern, key, expected] of MATCHES) {
  test(`${pattern} ${expected ? "matches" : "does not match"} '${key}'`, () => {
    assert.equal(matches(pattern, key), expected);
  });
}

function connected(...clients: string[]): Clients {
  const record = new Clients(memoryStorage());
  for (const client of clients) record.arrive(client);
  return record;
}

function bind(record: Clients, client: string, exchange: string, kind: Kind, key: string) {
  record.bind(client, { exchange, kind, key, queue: `${client}.queue` });
}

test("a message goes to the queues that are bound to its exchange", () => {
  const record = connected("a", "b", "c");
  bind(record, "a", "events", "topic", "task.#");
  bind(record, "b", "events", "topic", "worker.*");
  bind(record, "c", "events", "fanout", "");
  assert.deepEqual([...record.route("events", "topic", "task.sent").keys()], ["a"]);
  assert.deepEqual([...record.route("events", "fanout", "any").keys()], ["c"]);
  assert.equal(record.route("events", "direct", "task.sent").size, 0);
});

test("the default exchange reaches every bound queue by its name", () => {
  const record = connected("a");
  bind(record, "a", "replies", "direct", "key");
  assert.deepEqual(record.route("", "direct", "a.queue"), new Map([["a", new Set(["a.queue"])]]));
  record.unbind("a", { exchange: "", kind: "direct", key: "a.queue", queue: "a.queue" });
  assert.equal(record.route("", "direct", "a.queue").size, 0);
  assert.equal(record.route("replies", "direct", "key").size, 1);
});

test("a client that is away keeps the newest messages that fit, and learns how many are lost", () => {
  const record = connected("a");
  record.leave("a", 1);
  const texts = Array.from({ length: MAX_HELD + 2 }, (_, n) => String(n));
  record.hold("a", texts, bytesIn);
  assert.deepEqual(record.arrive("a"), { messages: texts.slice(2), missed: 2 });
  assert.deepEqual(record.arrive("a"), { messages: [], missed: 0 });
});

test("what is kept is bounded in bytes, too", () => {
  const record = connected("a");
  const half = "x".repeat(MAX_HELD_BYTES / 2);
  record.hold("a", ["first", half, half], bytesIn);
  assert.deepEqual(record.arrive("a"), { messages: [half, half], missed: 1 });
});

test("a client is forgotten after it was away", () => {
  const record = connected("a", "b");
  bind(record, "a", "events", "fanout", "");
  record.watch("a", "tasks");
  record.leave("a", 5);
  assert.deepEqual(record.present(), ["b"]);
  assert.equal(record.firstGone(), 5);
  record.forget(4);
  assert.deepEqual(record.watchers("tasks"), ["a"]);
  record.forget(5);
  assert.deepEqual(record.watchers("tasks"), []);
  assert.equal(record.route("events", "fanout", "").size, 0);
  assert.equal(record.firstGone(), null);
});

test("a client has a bounded number of watches", () => {
  const record = connected("a");
  for (let n = 0; n < MAX_ENTRIES; n += 1) record.watch("a", `queue-${n}`);
  assert.throws(() => record.watch("a", "one-more"));
  assert.deepEqual(record.watchers("one-more"), []);
  record.unwatch("a", "queue-0");
  record.watch("a", "one-more");
});
