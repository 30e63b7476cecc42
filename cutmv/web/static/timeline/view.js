// The part of the video that the timeline shows: from an hour to one frame.

/** Fires `change` after each change. */
export class View extends EventTarget {
  duration = 0;
  start = 0;
  span = 0;
  #least = 1;

  /** Show all of a video of `duration` seconds, whose frames come `frameRate` a second. */
  setSource(duration, frameRate) {
    this.duration = duration;
    this.#least = Math.min(duration, 1 / frameRate);
    this.show(0, duration);
  }

  get end() {
    return this.start + this.span;
  }

  get whole() {
    return this.span >= this.duration;
  }

  /** Where a time is, as a part of the timeline's width; far outside it is somewhere outside. */
  part(seconds) {
    return this.span ? Math.min(2, Math.max(-1, (seconds - this.start) / this.span)) : 0;
  }

  /** The time at a part of the timeline's width. */
  seconds(part) {
    return this.start + Math.min(1, Math.max(0, part)) * this.span;
  }

  /** Show `span` seconds from `start` on, as far as there are. */
  show(start, span) {
    this.span = Math.min(this.duration, Math.max(this.#least, span));
    this.start = Math.min(this.duration - this.span, Math.max(0, start));
    this.dispatchEvent(new Event("change"));
  }

  /** Show `factor` times as much; the time `at` stays where it is. */
  zoom(factor, at) {
    const span = Math.min(this.duration, Math.max(this.#least, this.span * factor));
    this.show(at - this.part(at) * span, span);
  }

  /** Scroll by as many times what is shown. */
  scroll(times) {
    this.show(this.start + times * this.span, this.span);
  }

  /** Have a time in view. */
  follow(seconds) {
    if (seconds < this.start || seconds > this.end) this.show(seconds - this.span / 4, this.span);
  }
}
