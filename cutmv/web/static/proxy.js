// A film in place of a video that the browser can't play, which the server makes.

import * as api from "./api.js";

/** Milliseconds between two looks at how far the server is. */
const LOOK_EVERY_MS = 1_000;

const MAKING = "This browser can't play the file. A film that it can play is being made";
const PLAYS =
  "What plays here is a small film in place of the file, which this browser can't play. Clips are cut from the file itself.";

export class ProxyPlayer {
  #player;
  #told;
  #upload;
  #asked = null;

  /** `upload()` is the id of what the `player` plays; none while it is on its way. `told` is what people read. */
  constructor(player, told, upload) {
    this.#player = player;
    this.#told = told;
    this.#upload = upload;
    player.addEventListener("error", () => this.#play());
    // Of some files it plays the sound alone.
    player.addEventListener("loadedmetadata", () => player.videoWidth || this.#play());
  }

  /** Another file is to be played. */
  reset() {
    this.#asked = null;
    this.#told.hidden = true;
  }

  /** What is played has arrived at the server. */
  uploaded() {
    if (!this.#told.hidden) this.#play();
  }

  async #play() {
    this.#told.hidden = false;
    const id = this.#upload();
    if (!id || this.#asked === id) return; // on its way, or already asked for
    this.#asked = id;
    const tell = (text) => {
      if (this.#asked === id) this.#told.textContent = text;
    };
    try {
      tell(`${MAKING}…`);
      const url = await playable(id, (percent) => tell(`${MAKING}: ${Math.round(percent)} %`));
      if (this.#asked !== id) return; // another file meanwhile
      this.#player.src = url;
      tell(PLAYS);
    } catch (error) {
      tell(`This browser can't play the file, nor can another be made of it: ${error.message} Clips can still be typed below.`);
    }
  }
}

/** The address of a film of an upload that plays; `progressed` is told the percent until it is there. */
export async function playable(id, progressed) {
  let found = await api.makeProxy(id);
  while (found.state === "queued" || found.state === "running") {
    progressed(found.percent);
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
    found = await api.proxy(id);
  }
  if (!found.url) throw new Error(found.error ?? "It can't be made.");
  return found.url;
}
