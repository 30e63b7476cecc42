import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import { MAX_REFUSED_S, SLOT_KEEP_S } from "../src/limits.ts";
import { Slots, type Taken } from "../src/slots.ts";

beforeEach(() => mock.timers.enable({ apis: ["setTimeout", "Date"] }));
afterEach(() => mock.timers.reset());

/** Let promises that are settled tell whoever waits for them. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn += 1) await Promise.resolve();
}

/** Take a slot, and note it once it is there. */
function take(slots: Slots, age = 0, seconds = 1000): { got?: Taken | null } {
  const place: { got?: Taken | null } = {};
  void slots.acquire(age, seconds).then((taken) => {
    place.got = taken;
  });
  return place;
}

test("the first container is full before the second has a message", async () => {
  const slots = new Slots(3, 2);
  const taken = Array.from({ length: 5 }, () => take(slots));
  await settle();
  assert.deepEqual(
    taken.map(({ got }) => got?.container),
    [0, 0, 1, 1, 2],
  );
  taken[1]!.got!.release();
  const next = take(slots);
  await settle();
  assert.equal(next.got?.container, 0);
});

test("messages wait in line, the oldest first, and each slot is given once", async () => {
  const slots = new Slots(1);
  const first = take(slots, 5);
  const [young, old] = [take(slots, 9), take(slots, 7)];
  await settle();
  assert.deepEqual([young.got, old.got], [undefined, undefined]);
  first.got!.release();
  first.got!.release();
  await settle();
  assert.equal(old.got?.container, 0);
  assert.equal(young.got, undefined);
  assert.deepEqual(slots.stats(), { slots: 1, running: [1], waiting: 1 });
});

test("who waits in vain leaves the line", async () => {
  const slots = new Slots(1);
  const first = take(slots);
  const late = take(slots, 0, 10);
  mock.timers.tick(10_000);
  await settle();
  assert.equal(late.got, null);
  const next = take(slots);
  first.got!.release();
  await settle();
  assert.equal(next.got?.container, 0);
});

test("more slots, once a worker tells them, take those that wait", async () => {
  const slots = new Slots(1);
  take(slots);
  const waits = take(slots);
  assert.equal(slots.learn(0), false);
  assert.equal(slots.learn(2), true);
  assert.equal(slots.learn(2), false);
  await settle();
  assert.equal(waits.got?.container, 0);
  assert.deepEqual([slots.needed(0), slots.needed(1), slots.needed(100)], [0, 1, 1]);
});

test("a container that refuses is left alone, for longer each time, but not for good", async () => {
  const slots = new Slots(2);
  const one = take(slots);
  await settle();
  one.got!.refuse(0);
  const other = take(slots);
  const waits = take(slots);
  await settle();
  assert.deepEqual([other.got?.container, waits.got], [1, undefined]);
  mock.timers.tick(1_001);
  await settle();
  assert.equal(waits.got?.container, 0);
  let again = waits;
  for (let times = 0; times < 10; times += 1) {
    again.got!.refuse(0);
    again = take(slots);
    mock.timers.tick(MAX_REFUSED_S * 1000 + 1);
    await settle();
    assert.equal(again.got?.container, 0);
  }
  again.got!.release();
  const last = take(slots);
  await settle();
  last.got!.refuse(0);
  const soon = take(slots);
  mock.timers.tick(1_001);
  await settle();
  assert.equal(soon.got?.container, 0, "what it took in between has it trusted again");
});

test("a slot whose holder died without a word is free in the end", async () => {
  const slots = new Slots(1);
  take(slots);
  const waits = take(slots, 0, 10_000);
  mock.timers.tick(SLOT_KEEP_S * 1000);
  await settle();
  assert.equal(waits.got?.container, 0);
});
