// The list of recent jobs, as the page's WebSocket tells it.

import { isFinal } from "./live.js";

/** How many are shown. */
const SHOWN = 10;

export class Recent {
  #list;
  #empty;
  #open;
  #jobs = new Map();
  #rows = new Map();

  /** `open` is told the id of the job that is chosen. */
  constructor(list, empty, open) {
    this.#list = list;
    this.#empty = empty;
    this.#open = open;
  }

  /** Show other jobs in place of those that are shown. */
  jobs(jobs) {
    this.#jobs = new Map(jobs.map((job) => [job.id, job]));
    this.#order();
  }

  /** Show a job as it is now, whether or not it was there. */
  job(job) {
    const isNew = !this.#jobs.has(job.id);
    this.#jobs.set(job.id, job);
    if (isNew) this.#order();
    else if (this.#rows.has(job.id)) fill(this.#rows.get(job.id), job);
  }

  /** What is shown of a job; undefined where it is not among them. */
  known(id) {
    return this.#jobs.get(id);
  }

  deleted(id) {
    this.#jobs.delete(id);
    this.#order();
  }

  #order() {
    const newest = [...this.#jobs.values()].sort((a, b) => b.created_at - a.created_at).slice(0, 2 * SHOWN);
    this.#jobs = new Map(newest.map((job) => [job.id, job]));
    this.#empty.hidden = newest.length > 0;
    const focused = /** @type {HTMLElement | null} */ (document.activeElement)?.dataset.job;
    const shown = newest.slice(0, SHOWN).map((job) => /** @type {const} */ ([job.id, this.#rows.get(job.id) ?? this.#row(job)]));
    this.#rows = new Map(shown);
    for (const [id, row] of shown) fill(row, this.#jobs.get(id));
    this.#list.replaceChildren(...this.#rows.values());
    if (focused) this.#list.querySelector(`[data-job="${CSS.escape(focused)}"]`)?.focus();
  }

  #row({ id }) {
    const row = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    button.className = "quiet";
    button.dataset.job = id;
    button.dataset.testid = "recent-job";
    for (const [tag, name] of [["span", "ellipsis"], ["span", "hint"], ["b", "state"]]) {
      button.append(Object.assign(document.createElement(tag), { className: name }));
    }
    button.addEventListener("click", () => this.#open(id));
    row.append(button);
    return row;
  }
}

function fill(row, job) {
  const [name, when, state] = row.firstElementChild.children;
  name.textContent = job.upload.filename;
  when.textContent = new Date(job.created_at * 1000).toLocaleString();
  state.textContent = isFinal(job) ? job.state : `${job.state} ${Math.floor(job.percent)} %`;
  state.dataset.state = job.state;
}
