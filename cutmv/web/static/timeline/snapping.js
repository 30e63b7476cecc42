// What the ends of clips snap to: key pictures, scene changes, beats.

/** What people read of each kind. */
const KINDS = { keys: "a key picture", scenes: "a scene change", beats: "a beat" };

export class Snapping {
  enabled = true;
  #points = [];
  #of = { keys: [], scenes: [], beats: [] };

  /** Know the times of a kind, in seconds, in place of those that were known. */
  set(kind, times) {
    this.#of[kind] = times;
    this.#points = Object.entries(this.#of)
      .flatMap(([of, all]) => all.map((at) => ({ at, told: KINDS[of] })))
      .sort((a, b) => a.at - b.at);
  }

  /** The nearest point `within` seconds of a time; none where there is none. */
  near(seconds, within) {
    if (!this.enabled) return null;
    const place = this.#place(seconds);
    const beside = [this.#points[place - 1], this.#points[place]].filter(Boolean);
    const nearest = beside.sort((a, b) => Math.abs(a.at - seconds) - Math.abs(b.at - seconds))[0];
    return nearest && Math.abs(nearest.at - seconds) <= within ? nearest : null;
  }

  /** The next point after a time, or before it. */
  next(seconds, forward) {
    const nudge = 1e-4;
    return forward ? this.#points[this.#place(seconds + nudge)] : this.#points[this.#place(seconds - nudge) - 1];
  }

  /** What a time is, as people read it; empty where it is none of these. */
  told(seconds) {
    const found = this.#points[this.#place(seconds - 1e-6)];
    return found && Math.abs(found.at - seconds) < 1e-5 ? found.told : "";
  }

  /** The place of the first point at a time, or after it. */
  #place(seconds) {
    let [low, high] = [0, this.#points.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#points[middle].at < seconds) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
