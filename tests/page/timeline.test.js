import assert from "node:assert/strict";
import test from "node:test";

import { Snapping } from "../../cutmv/web/static/timeline/snapping.js";
import { View } from "../../cutmv/web/static/timeline/view.js";
import { Pace } from "../../cutmv/web/static/upload/pace.js";

function view() {
  const made = new View();
  made.setSource(3600, 25);
  return made;
}

test("an hour is shown, and zooming ends at one frame", () => {
  const made = view();
  assert.ok(made.whole);
  for (let step = 0; step < 60; step += 1) made.zoom(0.5, 1800);
  assert.ok(Math.abs(made.span - 1 / 25) < 1e-9);
  assert.ok(made.start <= 1800 && made.end >= 1800, "what was pointed at stays in view");
  for (let step = 0; step < 60; step += 1) made.zoom(2, 1800);
  assert.ok(made.whole);
});

test("scrolling ends at the ends of the video", () => {
  const made = view();
  made.show(0, 60);
  made.scroll(-1);
  assert.equal(made.start, 0);
  for (let step = 0; step < 100; step += 1) made.scroll(1);
  assert.equal(made.end, 3600);
});

test("what is out of view comes into it", () => {
  const made = view();
  made.show(0, 60);
  made.follow(300);
  assert.ok(made.start <= 300 && made.end >= 300);
});

test("the nearest of all kinds is snapped to, within reach alone", () => {
  const snapping = new Snapping();
  snapping.set("keys", [0, 2, 4]);
  snapping.set("beats", [2.4]);
  assert.equal(snapping.near(2.3, 0.5).at, 2.4);
  assert.equal(snapping.near(2.1, 0.5).told, "a key picture");
  assert.ok(!snapping.near(3, 0.5));
  snapping.enabled = false;
  assert.ok(!snapping.near(2.4, 0.5));
});

test("one goes from point to point", () => {
  const snapping = new Snapping();
  snapping.set("scenes", [1, 5]);
  assert.equal(snapping.next(1, true).at, 5);
  assert.equal(snapping.next(5, false).at, 1);
  assert.ok(!snapping.next(5, true));
});

test("a pace is told after a second, and anew where a part is sent again", () => {
  const pace = new Pace();
  pace.note(0, 0);
  pace.note(500, 500);
  assert.equal(pace.rate, null);
  pace.note(2000, 2000);
  assert.equal(pace.rate, 1000);
  pace.note(100, 2500);
  assert.equal(pace.rate, null);
});
