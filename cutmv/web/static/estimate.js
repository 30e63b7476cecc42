// What the job would take, told while it is being prepared.

import * as api from "./api.js";
import { formatBytes, formatSpan } from "./times.js";

/** Milliseconds without a change after which the server is asked. */
const REST_MS = 500;

/** Fires `change` with each answer: `outputs` are those of the estimate, none while there is none. */
export class Estimate extends EventTarget {
  outputs = [];
  #root;
  #request;
  #due;
  #asked = 0;

  /** `request()` is the job as it would be asked for; none while it can't be. */
  constructor(root, request) {
    super();
    this.#root = root;
    this.#request = request;
  }

  /** Ask anew, once nothing has changed for a while. */
  refresh() {
    clearTimeout(this.#due);
    this.#due = setTimeout(() => this.#ask(), REST_MS);
  }

  async #ask() {
    const number = ++this.#asked;
    const request = this.#request();
    const found = request && (await api.estimate(request).catch((error) => ({ problem: error.message, outputs: [] })));
    if (number !== this.#asked) return; // another was asked for meanwhile
    this.#show(found);
    this.outputs = found?.outputs ?? [];
    this.dispatchEvent(new Event("change"));
  }

  #show(found) {
    this.#root.hidden = !found;
    if (!found) return;
    const [all, outputs] = ["#estimate-all", "#estimate-outputs"].map((id) => this.#root.querySelector(id));
    const count = found.outputs.length === 1 ? "One output" : `${found.outputs.length} outputs`;
    all.textContent = found.problem ?? `${count}, about ${formatBytes(found.size)} and ${formatSpan(found.seconds)} of work`;
    all.classList.toggle("problem", Boolean(found.problem));
    const rows = found.outputs.map((output) => {
      return Object.assign(document.createElement("li"), { textContent: `${output.name}: ${told(output)}` });
    });
    outputs.replaceChildren(...rows);
  }
}

function told({ size, seconds, copied_s, encoded_s, reason }) {
  const parts = [];
  if (copied_s) parts.push(`${formatSpan(copied_s)} copied as they are`);
  if (encoded_s) parts.push(`${formatSpan(encoded_s)} encoded${reason ? `, since ${reason}` : ""}`);
  return [...parts, `about ${formatBytes(size)}`, `${formatSpan(seconds)} of work`].join(", ");
}
