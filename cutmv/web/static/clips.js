// The clips of the job being prepared, and nothing of how they are shown.

import { formatTime, parseTime } from "./times.js";

/** Seconds: the length of a new clip, and the shortest that dragging leaves. */
const NEW_CLIP_S = 10;
const SHORTEST_S = 0.04;

/** Fires `change` after each change, with every clip valid for a video of `duration` seconds. */
export class Clips extends EventTarget {
  items = [];
  selected = null;
  duration = 0;
  frameRate = 30;
  timecode = null;
  #nextId = 1;

  reset() {
    this.items = [];
    this.selected = null;
    this.duration = 0;
    this.timecode = null;
    this.#changed();
  }

  setSource(duration, frameRate, timecode = null) {
    this.duration = duration;
    this.timecode = timecode;
    if (frameRate > 0) this.frameRate = frameRate;
    // What was typed may count from the file's end, or from its timecode.
    for (const clip of this.items) {
      clip.start = parseTime(clip.startText, this);
      clip.end = parseTime(clip.endText, this);
    }
    this.#changed();
  }

  /** A new clip from `start`, as long as there is room for, and selected. */
  add(start) {
    const from = Math.max(0, Math.min(start, this.duration - Math.min(1, this.duration)));
    const clip = { id: this.#nextId++, start: 0, end: 0, startText: "", endText: "" };
    this.items.push(clip);
    this.selected = clip;
    this.move(clip, from, Math.min(from + NEW_CLIP_S, this.duration));
    return clip;
  }

  /** Set both ends, kept within the video and apart; the texts follow. */
  move(clip, start, end) {
    const step = Math.min(SHORTEST_S, this.duration);
    clip.start = Math.min(Math.max(0, start), this.duration - step);
    clip.end = Math.min(Math.max(clip.start + step, end), this.duration);
    clip.startText = formatTime(clip.start);
    clip.endText = formatTime(clip.end);
    this.#changed();
  }

  /** Slide by `offset` seconds from `start`, the length kept. */
  slide(clip, start) {
    const length = clip.end - clip.start;
    const from = Math.min(Math.max(0, start), this.duration - length);
    this.move(clip, from, from + length);
  }

  /** What a person typed, kept as typed so that a timecode reaches the server as it is. */
  type(clip, side, text, seconds) {
    clip[side] = seconds;
    clip[`${side}Text`] = text.trim();
    this.#changed();
  }

  remove(clip) {
    this.items = this.items.filter((other) => other !== clip);
    if (this.selected === clip) this.selected = this.items.at(-1) ?? null;
    this.#changed();
  }

  clear() {
    this.items = [];
    this.selected = null;
    this.#changed();
  }

  select(clip) {
    this.selected = clip;
    this.#changed();
  }

  /** Why this clip can't be cut, in one line, or an empty string. */
  problem(clip) {
    const { start, end } = clip;
    if (Number.isNaN(start) || Number.isNaN(end)) return "Write a time as 12.5, 1:05.250, 1m5s, 00:01:05:12, -10 or end.";
    if (end <= start) return "The end must come after the start.";
    if (this.duration && start >= this.duration) return "The clip starts past the end of the video.";
    return "";
  }

  get valid() {
    return this.items.every((clip) => !this.problem(clip));
  }

  /** The clips as the API takes them. */
  get texts() {
    return this.items.map((clip) => `${clip.startText}-${clip.endText}`);
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}
