// The clips as rows of text fields, for exact times and for those who don't drag.

import { checked, fill, numbers } from "./options.js";
import { formatSpan, parseTime } from "./times.js";

/** Where the middle of a crop is when nobody moved it. */
const MIDDLE = [0.5, 0.5];

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
    const label = row.querySelector(".label");
    label.addEventListener("focus", () => this.#clips.select(clip));
    label.addEventListener("change", () => this.#clips.name(clip, label.value));
    const own = row.querySelector(".own");
    own.addEventListener("change", () => this.#clips.wish(clip, read(own)));
    own.addEventListener("focusin", () => this.#clips.selected !== clip && this.#clips.select(clip));
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
    const label = row.querySelector(".label");
    if (label !== document.activeElement) label.value = clip.label;
    show(row.querySelector(".own"), clip.own);
    row.querySelector(".span").textContent = problem ? "" : formatSpan(clip.end - clip.start);
    const line = row.querySelector(".problem");
    line.hidden = !problem;
    line.textContent = problem;
  }
}

/** What is wanted of one clip: only what was chosen. */
function read(own) {
  const field = (name) => own.querySelector(`[data-option=${name}]`);
  const [aspects, presets] = ["aspects", "presets"].map((name) => checked(field(name)).map(({ value }) => value));
  const centre = numbers(field("centre"));
  const moved = centre.length === 2 && centre.some((part, place) => part !== MIDDLE[place]);
  return { ...(aspects.length && { aspects }), ...(presets.length && { presets }), ...(moved && { centre }) };
}

function show(own, { aspects = [], presets = [], centre = MIDDLE }) {
  const count = aspects.length + presets.length;
  own.querySelector("summary").textContent = count ? `Products of this clip: ${[...aspects, ...presets].join(", ")}` : "Products of this clip";
  if (own.contains(document.activeElement)) return; // what is being chosen is left alone
  fill(own.querySelector("[data-option=aspects]"), aspects);
  fill(own.querySelector("[data-option=presets]"), presets);
  for (const [place, input] of own.querySelectorAll("[data-option=centre] input").entries()) input.value = centre[place];
}
