import assert from "node:assert/strict";
import test from "node:test";

import { exactTime, formatBytes, formatSpan, formatTime, parseTime } from "../../cutmv/web/static/times.js";

const PAL = { duration: 600, frameRate: 25, timecode: "01:00:00:00" };
const NTSC = { duration: 7200, frameRate: 30000 / 1001, timecode: "00:00:00;00" };
const PLAIN = { duration: 90.5, frameRate: 30, timecode: null };

test("a time is read in each form that people write", () => {
  const read = (text, file = PLAIN) => parseTime(text, file);
  assert.equal(read("12.5"), 12.5);
  assert.equal(read("12,5"), 12.5);
  assert.equal(read("1:05.25"), 65.25);
  assert.equal(read("1m5s"), 65);
  assert.equal(read("1 h 2 m 3 s 4 ms"), 3723.004);
  assert.equal(read("end"), 90.5);
  assert.equal(read("-10"), 80.5);
  assert.equal(read("−0:30"), 60.5);
});

test("a timecode counts from the file's own", () => {
  assert.equal(parseTime("01:00:01:00", PAL), 1);
  assert.equal(parseTime("01:00:00:05", PAL), 0.2);
  assert.ok(Number.isNaN(parseTime("00:59:59:00", PAL)), "before the first frame");
  assert.ok(Number.isNaN(parseTime("01:00:00:25", PAL)), "there is no 26th frame");
});

test("a drop-frame timecode leaves two numbers out each minute but the tenth", () => {
  const frames = (text) => Math.round(parseTime(text, NTSC) * NTSC.frameRate);
  assert.equal(frames("00:00:59;29"), 1799);
  assert.equal(frames("00:01:00;02"), 1800);
  assert.equal(frames("00:10:00;00"), 17982);
});

test("what is no time is no number", () => {
  for (const text of ["", "abc", "1:75", "1:2:75", "1:75:00", "-100", "5x"]) {
    assert.ok(Number.isNaN(parseTime(text, PLAIN)), text);
  }
});

test("times, spans and sizes are written for people", () => {
  assert.equal(formatTime(65.25), "1:05.250");
  assert.equal(formatTime(3723.004), "1:02:03.004");
  assert.equal(exactTime(1.0000335), "0:01.000034");
  assert.equal(exactTime(1.5), "0:01.500");
  assert.equal(formatSpan(2.5), "2.5 s");
  assert.equal(formatSpan(200), "3 min 20 s");
  assert.equal(formatBytes(999), "999 B");
  assert.equal(formatBytes(10_000_000_000), "10.0 GB");
});

test("what is written is read as the same time", () => {
  for (const seconds of [0, 0.001, 59.999, 60, 3599.999, 5025.033367]) {
    assert.ok(Math.abs(parseTime(exactTime(seconds), NTSC) - seconds) < 1e-6, exactTime(seconds));
  }
});
