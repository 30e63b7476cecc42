// Clips that the server suggests: asked for, waited for, and put into the list of clips.

import * as api from "./api.js";

/** Milliseconds between two looks at how far the server is. */
const LOOK_EVERY_MS = 1_000;
/** Seconds of a clip: half of a short video. */
const CLIP_S = 15;

/** Clips of an upload, `info`, the best first; `progressed` is told the percent until they are there. */
export async function suggested(info, progressed) {
  let found = await api.makeSuggestions(info.id);
  do {
    if (found.state !== "done") await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
    found = await api.suggestions(info.id, Math.min(CLIP_S, info.duration_s / 2));
    progressed(found.percent);
  } while (found.state !== "done");
  return found;
}

/** Suggestions, to be played, and taken one by one or all. */
export class SuggestionList {
  #root;
  #all;
  #template;
  #clips;
  #found = [];

  /** `play(suggestion)` is called to see one. */
  constructor({ list, all, template }, clips, play) {
    this.#root = list;
    this.#all = all;
    this.#template = template;
    this.#clips = clips;
    this.play = play;
    all.addEventListener("click", () => this.#take([...this.#found]));
  }

  show(found) {
    this.#found = found;
    this.#root.replaceChildren(...found.map((each) => this.#row(each)));
    this.#root.hidden = this.#all.hidden = !found.length;
  }

  #row(suggestion) {
    const row = this.#template.content.firstElementChild.cloneNode(true);
    const { text, label, score, reasons } = suggestion;
    row.querySelector(".name").textContent = `${text} ${label}`;
    row.querySelector(".why").textContent = `${Math.round(score * 100)} %: ${reasons.join("; ")}`;
    const [play, take] = [".play", ".take"].map((name) => row.querySelector(name));
    play.setAttribute("aria-label", `Play ${text}`);
    take.setAttribute("aria-label", `Take ${text}`);
    play.addEventListener("click", () => this.play(suggestion));
    take.addEventListener("click", () => {
      const next = row.nextElementSibling ?? row.previousElementSibling;
      this.#take([suggestion]);
      next?.querySelector(".take").focus();
    });
    return row;
  }

  /** Put suggestions among the clips, exact to the picture; they are suggested no longer. */
  #take(taken) {
    this.#clips.put(taken);
    for (const row of [...this.#root.children].filter((_, place) => taken.includes(this.#found[place]))) row.remove();
    this.#found = this.#found.filter((each) => !taken.includes(each));
    this.#root.hidden = this.#all.hidden = !this.#found.length;
  }
}
