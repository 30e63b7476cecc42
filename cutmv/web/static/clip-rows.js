// The clips as rows of text fields, for exact times and for those who don't drag.

import { formatSpan, parseTime } from "./times.js";

export class ClipRows {
  #list;
  #template;
  #clips;
  #rows = new Map();

  constructor(list, template, clips) {
    this.#list = list;
    this.#template = template;
    this.#clips = clips;
    clips.addEventListener("change", () => this.#draw());
  }

  #draw() {
    const kept = new Set(this.#clips.items);
    for (const [clip, row] of this.#rows) {
      if (!kept.has(clip)) {
        row.remove();
        this.#rows.delete(clip);
      }
    }
    this.#clips.items.forEach((clip, index) => {
      if (!this.#rows.has(clip)) this.#rows.set(clip, this.#build(clip));
      this.#show(this.#rows.get(clip), clip, index + 1);
    });
  }

  #build(clip) {
    const row = this.#template.content.firstElementChild.cloneNode(true);
    for (const side of ["start", "end"]) {
      const field = row.querySelector(`.${side}`);
      field.addEventListener("focus", () => this.#clips.select(clip));
      field.addEventListener("input", () =>
        this.#clips.type(clip, side, field.value, parseTime(field.value, this.#clips)),
      );
    }
    row.querySelector(".pick").addEventListener("click", () => this.#clips.select(clip));
    row.querySelector(".remove").addEventListener("click", () => this.#clips.remove(clip));
    this.#list.append(row);
    return row;
  }

  #show(row, clip, number) {
    const problem = this.#clips.problem(clip);
    row.classList.toggle("selected", this.#clips.selected === clip);
    row.querySelector(".pick").textContent = `Clip ${number}`;
    row.querySelector(".remove").setAttribute("aria-label", `Remove clip ${number}`);
    for (const side of ["start", "end"]) {
      const field = row.querySelector(`.${side}`);
      // A field being typed in is left alone, or the cursor would jump.
      if (field !== document.activeElement) field.value = clip[`${side}Text`];
      field.setAttribute("aria-invalid", String(Boolean(problem)));
    }
    row.querySelector(".span").textContent = problem ? "" : formatSpan(clip.end - clip.start);
    const line = row.querySelector(".problem");
    line.hidden = !problem;
    line.textContent = problem;
  }
}
