// One file on its way to the server, in parts: several at once, each checked, again where one fails.

import * as api from "../api.js";
import { md5 } from "./md5.js";
import { passes, persist } from "./patience.js";

/** Parts on their way at once. */
const AT_ONCE = 4;
/** Bytes by whose looks the server refuses what is no video. */
const HEAD_BYTES = 400;
/**
 * Tries at a part that the storage itself refuses, and that are lost on their way to it, before the
 * server is to take it for us.
 */
const REFUSED_TRIES = 2;
const LOST_TRIES = 5;
/** Tries at a part that comes damaged. */
const DAMAGED_TRIES = 5;

/** Whether parts go to the storage itself; not where that fails. */
let direct = true;
/** Whether some bytes have gone there: so it lets the browser send them, and what fails is the line. */
let allowed = false;

export class PartedUpload {
  #file;
  #on;
  #begun;
  #stored = new Map();
  #moving = new Map();
  #aborter = new AbortController();
  #paused = false;

  /**
   * `begun` is what the server has of the file from another time. `on.moved(bytes)` is told what has
   * been sent, `on.waits(error)` why it does not go on now.
   */
  constructor(file, begun, on) {
    this.#file = file;
    this.#begun = begun;
    this.#on = on;
  }

  /** Send what is missing, and return the upload. It fails by AbortError when it is paused. */
  async run() {
    this.#paused = false;
    this.#aborter = new AbortController();
    const known = this.#begun !== undefined;
    try {
      return await this.#run();
    } catch (error) {
      this.#aborter.abort(error); // what else is on its way
      if (error.status !== 404 || !known) throw error;
    }
    // What the server had has expired.
    this.#begun = undefined;
    this.#aborter = new AbortController();
    return this.#run();
  }

  async #run() {
    this.#begun ??= await this.#persist(async () =>
      api.beginUpload(this.#file, await base64(this.#file.slice(0, HEAD_BYTES))),
    );
    for (;;) {
      await this.#findStored();
      const missing = this.#numbers().filter((number) => !this.#stored.has(number));
      const sender = () => this.#sendAll(missing);
      await Promise.all(Array.from({ length: Math.min(AT_ONCE, missing.length) }, sender));
      this.#aborter.signal.throwIfAborted();
      try {
        return await this.#persist(() => api.completeUpload(this.#begun.id));
      } catch (error) {
        if (error.status !== 409) throw error; // the server lacks parts
      }
    }
  }

  /** Stop for now: `run` goes on where it was. */
  pause() {
    this.#paused = true;
    this.#aborter.abort(new DOMException("paused", "AbortError"));
  }

  get paused() {
    return this.#paused;
  }

  /** Give it up, here and on the server. */
  async cancel() {
    this.pause();
    if (this.#begun) await api.abortUpload(this.#begun.id);
  }

  /** The bytes that were sent. */
  get bytes() {
    const sum = (values) => [...values].reduce((total, each) => total + each, 0);
    return sum(this.#stored.values()) + sum(this.#moving.values());
  }

  #numbers() {
    return Array.from({ length: this.#begun.parts }, (_, index) => index + 1);
  }

  #slice(number) {
    const at = (number - 1) * this.#begun.part_bytes;
    return this.#file.slice(at, at + this.#begun.part_bytes);
  }

  #persist(attempt, again = passes) {
    return persist(attempt, { signal: this.#aborter.signal, waits: this.#on.waits, again });
  }

  /** Ask what is stored, and take nothing for ours that the file has not. */
  async #findStored() {
    const { stored } = await this.#persist(() => api.begunUpload(this.#begun.id));
    this.#stored.clear();
    for (const { number, size, etag } of stored) {
      this.#aborter.signal.throwIfAborted();
      if ((await md5(this.#slice(number))).hex === etag) this.#stored.set(number, size);
      this.#on.moved(this.bytes);
    }
  }

  async #sendAll(missing) {
    for (let number = missing.shift(); number; number = missing.shift()) await this.#send(number);
  }

  async #send(number) {
    const part = this.#slice(number);
    const sum = await md5(part);
    let damaged = 0;
    let refused = 0;
    let lost = 0;
    const attempt = async () => {
      const signed = await api.signPart(this.#begun.id, number, sum.base64, direct);
      try {
        await api.sendPart(signed, part, {
          signal: this.#aborter.signal,
          moved: (bytes) => {
            allowed ||= signed.direct && bytes > 0;
            this.#move(number, bytes);
          },
        });
      } catch (error) {
        this.#moving.delete(number);
        this.#on.moved(this.bytes);
        if (signed.direct) {
          lost++;
          if (!allowed || !passes(error)) refused++;
          if (refused >= REFUSED_TRIES || lost >= LOST_TRIES) direct = false;
        }
        throw Object.assign(error, { direct: signed.direct });
      }
    };
    const again = (error) =>
      error.direct || passes(error) || (error.status === 400 && ++damaged < DAMAGED_TRIES);
    await this.#persist(attempt, again);
    this.#moving.delete(number);
    this.#stored.set(number, part.size);
    this.#on.moved(this.bytes);
  }

  #move(number, bytes) {
    this.#moving.set(number, bytes);
    this.#on.moved(this.bytes);
  }
}

async function base64(blob) {
  return btoa(String.fromCharCode(...new Uint8Array(await blob.arrayBuffer())));
}
