// The list of recent jobs, asked for again while the page is looked at.

import { recentJobs } from "./api.js";
import { isFinal } from "./live.js";

/** How many are listed, and milliseconds between two looks. */
const LISTED = 10;
const EVERY_MS = 5_000;

export class Recent {
  #list;
  #empty;
  #open;

  constructor(list, empty, open) {
    this.#list = list;
    this.#empty = empty;
    this.#open = open;
    this.refresh();
    setInterval(() => document.hidden || this.refresh(), EVERY_MS);
  }

  async refresh() {
    // A missed look is made good by the next one; the page says elsewhere when the server is away.
    const page = await recentJobs(LISTED).catch(() => null);
    if (!page) return;
    this.#empty.hidden = page.jobs.length > 0;
    const focused = document.activeElement?.dataset.job;
    this.#list.replaceChildren(...page.jobs.map((job) => this.#row(job)));
    if (focused) this.#list.querySelector(`[data-job="${CSS.escape(focused)}"]`)?.focus();
  }

  #row(job) {
    const row = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    button.className = "quiet";
    button.dataset.job = job.id;
    button.dataset.testid = "recent-job";
    button.append(
      text("span", job.upload.filename, "ellipsis"),
      text("span", new Date(job.created_at * 1000).toLocaleString(), "hint"),
      text("b", isFinal(job) ? job.state : `${job.state} ${Math.floor(job.percent)} %`, "state", job.state),
    );
    button.addEventListener("click", () => this.#open(job));
    row.append(button);
    return row;
  }
}

function text(tag, content, className, state) {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = content;
  if (state) element.dataset.state = state;
  return element;
}
