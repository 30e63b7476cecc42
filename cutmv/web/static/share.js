// Links by which anybody sees a job's results: made, listed and ended by the job's owner.

import { endShare, makeShare, shares } from "./api.js";

export class ShareBox {
  #root;
  #form;
  #job = null;

  constructor(root) {
    this.#root = root;
    this.#form = root.querySelector("form");
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#make();
    });
    root.querySelector(".copy").addEventListener("click", () => this.#copy());
    root.addEventListener("toggle", () => root.open && this.#list());
  }

  /** Offer the results that a job has by now. */
  show(job) {
    const names = job.steps.filter(({ output }) => output).map(({ output }) => output.name);
    this.#root.hidden = !names.length;
    if (job.id !== this.#job) {
      this.#job = job.id;
      this.#root.open = false;
      this.#root.querySelector(".made-link").hidden = true;
      this.#tell("");
    }
    const { output } = this.#form.elements;
    if (output.dataset.names === names.join("\n")) return;
    const chosen = output.value;
    output.dataset.names = names.join("\n");
    output.replaceChildren(new Option("all results", ""), ...names.map((name) => new Option(name, name)));
    if (names.includes(chosen)) output.value = chosen;
  }

  async #make() {
    const { output, days } = this.#form.elements;
    await this.#try(async (job) => {
      const made = await makeShare(job, { output: output.value || null, days: Number(days.value) });
      if (job !== this.#job) return;
      const box = this.#root.querySelector(".made-link");
      box.hidden = false;
      box.querySelector("input").value = made.url;
      box.querySelector("input").select();
      this.#tell("The link is made.");
    });
  }

  async #copy() {
    const input = this.#root.querySelector(".made-link input");
    try {
      await navigator.clipboard.writeText(input.value);
      this.#tell("The link is copied.");
    } catch {
      input.select(); // no permission, or no HTTPS: the person copies it
      this.#tell("Press Ctrl+C to copy the link.");
    }
  }

  #list() {
    return this.#try(async () => {});
  }

  /** Do something, then list the links anew. */
  async #try(action) {
    const job = this.#job;
    try {
      await action(job);
      const found = await shares(job);
      if (job === this.#job) this.#show(found.shares);
    } catch (error) {
      this.#tell(error.message);
    }
  }

  #show(found) {
    this.#root.querySelector("ul").replaceChildren(...found.map((share) => this.#row(share)));
  }

  #row(share) {
    const row = document.createElement("li");
    row.dataset.testid = "share-row";
    const until = new Date(share.expires_at * 1000).toLocaleString();
    const told = document.createElement("span");
    told.textContent = `${share.output ?? "All results"}, until ${until}`;
    const end = document.createElement("button");
    Object.assign(end, { type: "button", className: "quiet danger", textContent: "End this link" });
    end.setAttribute("aria-label", `End the link to ${told.textContent}`);
    end.dataset.testid = "share-end";
    end.addEventListener("click", () => this.#try(async (job) => {
      await endShare(job, share.id);
      this.#root.querySelector(".made-link").hidden = true;
      this.#tell("The link shows nothing any more.");
      this.#root.querySelector("summary").focus();
    }));
    row.append(told, end);
    return row;
  }

  #tell(text) {
    this.#root.querySelector(".told").textContent = text;
  }
}
