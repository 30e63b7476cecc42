import assert from "node:assert/strict";
import test from "node:test";

import { Clips } from "../../cutmv/web/static/clips.js";

function clips(duration = 60) {
  const made = new Clips();
  made.setSource(duration, 25);
  return made;
}

const spans = (made) => made.items.map(({ start, end }) => [start, end]);

test("a new clip comes after those that are there", () => {
  const made = clips();
  made.add(0);
  made.add(0);
  assert.deepEqual(spans(made), [[0, 10], [10, 20]]);
  assert.equal(made.selected, made.items[1]);
});

test("clips at the same time are in lanes of their own", () => {
  const made = clips();
  const [first, second] = [made.add(0), made.add(0)];
  made.move(second, 5, 15);
  const third = made.add(30);
  assert.deepEqual([first, second, third].map((clip) => made.lanes.get(clip)), [0, 1, 0]);
});

test("a clip stays within the video, and its ends apart", () => {
  const made = clips(20);
  const clip = made.add(0);
  made.move(clip, -5, 100);
  assert.deepEqual(spans(made), [[0, 20]]);
  made.move(clip, 19.999, 0);
  assert.ok(clip.end > clip.start && clip.end <= 20);
  made.move(clip, 0, 5);
  made.slide(clip, 18);
  assert.deepEqual(spans(made), [[15, 20]]);
});

test("what is split is two, and undone it is one; redone, two", () => {
  const made = clips();
  const clip = made.add(0);
  made.split(clip, 4);
  assert.deepEqual(spans(made), [[0, 4], [4, 10]]);
  made.undo();
  assert.deepEqual(spans(made), [[0, 10]]);
  made.redo();
  assert.deepEqual(spans(made), [[0, 4], [4, 10]]);
  made.split(made.items[0], 4);
  assert.equal(made.items.length, 2, "at its end there is nothing to split");
});

test("what is done anew can't be redone", () => {
  const made = clips();
  made.add(0);
  made.undo();
  assert.ok(made.canRedo);
  made.add(30);
  assert.ok(!made.canRedo);
});

test("a time that can't be read is told, and what is right goes to the API as it was typed", () => {
  const made = clips();
  const clip = made.add(0);
  made.type(clip, "start", "xx", Number.NaN);
  assert.match(made.problem(clip), /Write a time/);
  assert.ok(!made.valid);
  made.type(clip, "start", " 0:02 ", 2);
  assert.ok(made.valid);
  assert.deepEqual(made.wanted.map(({ text }) => text), ["0:02-0:10.000"]);
});
