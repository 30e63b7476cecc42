import assert from "node:assert/strict";
import { test } from "node:test";
import { Chords } from "../src/chords.ts";
import { Coordination } from "../src/coordination.ts";
import { MAX_ANSWER, MAX_RESULT_OPS, MAX_VALUE, WATCH_S } from "../src/limits.ts";
import { type Op, perform, readOps } from "../src/result_ops.ts";
import { ResultRows } from "../src/result_rows.ts";
import { memoryStorage } from "./support.ts";

const PUT = { op: "put" as const, key: "k", value: "tv", ready: true, final: true, seconds: 10 };
const WAITER = { scope: "s", queue: "q" };
const PART = {
  op: "part" as const,
  key: "g",
  value: "tv",
  place: null,
  seconds: 100,
  token: "one",
  claim_seconds: 5,
};

function store() {
  const storage = memoryStorage();
  const rows = new ResultRows(storage);
  const coordination = new Coordination(storage);
  return { rows, chords: new Chords(storage, rows), coordination };
}

test("a value is there until it ends, and a final one stays as it is", () => {
  const { rows } = store();
  assert.deepEqual(rows.put(PUT, 0), { key: "k", value: "tv", waiters: [] });
  assert.equal(rows.put({ ...PUT, value: "tw" }, 1), null);
  assert.deepEqual(rows.get("k", 9_999), { value: "tv", ready: true });
  assert.equal(rows.get("k", 10_000), null);
  assert.ok(rows.put({ ...PUT, value: "tw" }, 10_000), "one that has ended is not there");
  rows.expire("k", 0, 10_001);
  assert.ok(rows.get("k", 10 ** 12), "0 is for ever");
  rows.delete("k");
  assert.equal(rows.get("k", 10_002), null);
  rows.expire("k", 5, 10_003);
  assert.equal(rows.get("k", 10_004), null);
});

test("who waits is told until the value is ready, and forgotten then", () => {
  const { rows } = store();
  assert.equal(rows.watch("k", WAITER, 0), null);
  const started = rows.put({ ...PUT, ready: false, final: false }, 1);
  assert.deepEqual(started?.waiters, [WAITER]);
  assert.equal(rows.watch("k", WAITER, 2), "tv");
  assert.equal(rows.put(PUT, 3)?.waiters.length, 1);
  assert.equal(rows.put({ ...PUT, key: "other" }, 3)?.waiters.length, 0);
  assert.equal(rows.watch("k", WAITER, 4), "tv");
  rows.delete("k");
  assert.equal(rows.put(PUT, 5)?.waiters.length, 0);
});

test("who does not say again that he waits is forgotten", () => {
  const { rows } = store();
  rows.watch("k", WAITER, 0);
  assert.equal(rows.put(PUT, WATCH_S * 1000)?.waiters.length, 0);
});

test("a call is good once", () => {
  const { rows } = store();
  assert.equal(rows.use("id", 100), true);
  assert.equal(rows.use("id", 100), false);
  rows.sweep(100);
  assert.equal(rows.use("id", 200), true);
});

test("an object of the bucket is kept as long as the value that stands for it", () => {
  const { rows } = store();
  rows.expect("o1", 50);
  rows.put({ ...PUT, value: "ro1", final: false }, 10);
  assert.deepEqual(rows.unneeded(10_009), []);
  rows.expire("k", 100, 20);
  assert.deepEqual(rows.unneeded(10_011), []);
  rows.expect("o2", 90);
  rows.put({ ...PUT, value: "ro2" }, 30);
  assert.deepEqual(rows.unneeded(31), ["o1"], "another took its place");
  rows.gone(["o1"]);
  assert.deepEqual(rows.unneeded(31), []);
  rows.delete("k");
  assert.deepEqual(rows.unneeded(32), ["o2"]);
  rows.expect("never-stored", 40);
  assert.ok(rows.unneeded(40).includes("never-stored"));
});

test("the first end is the first of all tables", () => {
  const { rows } = store();
  assert.equal(rows.firstEnd(), null);
  rows.put({ ...PUT, seconds: 0 }, 0);
  assert.equal(rows.firstEnd(), null, "what is kept for ever never ends");
  rows.use("id", 700);
  rows.put({ ...PUT, key: "l", seconds: 1 }, 0);
  rows.expect("o", 800);
  assert.equal(rows.firstEnd(), 700);
  rows.sweep(1_000);
  assert.equal(rows.firstEnd(), 800);
});

test("each part counts once, in the order of places, and one caller may publish", () => {
  const { chords } = store();
  chords.resize("g", 3, 100, 0);
  chords.enlarge("g", "more", 100, 0);
  chords.enlarge("g", "more", 100, 0);
  const counts = [3, 1, 2, 1].map((place) => {
    const part = { ...PART, member: `m${place}`, place, value: `t${place}` };
    return chords.add(part, 1).count;
  });
  assert.deepEqual(counts, [1, 2, 3, 3]);
  const last = { ...PART, member: "m4", value: "t4" };
  const answer = chords.add(last, 2);
  assert.deepEqual(answer, { count: 4, total: 4, claimed: true, done: false, claim_left: 0 });
  assert.deepEqual(chords.parts("g", 0), ["t1", "t2", "t3", "t4"]);
  assert.deepEqual(chords.parts("g", 3), ["t4"]);
  assert.deepEqual(chords.add({ ...last, token: "two" }, 1_002), {
    count: 4,
    total: 4,
    claimed: false,
    done: false,
    claim_left: 4,
  });
  assert.equal(chords.add(last, 1_003).claimed, true, "its own claim, whose answer was lost");
});

test("a claim ends, another takes it, and the first can't finish any more", () => {
  const { chords } = store();
  chords.resize("g", 1, 100, 0);
  chords.add({ ...PART, member: "m" }, 0);
  assert.equal(chords.extend("g", "one", 5, 4_000), true);
  assert.equal(chords.extend("g", "two", 5, 8_999), false);
  assert.equal(chords.add({ ...PART, member: "m", token: "two" }, 9_000).claimed, true);
  assert.equal(chords.extend("g", "one", 5, 9_001), false);
  assert.equal(chords.finish("g", "one", 50, 9_002), false);
  assert.equal(chords.finish("g", "two", 50, 9_003), true);
  assert.equal(chords.finish("g", "two", 50, 9_004), true, "the answer was lost");
  assert.equal(chords.add({ ...PART, member: "m" }, 9_005).done, true);
  assert.deepEqual(chords.parts("g", 0), []);
  chords.resize("g", 1, 100, 9_006);
  assert.equal(chords.add({ ...PART, member: "m" }, 9_007).claimed, true, "applied again");
});

test("a chord that failed fires for no copy, and what has ended begins anew", () => {
  const { chords } = store();
  chords.resize("g", 1, 100, 0);
  chords.add({ ...PART, member: "m" }, 0);
  chords.fail("g");
  assert.equal(chords.add({ ...PART, member: "m" }, 50_000).total, null);
  assert.equal(chords.firstEnd(), 150_000);
  assert.equal(chords.add({ ...PART, member: "n" }, 150_000).count, 1);
  chords.sweep(250_000);
  assert.equal(chords.firstEnd(), null);
});

test("a chord's large parts are deleted with it", () => {
  const { rows, chords } = store();
  chords.resize("g", 2, 100, 0);
  rows.expect("o", 50);
  chords.add({ ...PART, member: "m", value: "ro" }, 0);
  assert.deepEqual(rows.unneeded(10 ** 9), []);
  rows.expect("copy", 60);
  chords.add({ ...PART, member: "m", value: "rcopy" }, 0);
  assert.deepEqual(rows.unneeded(1), ["copy"], "the first that returned counts");
  chords.sweep(100_000);
  assert.deepEqual(rows.unneeded(100_000).sort(), ["copy", "o"]);
});

test("an answer has a bound: what does not fit is to be asked again", () => {
  const kept = store();
  const { rows } = kept;
  const value = `t${"x".repeat(MAX_VALUE - 1)}`;
  const keys = Array.from({ length: 8 }, (_, n) => `k${n}`);
  for (const key of keys) rows.put({ ...PUT, key, value }, 0);
  const ops = keys.map((key): Op => ({ op: "get", key }));
  const { answers } = perform([...ops, PUT], kept, 1);
  const told = answers.filter((answer) => "value" in answer).length;
  assert.ok(told * MAX_VALUE <= MAX_ANSWER + MAX_VALUE);
  assert.deepEqual(answers.slice(told, 8), Array(8 - told).fill({ again: true }));
  assert.deepEqual(answers[8], { done: true }, "a write is never left");
});

test("notes are kept until they end, and read in parts", () => {
  const { coordination } = store();
  coordination.note("k", "b", "1", 10, false, 0);
  coordination.note("k", "a", "2", 0, false, 0);
  coordination.note("k", "b", "3", 10, true, 5);
  coordination.note("other", "c", "4", 0, false, 0);
  assert.deepEqual(coordination.notes("k", "", 6), [
    ["a", "2", null],
    ["b", "1", null],
  ]);
  assert.deepEqual(coordination.notes("k", "a", 6), [["b", "1", null]]);
  assert.deepEqual(coordination.notes("k", "a", 10_000), []);
  coordination.note("k", "b", "5", 10, true, 10_000);
  assert.deepEqual(coordination.notes("k", "a", 10_001), [["b", "5", null]]);
  coordination.sweep(20_000);
  assert.equal(coordination.notes("k", "", 20_001).length, 1);
});

test("one has a lease until it ends or is given back", () => {
  const { coordination } = store();
  assert.equal(coordination.lease("k", "one", 30, 0), 0);
  assert.equal(coordination.lease("k", "two", 30, 10_000), 20);
  assert.equal(coordination.lease("k", "one", 30, 20_000), 0);
  assert.equal(coordination.lease("k", "two", 30, 49_999), 0.001);
  coordination.release("k", "two");
  assert.equal(coordination.lease("k", "two", 30, 50_000), 0);
  coordination.release("k", "two");
  assert.equal(coordination.lease("k", "one", 30, 50_001), 0);
});

test("its holder alone begins runs, and the next one finds what was not committed", () => {
  const { coordination } = store();
  coordination.lease("k", "one", 30, 0);
  coordination.note("k", "run", "t0", 0, true, 0);
  assert.equal(coordination.begin("k", "one", "run", "t1", 100, 1), true);
  assert.equal(coordination.begin("k", "two", "run", "t1", 100, 1), false);
  assert.equal(coordination.commit("k", "one", "run", 2), true);
  assert.equal(coordination.begin("k", "one", "run", "t2", 100, 3), true);
  assert.equal(coordination.begin("k", "one", "run", "t3", 100, 30_000), false, "it has ended");
  coordination.lease("k", "two", 30, 30_001);
  assert.deepEqual(coordination.notes("k", "", 30_002), [["run", "t1", "t2"]]);
  assert.equal(coordination.commit("k", "one", "run", 30_003), false);
  assert.equal(coordination.begin("k", "two", "run", "t4", 100, 30_004), true);
  assert.equal(coordination.commit("k", "two", "run", 30_005), true);
  assert.equal(coordination.commit("k", "two", "run", 30_006), true, "the answer was lost");
  assert.deepEqual(coordination.notes("k", "", 30_007), [["run", "t4", null]]);
  assert.equal(coordination.firstEnd(), 60_001);
});

test("operations have bounds", () => {
  const wrong: unknown[] = [
    { op: "get", key: "" },
    { op: "none", key: "k" },
    { ...PUT, value: "x".repeat(MAX_VALUE + 1) },
    { ...PUT, seconds: 0.5 },
    { ...PUT, final: "yes" },
    { op: "watch", key: "k", scope: "", queue: "q" },
    { op: "size", key: "k", size: -1, seconds: 1 },
    { ...PART, member: "" },
    null,
  ];
  for (const op of wrong) assert.throws(() => readOps({ ops: [op] }), /./, JSON.stringify(op));
  for (const ops of [[], "x", Array(MAX_RESULT_OPS + 1).fill(PUT)]) {
    assert.throws(() => readOps({ ops }), { status: 400 });
  }
  assert.deepEqual(readOps({ ops: [PUT, { ...PART, member: "m" }] }), [
    PUT,
    { ...PART, member: "m" },
  ]);
});
