import assert from "node:assert/strict";
import test from "node:test";

import { comparable, pace, sourceTime } from "../../cutmv/web/static/in-step.js";

test("the source is where the output is, and not past its clip", () => {
  const clip = { start: 10, end: 12 };
  assert.ok(Math.abs(sourceTime(clip, 0) - 10) < 0.01);
  assert.ok(Math.abs(sourceTime(clip, 1.5) - 11.5) < 0.01);
  assert.ok(Math.abs(sourceTime(clip, 7) - 12) < 0.01);
});

test("a source that is a little apart changes its pace, and one that is far is moved", () => {
  assert.equal(pace(0.01), 1);
  assert.ok(pace(0.1) > 1 && pace(-0.1) < 1);
  assert.ok(pace(0.29) <= 1.25 && pace(-0.29) >= 0.75);
  assert.equal(pace(1), null);
  assert.equal(pace(-1), null);
});

test("a film of one span can be compared, and nothing else", () => {
  const step = { kind: "cutdown", clip: { text: "0-1" }, output: {} };
  assert.ok(comparable(step));
  assert.ok(!comparable({ ...step, output: null }));
  assert.ok(!comparable({ ...step, kind: "gif" }));
  assert.ok(!comparable({ ...step, clip: { text: "0-1\n2-3" } }));
});
