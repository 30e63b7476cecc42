// The timeline: clips as blocks that can be dragged by pointer, touch or keyboard.

import { formatTime } from "./times.js";

/** Seconds that an arrow key moves a clip or an end, with and without Shift. */
const KEY_STEP_S = 0.1;
const KEY_LEAP_S = 1;

export class Timeline {
  #root;
  #playhead;
  #clips;
  #blocks = new Map();

  /** `seek(seconds)` is called when the bare track is pressed, and while an end is dragged. */
  constructor(root, playhead, clips, seek) {
    this.#root = root;
    this.#playhead = playhead;
    this.#clips = clips;
    this.seek = seek;
    clips.addEventListener("change", () => this.#draw());
    this.#drag(root, {
      begin: () => null,
      move: (_, seconds) => seek(seconds),
      jumps: true,
    });
  }

  showTime(seconds) {
    this.#playhead.style.left = this.#percent(seconds);
  }

  #draw() {
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
    const moveStart = (to) => {
      this.#clips.move(clip, Math.min(to, clip.end), clip.end);
      this.seek(clip.start);
    };
    const moveEnd = (to) => {
      this.#clips.move(clip, clip.start, to);
      this.seek(clip.end);
    };
    this.#grip(body, clip, () => clip.start, slide);
    this.#grip(start, clip, () => clip.start, moveStart);
    this.#grip(end, clip, () => clip.end, moveEnd);
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

  #grip(element, clip, value, set) {
    this.#drag(element, {
      begin: (seconds) => {
        this.#clips.select(clip);
        element.focus({ preventScroll: true });
        return seconds - value();
      },
      move: (offset, seconds) => set(seconds - offset),
    });
    element.addEventListener("focus", () => {
      if (this.#clips.selected !== clip) this.#clips.select(clip);
    });
    element.addEventListener("keydown", (event) => {
      const step = event.shiftKey ? KEY_LEAP_S : KEY_STEP_S;
      if (event.key === "ArrowLeft") set(value() - step);
      else if (event.key === "ArrowRight") set(value() + step);
      else if (event.key === "Delete" || event.key === "Backspace") this.#clips.remove(clip);
      else return;
      event.preventDefault();
    });
  }

  /** Pointer capture keeps the drag when the pointer leaves the element, by mouse or by finger. */
  #drag(element, { begin, move, jumps = false }) {
    let held;
    element.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || !this.#clips.duration) return;
      event.stopPropagation();
      event.preventDefault();
      element.setPointerCapture(event.pointerId);
      held = { offset: begin(this.#seconds(event)) };
      if (jumps) move(held.offset, this.#seconds(event));
    });
    element.addEventListener("pointermove", (event) => {
      if (held) move(held.offset, this.#seconds(event));
    });
    const drop = () => (held = undefined);
    element.addEventListener("pointerup", drop);
    element.addEventListener("pointercancel", drop);
  }

  #place(block, clip, number) {
    const shown = !Number.isNaN(clip.start) && !Number.isNaN(clip.end) && clip.end > clip.start;
    block.hidden = !shown;
    if (!shown) return;
    block.style.left = this.#percent(clip.start);
    block.style.right = `calc(100% - ${this.#percent(clip.end)})`;
    block.classList.toggle("selected", this.#clips.selected === clip);
    const [body, start, end] = block.children;
    body.textContent = number;
    this.#describe(body, `Clip ${number}`, clip.start, `${formatTime(clip.start)} to ${formatTime(clip.end)}`);
    this.#describe(start, `Start of clip ${number}`, clip.start, formatTime(clip.start));
    this.#describe(end, `End of clip ${number}`, clip.end, formatTime(clip.end));
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
    return Math.min(1, Math.max(0, (event.clientX - left) / width)) * this.#clips.duration;
  }

  #percent(seconds) {
    const { duration } = this.#clips;
    return `${duration ? Math.min(100, (seconds / duration) * 100) : 0}%`;
  }
}
