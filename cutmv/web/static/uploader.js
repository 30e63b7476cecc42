// Choosing, dropping and sending a file.

import { upload } from "./api.js";
import { formatBytes } from "./times.js";

export class Uploader {
  #parts;
  #limit;
  #on;
  #aborter = null;

  /**
   * `on.chosen(file)` is called as soon as there is a file, `on.uploaded(info)` when the server
   * has it, `on.failed(message)` when it won't.
   */
  constructor(parts, limit, on) {
    this.#parts = parts;
    this.#limit = limit;
    this.#on = on;
    const { drop, input, cancel } = parts;
    input.addEventListener("change", () => {
      if (input.files[0]) this.send(input.files[0]);
      input.value = "";
    });
    cancel.addEventListener("click", () => this.#aborter?.abort());
    for (const name of ["dragenter", "dragover"]) {
      drop.addEventListener(name, (event) => {
        event.preventDefault();
        drop.classList.add("over");
      });
    }
    for (const name of ["dragleave", "drop"]) {
      drop.addEventListener(name, () => drop.classList.remove("over"));
    }
    drop.addEventListener("drop", (event) => {
      event.preventDefault();
      const [file] = event.dataTransfer.files;
      if (file) this.send(file);
    });
  }

  async send(file) {
    this.#aborter?.abort();
    // Told here, since a server that refuses a body it has not read breaks the connection.
    if (file.size > this.#limit) {
      this.#on.failed(`The file has ${formatBytes(file.size)}; the limit is ${formatBytes(this.#limit)}.`);
      return;
    }
    const aborter = (this.#aborter = new AbortController());
    const current = () => this.#aborter === aborter;
    this.show(file.name, formatBytes(file.size), 0);
    this.#parts.cancel.hidden = false;
    this.#on.chosen(file);
    try {
      const info = await upload(file, {
        signal: aborter.signal,
        progressed: (part) => {
          if (current()) this.show(file.name, part < 1 ? `${Math.floor(part * 100)} %` : "checking…", part * 100);
        },
      });
      if (!current()) return;
      this.show(info.filename, "ready", 100);
      this.#on.uploaded(info);
    } catch (error) {
      if (!current()) return;
      this.show(file.name, aborter.signal.aborted ? "cancelled" : "refused", 0);
      this.#on.failed(error.message);
    } finally {
      if (current()) this.#parts.cancel.hidden = true;
    }
  }

  /** Give up what is being sent, in favour of a video that the server has. */
  abandon(name) {
    this.#aborter?.abort();
    this.#aborter = null;
    this.#parts.cancel.hidden = true;
    this.show(name, "ready", 100);
  }

  show(name, state, percent) {
    const { box, bar } = this.#parts;
    box.hidden = false;
    this.#parts.name.textContent = name;
    this.#parts.state.textContent = state;
    bar.value = percent;
  }
}
