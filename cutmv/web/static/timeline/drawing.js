// Draws the overview of a video on the timeline: times, small pictures, key pictures and the sound.

import { formatTime } from "../times.js";

/** Pixels of the times' height; parts of the rest that are pictures. */
const TIMES_PX = 18;
const PICTURES = 0.6;
/** Pixels between two times at least, and between two key pictures that are marked. */
const APART_PX = 90;
const KEYS_APART_PX = 4;
/** Seconds between two times; below them, frames. */
const STEPS_S = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200];

export class Drawing {
  #canvas;
  #view;
  #overview;
  #due = 0;
  frameRate = 30;

  constructor(canvas, view, overview) {
    this.#canvas = canvas;
    this.#view = view;
    this.#overview = overview;
    const draw = () => this.draw();
    view.addEventListener("change", draw);
    overview.addEventListener("change", draw);
    new ResizeObserver(draw).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  }

  /** Draw with the next frame of the screen. */
  draw() {
    cancelAnimationFrame(this.#due);
    this.#due = requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    const scale = devicePixelRatio;
    this.#canvas.width = Math.round(width * scale);
    this.#canvas.height = Math.round(height * scale);
    if (!width || !this.#view.span) return;
    const context = this.#canvas.getContext("2d");
    context.scale(scale, scale);
    const style = getComputedStyle(this.#canvas);
    const area = { context, width, colour: (name) => style.getPropertyValue(name) };
    const rest = height - TIMES_PX;
    this.#pictures(area, TIMES_PX, rest * PICTURES);
    this.#keys(area, TIMES_PX, rest * PICTURES);
    this.#sound(area, TIMES_PX + rest * PICTURES, rest * (1 - PICTURES));
    this.#times(area);
    this.#canvas.dataset.tiles = this.#overview.tiles.length;
    this.#canvas.dataset.peaks = this.#overview.peaks?.length ?? 0;
  }

  /** The times stand on one line, whatever is shown: at multiples of a step. */
  #times({ context, width, colour }) {
    const { start, end, span } = this.#view;
    const frame = 1 / this.frameRate;
    const least = (span / width) * APART_PX;
    const step = least < STEPS_S[0] ? Math.ceil(least / frame) * frame : (STEPS_S.find((each) => each >= least) ?? STEPS_S[STEPS_S.length - 1]);
    context.fillStyle = colour("--soft");
    context.strokeStyle = colour("--line");
    context.font = `11px ${getComputedStyle(this.#canvas).fontFamily}`;
    context.textBaseline = "middle";
    context.beginPath();
    for (let number = Math.ceil(start / step); number * step <= end; number++) {
      const x = this.#view.part(number * step) * width;
      const text = formatTime(number * step);
      context.moveTo(x, TIMES_PX - 5);
      context.lineTo(x, TIMES_PX);
      context.fillText(step < 1 ? text : text.slice(0, -4), x + 3, TIMES_PX / 2);
    }
    context.stroke();
  }

  /** Pictures side by side, each of its time; they stay where they are while the view scrolls. */
  #pictures({ context, width }, top, height) {
    const { tile, tiles } = this.#overview;
    if (!tiles.length) return;
    const wide = (tile.width / tile.height) * height;
    const { start, end, span } = this.#view;
    const each = (span / width) * wide;
    for (let number = Math.floor(start / each); number * each < end; number++) {
      const { image, x, y } = this.#overview.tileAt((number + 0.5) * each);
      const left = ((number * each - start) / span) * width;
      context.drawImage(image, x, y, tile.width, tile.height, left, top, wide, height);
    }
  }

  #keys({ context, width, colour }, top, height) {
    context.fillStyle = colour("--good");
    let last = -Infinity;
    const { start, end } = this.#view;
    const shown = this.#overview.keys.filter((at) => at >= start && at <= end);
    if (shown.length * KEYS_APART_PX > width) return;
    for (const at of shown) {
      const x = this.#view.part(at) * width;
      if (x - last < KEYS_APART_PX) continue;
      context.fillRect(x, top + height - 5, 1.5, 5);
      last = x;
    }
  }

  #sound({ context, width, colour }, top, height) {
    const { peaks, peaksASecond } = this.#overview;
    if (!peaks) return;
    const { start, span } = this.#view;
    const middle = top + height / 2;
    const up = height / 2 / 128;
    context.fillStyle = colour("--accent");
    for (let x = 0; x < width; x++) {
      const first = Math.floor((start + (x / width) * span) * peaksASecond);
      const past = Math.max(first + 1, Math.floor((start + ((x + 1) / width) * span) * peaksASecond));
      let [low, high] = [0, 0];
      for (let place = first; place < past && 2 * place < peaks.length; place++) {
        low = Math.min(low, peaks[2 * place]);
        high = Math.max(high, peaks[2 * place + 1]);
      }
      context.fillRect(x, middle - high * up, 1, Math.max(1, (high - low) * up));
    }
  }
}
