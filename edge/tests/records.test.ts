import assert from "node:assert/strict";
import { test } from "node:test";
import { MAX_ENTRY_BYTES, MAX_LEDGER_KEY_BYTES } from "../src/limits.ts";
import { Records, readKey, readWrite } from "../src/records.ts";
import { memoryStorage } from "./support.ts";

const KEEP = 1_000;
const ENTRY = { owner: "a", state: "held", seconds: 300, losses: 0 };

function write(records: Records, now: number, version: string | null = null, more = {}) {
  const entry = JSON.stringify({ ...ENTRY, ...more });
  return records.write({ key: "k", entry, version }, now);
}

test("a record is read as it was written, with its age", () => {
  const records = new Records(memoryStorage(), KEEP);
  assert.equal(records.read("k", 0), null);
  const version = write(records, 100);
  assert.deepEqual(records.read("k", 350), { entry: ENTRY, age: 0.25, version });
  assert.equal(records.read("another", 350), null);
});

test("of several writers who read the same version, one is heard", () => {
  const records = new Records(memoryStorage(), KEEP);
  const first = write(records, 0);
  assert.ok(first);
  assert.equal(write(records, 1, null, { owner: "b" }), null);
  const second = write(records, 2, first, { owner: "c" });
  assert.ok(second && second !== first);
  assert.equal(write(records, 3, first, { owner: "d" }), null);
  assert.deepEqual(records.read("k", 2)?.entry, { ...ENTRY, owner: "c" });
});

test("a clock that goes back makes no age below zero", () => {
  const records = new Records(memoryStorage(), KEEP);
  write(records, 500);
  assert.equal(records.read("k", 400)?.age, 0);
});

test("a record that is too old is none, and a sweep deletes it", () => {
  const records = new Records(memoryStorage(), KEEP);
  const version = write(records, 0);
  assert.equal(records.read("k", KEEP), null);
  assert.equal(write(records, KEEP, version), null);
  assert.ok(write(records, KEEP));
  assert.equal(records.sweep(KEEP), 2 * KEEP);
  assert.equal(records.sweep(2 * KEEP), null);
});

test("keys and entries have bounds", () => {
  for (const key of ["", "é".repeat(MAX_LEDGER_KEY_BYTES / 2 + 1), 1, null]) {
    assert.throws(() => readKey({ key }), { status: 400 });
  }
  assert.equal(readKey({ key: "é".repeat(MAX_LEDGER_KEY_BYTES / 2) }).length, 256);
  for (const wrong of [
    { state: "mine" },
    { seconds: -1 },
    { seconds: "1" },
    { losses: 0.5 },
    { owner: 1 },
    { owner: "é".repeat(MAX_ENTRY_BYTES / 2) },
  ]) {
    assert.throws(() => readWrite({ key: "k", entry: { ...ENTRY, ...wrong } }), { status: 400 });
  }
  assert.throws(() => readWrite({ key: "k", entry: ENTRY, version: 1 }), { status: 400 });
  assert.throws(() => readWrite({ key: "k" }), { status: 400 });
  const written = { key: "k", entry: JSON.stringify(ENTRY), version: null };
  assert.deepEqual(readWrite({ key: "k", entry: ENTRY }), written);
});
