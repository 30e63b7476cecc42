// The timeline: clips as blocks that can be dragged by pointer, touch or keyboard.

import { formatTime } from "./times.js";

/** Pixels within which what is dragged snaps. */
const SNAP_PX = 8;

/** Seconds that an arrow key moves a clip or an end, with and without Shift. */
const KEY_STEP_S = 0.1;
const KEY_LEAP_S = 1;

export class Timeline {
  #root;
  #playhead;
  #clips;
  #view;
  #snapping;
  #busy;
  #blocks = new Map();
  #now = 0;
  /** The part of each clip that is copied, by its text. */
  #copied = new Map();

  /**
   * `seek(seconds)` is called when the bare track is pressed, and while an end is dragged; while the timeline is
   * `busy()` otherwise nothing is dragged.
   */
  constructor(root, playhead, { clips, view, snapping, seek, busy }) {
    this.#root = root;
    this.#playhead = playhead;
    this.#clips = clips;
    this.#view = view;
    this.#snapping = snapping;
    this.#busy = busy;
    this.seek = seek;
    clips.addEventListener("change", () => {
      if (clips.duration !== view.duration) view.setSource(clips.duration, clips.frameRate);
      this.#draw();
    });
    view.addEventListener("change", () => this.#draw());
    this.#drag(root, {
      begin: () => null,
      move: (_, seconds) => seek(seconds),
      jumps: true,
    });
  }

  /** Show where the player is, and have that in view. */
  showTime(seconds) {
    const moved = seconds !== this.#now;
    this.#now = seconds;
    if (moved) this.#view.follow(seconds);
    this.#playhead.style.left = this.#percent(seconds);
  }

  /** Show what of each clip is copied: most, of several `outputs`. */
  estimated(outputs) {
    this.#copied.clear();
    for (const { clip, copied_s } of outputs) {
      const part = (copied_s ?? 0) / (clip.end - clip.start);
      this.#copied.set(clip.text, Math.max(part, this.#copied.get(clip.text) ?? 0));
    }
    this.#draw();
  }

  #draw() {
    this.#playhead.style.left = this.#percent(this.#now);
    const kept = new Set(this.#clips.items);
    for (const [clip, block] of this.#blocks) {
      if (!kept.has(clip)) {
        block.remove();
        this.#blocks.delete(clip);
      }
    }
    const lanes = this.#clips.lanes;
    this.#root.style.setProperty("--lanes", Math.max(1, ...[...lanes.values()].map((lane) => lane + 1)));
    this.#clips.items.forEach((clip, index) => {
      if (!this.#blocks.has(clip)) this.#blocks.set(clip, this.#build(clip));
      const block = this.#blocks.get(clip);
      block.style.setProperty("--lane", lanes.get(clip));
      this.#place(block, clip, index + 1);
    });
  }

  #build(clip) {
    const block = document.createElement("div");
    block.className = "clip";
    block.dataset.testid = "clip";
    const body = this.#handle("body");
    const start = this.#handle("start");
    const end = this.#handle("end");
    block.append(body, start, end);
    this.#root.append(block);
    const slide = (to) => this.#clips.slide(clip, to);
    const length = () => clip.end - clip.start;
    const moveStart = (to) => {
      this.#clips.move(clip, Math.min(to, clip.end), clip.end);
      this.seek(clip.start);
    };
    const moveEnd = (to) => {
      this.#clips.move(clip, clip.start, to);
      this.seek(clip.end);
    };
    this.#grip(body, clip, { value: () => clip.start, set: slide, snaps: () => [0, length()] });
    this.#grip(start, clip, { value: () => clip.start, set: moveStart, snaps: () => [0] });
    this.#grip(end, clip, { value: () => clip.end, set: moveEnd, snaps: () => [0] });
    return block;
  }

  #handle(kind) {
    const handle = document.createElement("div");
    handle.className = `grip ${kind}`;
    handle.dataset.testid = `grip-${kind}`;
    handle.tabIndex = 0;
    handle.setAttribute("role", "slider");
    return handle;
  }

  /** What is dragged snaps by its places `snaps`, in seconds after what is set. */
  #grip(element, clip, { value, set, snaps }) {
    this.#drag(element, {
      begin: (seconds) => {
        this.#clips.select(clip);
        element.focus({ preventScroll: true });
        return seconds - value();
      },
      move: (offset, seconds, event) => set(this.#snapped(seconds - offset, snaps(), event)),
    });
    element.addEventListener("focus", () => {
      this.#view.follow(value());
      if (this.#clips.selected !== clip) this.#clips.select(clip);
    });
    element.addEventListener("keydown", (event) => {
      const step = event.shiftKey ? KEY_LEAP_S : KEY_STEP_S;
      const sign = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (sign && event.ctrlKey) set(this.#snapping.next(value(), sign > 0)?.at ?? value());
      else if (sign) set(toMillisecond(value() + sign * step));
      else if (event.key === "Delete" || event.key === "Backspace") this.#clips.remove(clip);
      else return;
      event.preventDefault();
    });
  }

  /** Pointer capture keeps the drag when the pointer leaves the element, by mouse or by finger. */
  #drag(element, { begin, move, jumps = false }) {
    let held;
    element.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || !this.#clips.duration || this.#busy()) return;
      event.stopPropagation();
      event.preventDefault();
      element.setPointerCapture(event.pointerId);
      held = { offset: begin(this.#seconds(event)) };
      if (jumps) move(held.offset, this.#seconds(event), event);
    });
    element.addEventListener("pointermove", (event) => {
      if (this.#busy()) drop();
      if (held) move(held.offset, this.#seconds(event), event);
    });
    const drop = () => (held = undefined);
    element.addEventListener("pointerup", drop);
    element.addEventListener("pointercancel", drop);
  }

  /** A time as it is set: at a point nearby, unless Alt is held, or else to the millisecond. */
  #snapped(seconds, places, { altKey }) {
    const within = altKey ? 0 : (SNAP_PX * this.#view.span) / this.#root.clientWidth;
    const found = within && places.map((place) => [this.#snapping.near(seconds + place, within), place]).find(([point]) => point);
    return found ? found[0].at - found[1] : toMillisecond(seconds);
  }

  #place(block, clip, number) {
    const shown = !Number.isNaN(clip.start) && !Number.isNaN(clip.end) && clip.end > clip.start;
    block.hidden = !shown;
    if (!shown) return;
    block.style.left = this.#percent(clip.start);
    block.style.right = `calc(100% - ${this.#percent(clip.end)})`;
    const copied = this.#copied.get(`${clip.startText}-${clip.endText}`) ?? 0;
    block.style.setProperty("--copied", `${copied * 100}%`);
    block.classList.toggle("selected", this.#clips.selected === clip);
    const [body, start, end] = block.children;
    body.textContent = [number, clip.label].filter(Boolean).join(" ");
    const told = copied ? `, ${Math.round(copied * 100)} % copied as it is` : "";
    this.#describe(body, `Clip ${number}`, clip.start, `${formatTime(clip.start)} to ${formatTime(clip.end)}${told}`);
    this.#edge(start, `Start of clip ${number}`, clip.start);
    this.#edge(end, `End of clip ${number}`, clip.end);
  }

  #edge(element, label, at) {
    const told = this.#snapping.told(at);
    element.classList.toggle("snapped", Boolean(told));
    this.#describe(element, label, at, told ? `${formatTime(at)}, ${told}` : formatTime(at));
  }

  #describe(element, label, value, text) {
    element.setAttribute("aria-label", label);
    element.setAttribute("aria-valuemin", "0");
    element.setAttribute("aria-valuemax", String(this.#clips.duration));
    element.setAttribute("aria-valuenow", String(value));
    element.setAttribute("aria-valuetext", text);
  }

  #seconds(event) {
    const { left, width } = this.#root.getBoundingClientRect();
    return this.#view.seconds((event.clientX - left) / width);
  }

  #percent(seconds) {
    return `${this.#view.part(seconds) * 100}%`;
  }
}

const toMillisecond = (seconds) => Math.round(seconds * 1000) / 1000;
