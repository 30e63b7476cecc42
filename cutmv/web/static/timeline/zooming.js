// Zooms and scrolls the timeline: by wheel, by two fingers, by buttons and keys.

import { formatTime } from "../times.js";

/** How many times as much one press of a button, or a key, shows. */
const STEP = 2;
/** How many times as much a pixel of the wheel shows. */
const WHEEL = 1.004;
/** Positions of the scroll bar. */
const POSITIONS = 1000;

export class Zooming {
  #root;
  #view;
  #fingers = new Map();
  /** Whether two fingers are on the timeline, which then drag nothing. */
  pinching = false;

  /** `at()` is the time that stays in place where the pointer tells none. */
  constructor(root, view, { zoomIn, zoomOut, all, bar }, at) {
    this.#root = root;
    this.#view = view;
    this.keys = {
      "+": () => view.zoom(1 / STEP, at()),
      "=": () => view.zoom(1 / STEP, at()),
      "-": () => view.zoom(STEP, at()),
      0: () => view.show(0, view.duration),
    };
    zoomIn.addEventListener("click", this.keys["+"]);
    zoomOut.addEventListener("click", this.keys["-"]);
    all.addEventListener("click", this.keys[0]);
    bar.max = POSITIONS;
    bar.addEventListener("input", () => view.show((bar.value / POSITIONS) * (view.duration - view.span), view.span));
    view.addEventListener("change", () => {
      const rest = view.duration - view.span;
      bar.disabled = all.disabled = view.whole;
      bar.value = rest ? (view.start / rest) * POSITIONS : 0;
      bar.setAttribute("aria-valuetext", `${formatTime(view.start)} to ${formatTime(view.end)}`);
    });
    root.addEventListener("keydown", (event) => {
      const pages = { PageUp: -1, PageDown: 1 }[event.key];
      if (!pages) return;
      view.scroll(pages);
      event.preventDefault();
    });
    root.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    // Before what is below them: two fingers zoom, whatever they are on.
    root.addEventListener("pointerdown", (event) => this.#down(event), { capture: true });
    root.addEventListener("pointermove", (event) => this.#move(event), { capture: true });
    for (const name of ["pointerup", "pointercancel"]) {
      root.addEventListener(name, (event) => this.#up(event), { capture: true });
    }
  }

  #wheel(event) {
    const { deltaX, deltaY, shiftKey } = event;
    if (event.ctrlKey || event.metaKey) this.#view.zoom(WHEEL ** deltaY, this.#view.seconds(this.#part(event.clientX)));
    else if (shiftKey || Math.abs(deltaX) > Math.abs(deltaY)) {
      this.#view.scroll((deltaX || deltaY) / this.#root.clientWidth);
    } else return; // the page scrolls
    event.preventDefault();
  }

  #down(event) {
    if (event.pointerType !== "touch") return;
    this.#fingers.set(event.pointerId, event.clientX);
    this.pinching = this.#fingers.size > 1;
  }

  #move(event) {
    if (!this.#fingers.has(event.pointerId)) return;
    const before = this.#spread();
    this.#fingers.set(event.pointerId, event.clientX);
    const now = this.#spread();
    if (!this.pinching || !before.wide || !now.wide) return;
    const at = this.#view.seconds(this.#part(before.middle));
    const span = this.#view.span * (before.wide / now.wide);
    this.#view.show(at - this.#part(now.middle) * span, span);
  }

  #up(event) {
    this.#fingers.delete(event.pointerId);
    if (!this.#fingers.size) this.pinching = false;
  }

  #spread() {
    const [a = 0, b = 0] = this.#fingers.values();
    return { middle: (a + b) / 2, wide: Math.abs(a - b) };
  }

  #part(clientX) {
    const { left, width } = this.#root.getBoundingClientRect();
    return (clientX - left) / width;
  }
}
