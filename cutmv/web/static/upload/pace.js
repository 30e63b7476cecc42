// How fast bytes move, and how long it still takes.

/** Milliseconds over which the pace is taken, and before which none is told. */
const SPAN_MS = 10_000;
const LEAST_MS = 1_000;

export class Pace {
  #seen = [];

  /** Note how many bytes have been sent by now. */
  note(bytes, now = performance.now()) {
    const last = this.#seen.at(-1);
    if (last && bytes < last.bytes) this.#seen = []; // a part is sent again
    this.#seen.push({ bytes, now });
    while (this.#seen.length > 2 && this.#seen[0].now < now - SPAN_MS) this.#seen.shift();
  }

  /** Bytes a second; null where that is not known yet. */
  get rate() {
    const [first, last] = [this.#seen[0], this.#seen.at(-1)];
    if (!first || last.now - first.now < LEAST_MS) return null;
    return ((last.bytes - first.bytes) / (last.now - first.now)) * 1000;
  }
}
