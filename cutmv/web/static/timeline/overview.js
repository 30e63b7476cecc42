// What there is of a video's overview, which grows while the server makes it.

import * as api from "../api.js";

/** Milliseconds between two looks at what there is, at first and at most. */
const LOOK_MS = 300;
const MOST_LOOK_MS = 3_000;
/** Looks in a row that may fail. */
const MOST_FAILURES = 5;

/** Fires `change` whenever there is more. */
export class Overview extends EventTarget {
  /** Small pictures by their times: `at`, and where in an `image`, `x`, `y`. */
  tiles = [];
  /** The size of each. @type {{ width: number, height: number } | null} */
  tile = null;
  /** Pairs of the lowest and the highest sample, -128 to 127, so many a second. @type {Int8Array | null} */
  peaks = null;
  peaksASecond = 0;
  /** When key pictures are shown. */
  keys = [];
  percent = 0;
  problem = "";
  #stop = new AbortController();
  #sheets = new Set();
  #heard = "";

  /** Forget what there is, and look at another upload, or at none. */
  async watch(id) {
    this.#stop.abort();
    this.#stop = new AbortController();
    const { signal } = this.#stop;
    Object.assign(this, { tiles: [], tile: null, peaks: null, keys: [], percent: 0, problem: "" });
    this.#sheets = new Set();
    this.#heard = "";
    this.#changed();
    if (!id) return;
    let failures = 0;
    /** @type {any} */
    let found = null;
    for (let pause = LOOK_MS; !signal.aborted; pause = Math.min(MOST_LOOK_MS, pause * 1.3)) {
      try {
        found = found ? await api.overview(id) : await api.makeOverview(id);
        if (signal.aborted) return;
        await this.#take(found, signal);
        failures = 0;
      } catch (error) {
        if (signal.aborted) return;
        if (error.status === 404 || ++failures > MOST_FAILURES) {
          this.problem = error.message;
          this.#changed();
          return;
        }
      }
      if (found && found.state !== "queued" && found.state !== "running" && !failures) return;
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }

  /** The small picture that is shown at a time, or the nearest; none while there is none. */
  tileAt(seconds) {
    let [low, high] = [0, this.tiles.length - 1];
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if (this.tiles[middle].at <= seconds) low = middle;
      else high = middle - 1;
    }
    return this.tiles[low];
  }

  async #take(found, signal) {
    this.tile = found.tile;
    this.keys = found.keys;
    this.percent = found.percent;
    this.problem = found.error ?? "";
    this.#changed();
    const fresh = found.sheets.filter(({ url }) => !this.#sheets.has(url));
    await Promise.all([...fresh.map((sheet) => this.#load(sheet, found.tile, signal)), this.#hear(found.peaks, signal)]);
  }

  async #load({ url, times, columns }, { width, height }, signal) {
    const image = new Image();
    image.src = url;
    await image.decode();
    if (signal.aborted) return;
    this.#sheets.add(url);
    const tiles = times.map((at, place) => {
      return { at, image, x: (place % columns) * width, y: Math.floor(place / columns) * height };
    });
    this.tiles = [...this.tiles, ...tiles].sort((a, b) => a.at - b.at);
    this.#changed();
  }

  async #hear(peaks, signal) {
    if (!peaks || peaks.url === this.#heard) return;
    const samples = await api.bytes(peaks.url);
    if (signal.aborted) return;
    this.#heard = peaks.url;
    this.peaks = new Int8Array(samples);
    this.peaksASecond = peaks.a_second;
    this.#changed();
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}
