// An output beside the same span of the video that it is of: both play, pause and seek in step.

import { pace, sourceTime } from "./in-step.js";
import { playable } from "./proxy.js";
import { formatTime } from "./times.js";

/** Milliseconds between two looks at how far the two are apart. */
const LOOK_EVERY_MS = 200;
/** Seconds into a picture: exactly where one begins, a browser may show the one before. */
const INTO_S = 0.002;

export class Compare {
  #box;
  #clip;
  #source;
  #output;
  #at;
  #play;
  #timer = 0;
  /** Whether both are to play, also while one of them waits for its bytes. */
  #plays = false;

  /** Compare what `step` made with the upload of an id, in a copy of `template`. */
  constructor(template, step, upload) {
    this.#clip = step.clip;
    this.#box = template.content.firstElementChild.cloneNode(true);
    this.#source = this.#box.querySelector(".source");
    this.#output = this.#box.querySelector(".output");
    this.#at = this.#box.querySelector(".at");
    this.#play = this.#box.querySelector(".play");
    this.#listen(upload);
    this.#source.src = `/api/uploads/${upload}/content`;
    this.#output.src = step.output.url;
  }

  get element() {
    return this.#box;
  }

  #listen(upload) {
    const [source, output] = [this.#source, this.#output];
    source.addEventListener("error", () => this.#useProxy(upload), { once: true });
    source.addEventListener("loadedmetadata", () => this.#seek(output.currentTime || INTO_S));
    output.addEventListener("loadedmetadata", () => {
      this.#at.max = output.duration;
      this.#show();
    });
    output.addEventListener("timeupdate", () => this.#show());
    output.addEventListener("ended", () => this.#pause());
    this.#play.addEventListener("click", () => (this.#plays ? this.#pause() : this.#playBoth()));
    this.#at.addEventListener("input", () => this.#seek(Number(this.#at.value) + INTO_S));
    // Keys mean the two here, and not the timeline.
    this.#box.addEventListener("keydown", (event) => event.stopPropagation());
  }

  async #useProxy(upload) {
    try {
      this.#source.src = await playable(upload, () => {});
    } catch (error) {
      const told = this.#box.querySelector(".problem");
      told.hidden = false;
      told.textContent = `This browser can't play the video: ${error.message}`;
    }
  }

  #seek(at) {
    this.#output.currentTime = at;
    this.#source.currentTime = sourceTime(this.#clip, at);
    this.#show();
  }

  #playBoth() {
    if (this.#output.ended) this.#seek(INTO_S);
    this.#plays = true;
    this.#play.textContent = "Pause";
    clearInterval(this.#timer);
    this.#timer = setInterval(() => this.#keepInStep(), LOOK_EVERY_MS);
    this.#keepInStep();
  }

  #pause() {
    this.#plays = false;
    this.#play.textContent = "Play";
    clearInterval(this.#timer);
    this.#source.pause();
    this.#output.pause();
    this.#source.playbackRate = 1;
    // A little on: a browser shows nothing anew where it is told to be.
    this.#seek(this.#output.currentTime + INTO_S);
  }

  #keepInStep() {
    if (!this.#box.isConnected) {
      this.#pause();
      return;
    }
    const both = [this.#source, this.#output];
    // Where one waits for its bytes, the other does, too.
    const go = both.every((video) => video.ended || video.readyState >= HTMLMediaElement.HAVE_FUTURE_DATA);
    for (const video of both) {
      if (!go) video.pause();
      // One that is paused before it has begun says so; nobody need know.
      else if (video.paused && !video.ended) video.play().catch(() => {});
    }
    if (this.#source.seeking) return;
    const wanted = sourceTime(this.#clip, this.#output.currentTime);
    const rate = pace(wanted - this.#source.currentTime);
    if (rate === null) this.#source.currentTime = wanted;
    this.#source.playbackRate = rate ?? 1;
  }

  #show() {
    const { currentTime, duration } = this.#output;
    this.#at.value = currentTime;
    this.#at.setAttribute("aria-valuetext", formatTime(currentTime));
    this.#box.querySelector("output").textContent = `${formatTime(currentTime)} / ${formatTime(duration || 0)}`;
  }
}
