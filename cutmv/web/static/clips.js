// The clips of the job being prepared, and nothing of how they are shown.

import { exactTime, parseTime } from "./times.js";

/** Seconds: the length of a new clip, and the shortest that dragging leaves. */
const NEW_CLIP_S = 10;
const SHORTEST_S = 0.04;
/** Milliseconds within which changes of the same clips are one, as a drag is. */
const ONE_CHANGE_MS = 500;
/** Changes that can be undone. */
const MAX_CHANGES = 200;

/**
 * A clip: its ends in seconds and as they were typed, and what its owner wants of it.
 * @typedef {{ id: number, start: number, end: number, startText: string, endText: string, label: string, own: Record<string, any> }} Clip
 */

/** Fires `change` after each change, with every clip valid for a video of `duration` seconds. */
export class Clips extends EventTarget {
  /** @type {Clip[]} */
  items = [];
  /** @type {Clip | null} */
  selected = null;
  duration = 0;
  frameRate = 30;
  timecode = null;
  #nextId = 1;
  /** What the clips were, the latest last, and what was undone; the latest is what they are. */
  #past = ["[]"];
  #undone = [];
  #notedAt = -Infinity;

  reset() {
    this.items = [];
    this.selected = null;
    this.duration = 0;
    this.timecode = null;
    this.#past = ["[]"];
    this.#undone = [];
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

  /**
   * A new clip from `start`, or from the end of the clips that are there already, as long as there is
   * room for, and selected.
   */
  add(start) {
    const latest = this.duration - Math.min(1, this.duration);
    const from = Math.max(0, Math.min(start, latest));
    const free = this.#free(from);
    return this.#insert(free > latest ? from : free, NEW_CLIP_S);
  }

  /** The same clip once more, after it where there is room. */
  duplicate(clip) {
    const length = clip.end - clip.start;
    return this.#insert(Math.max(0, Math.min(clip.end, this.duration - length)), length, clip.own);
  }

  /** Make two clips of the one that has `at` within, if there is one. */
  split(clip, at) {
    if (!clip || at <= clip.start || at >= clip.end) return;
    const { end, own } = clip;
    this.#set(clip, clip.start, at);
    this.#insert(at, end - at, own);
  }

  undo() {
    if (this.#past.length < 2) return;
    this.#undone.push(this.#past.pop());
    this.#restore(this.#past.at(-1));
  }

  redo() {
    if (!this.#undone.length) return;
    this.#past.push(this.#undone.pop());
    this.#restore(this.#past.at(-1));
  }

  get canUndo() {
    return this.#past.length > 1;
  }

  get canRedo() {
    return this.#undone.length > 0;
  }

  /** The lane of each clip, from 0: those that are at the same time are in different ones. */
  get lanes() {
    const ends = [];
    const lanes = new Map();
    for (const clip of [...this.items].sort((a, b) => a.start - b.start)) {
      const free = ends.findIndex((end) => end <= clip.start);
      const lane = free < 0 ? ends.length : free;
      ends[lane] = clip.end;
      lanes.set(clip, lane);
    }
    return lanes;
  }

  /** Set both ends, kept within the video and apart; the texts follow. */
  move(clip, start, end) {
    this.#set(clip, start, end);
    this.#changed();
  }

  #set(clip, start, end) {
    const step = Math.min(SHORTEST_S, this.duration);
    clip.start = Math.min(Math.max(0, start), this.duration - step);
    clip.end = Math.min(Math.max(clip.start + step, end), this.duration);
    clip.startText = exactTime(clip.start);
    clip.endText = exactTime(clip.end);
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
  get wanted() {
    return this.items.map(({ startText, endText, label, own }) => ({ text: `${startText}-${endText}`, label, ...own }));
  }

  /** Add clips as they are, the last of them selected: each has a `start`, an `end`, perhaps a `label`. */
  put(found) {
    for (const { start, end, label = "" } of found) {
      const clip = this.#fresh(label);
      this.items.push(clip);
      this.#set(clip, start, end);
      this.selected = clip;
    }
    this.#changed();
  }

  /** Call a clip something, which names its results. */
  name(clip, label) {
    clip.label = label.trim();
    this.#changed();
  }

  /** Have a clip made otherwise than the others: by `aspects`, `presets`, a `centre`. */
  wish(clip, own) {
    clip.own = own;
    this.#changed();
  }

  /** The first time from `from` on that is in no clip. */
  #free(from) {
    const over = this.items.find((clip) => clip.start <= from && from < clip.end);
    return over ? this.#free(over.end) : from;
  }

  #fresh(label, own = {}) {
    return { id: this.#nextId++, start: 0, end: 0, startText: "", endText: "", label, own: structuredClone(own) };
  }

  #insert(from, length, own) {
    const clip = this.#fresh("", own);
    this.items.push(clip);
    this.selected = clip;
    this.move(clip, from, Math.min(from + length, this.duration));
    return clip;
  }

  #changed() {
    this.#note();
    this.dispatchEvent(new Event("change"));
  }

  /** Note what the clips are now; what changes while they are dragged is one change. */
  #note() {
    const now = JSON.stringify(this.items);
    if (now === this.#past.at(-1)) return;
    const ids = (text) => JSON.parse(text).map(({ id }) => id).join();
    const since = performance.now() - this.#notedAt;
    const same = this.#past.length > 1 && ids(now) === ids(this.#past.at(-1));
    if (same && since < ONE_CHANGE_MS) this.#past.pop();
    this.#past.push(now);
    this.#past.splice(1, this.#past.length - MAX_CHANGES);
    this.#undone = [];
    this.#notedAt = performance.now();
  }

  #restore(text) {
    const selected = this.selected?.id;
    // What can't be read as a time is no number, which JSON tells as null.
    this.items = JSON.parse(text, (_, value) => value ?? NaN);
    this.selected = this.items.find(({ id }) => id === selected) ?? this.items.at(-1) ?? null;
    this.#notedAt = -Infinity;
    this.dispatchEvent(new Event("change"));
  }
}
