// The files on their way: one row each, with what can be done about it.

import * as api from "../api.js";
import { formatBytes, formatSpan } from "../times.js";
import { Pace } from "./pace.js";
import { PartedUpload } from "./parts.js";

export class UploadList {
  #list;
  #template;
  #limit;
  #on;
  #rows = new Set();

  /**
   * `on.chosen(file)` is called when the editor is to show a file, `on.uploaded(info, file)` when the
   * server has it, `on.failed(message)` when it won't, `on.open(info)` to cut a finished one.
   */
  constructor({ drop, input, list, template }, limit, on) {
    this.#list = list;
    this.#template = template;
    this.#limit = limit;
    this.#on = on;
    input.addEventListener("change", () => {
      this.#take([...input.files]);
      input.value = "";
    });
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
      this.#take([...event.dataTransfer.files]);
    });
    window.addEventListener("beforeunload", (event) => {
      if ([...this.#rows].some((row) => row.busy)) event.preventDefault();
    });
    this.#showUnfinished();
  }

  async #showUnfinished() {
    const { uploads } = await api.begunUploads().catch(() => ({ uploads: [] }));
    for (const begun of uploads) this.#add(new Row(this.#template, begun.filename, begun.size, begun));
  }

  #take(files) {
    for (const [index, file] of files.entries()) this.#send(file, index === 0);
  }

  #add(row) {
    this.#rows.add(row);
    this.#list.prepend(row.element);
    row.element.addEventListener("gone", () => {
      this.#rows.delete(row);
      row.element.remove();
    });
  }

  async #send(file, edited) {
    const known = [...this.#rows].find((row) => row.isOf(file));
    if (known?.busy) return;
    known?.leave();
    const row = new Row(this.#template, file.name, file.size, known?.begun);
    this.#add(row);
    // Told here, since a server that refuses a body it has not read breaks the connection.
    if (file.size > this.#limit) {
      row.refuse();
      this.#on.failed(`The file has ${formatBytes(file.size)}; the limit is ${formatBytes(this.#limit)}.`);
      return;
    }
    if (edited) this.#on.chosen(file);
    try {
      const info = await row.send(file);
      if (!info) return; // it was cancelled
      row.done(() => this.#on.open(info));
      this.#on.uploaded(info, file);
    } catch (error) {
      row.refuse();
      this.#on.failed(error.message);
    }
  }
}

class Row {
  #parts;
  /** @type {PartedUpload | null} */
  #upload = null;
  #name;
  #size;
  /** @type {((goOn: boolean) => void) | null} */
  #goOn = null;
  #cancelled = false;
  /** What the server has of the file, from another time. */
  begun;

  constructor(template, name, size, begun) {
    this.element = template.content.firstElementChild.cloneNode(true);
    const part = (found) => this.element.querySelector(`.${found}`);
    this.#parts = { state: part("state"), bar: part("bar"), pause: part("pause"), cut: part("cut"), cancel: part("cancel") };
    this.#name = name;
    this.#size = size;
    this.begun = begun;
    part("name").textContent = name;
    this.#parts.bar.setAttribute("aria-label", `Upload of ${name}`);
    this.#parts.pause.addEventListener("click", () => this.#turn());
    this.#parts.cancel.addEventListener("click", () => this.#cancel());
    this.#show(begun ? "unfinished: choose the file again to go on" : formatBytes(size), 0);
    if (begun) this.#parts.cancel.textContent = "Delete";
  }

  /** Whether bytes of it are still to be sent. */
  get busy() {
    return this.#upload !== null;
  }

  /** Whether the server has a part of the file, from another time. */
  isOf(file) {
    return this.begun !== undefined && this.#name === file.name && this.#size === file.size;
  }

  /** Send the file, through all pauses; returns the upload, or null when that was cancelled. */
  async send(file) {
    const pace = new Pace();
    const moved = (bytes) => {
      pace.note(bytes);
      this.#show(told(bytes, file.size, pace.rate), (bytes / file.size) * 100);
    };
    const waits = (error) => this.#show(error.status === 0 ? "waiting for the network…" : `waiting: ${error.message}`);
    const upload = new PartedUpload(file, this.begun, { moved, waits });
    this.#upload = upload;
    this.#parts.pause.hidden = false;
    this.#parts.cancel.textContent = "Cancel";
    try {
      for (;;) {
        try {
          return await upload.run();
        } catch (error) {
          if (!upload.paused) throw error;
        }
        this.#show("paused");
        if (this.#cancelled || !(await new Promise((resolve) => (this.#goOn = resolve)))) return null;
      }
    } finally {
      this.#upload = null;
    }
  }

  done(open) {
    this.#parts.pause.hidden = this.#parts.cancel.hidden = true;
    this.#parts.cut.hidden = false;
    this.#parts.cut.addEventListener("click", open);
    this.#show("ready", 100);
  }

  refuse() {
    this.#parts.pause.hidden = true;
    this.#parts.cancel.hidden = false;
    this.#parts.cancel.textContent = "Remove";
    this.begun = undefined;
    this.#show("refused", 0);
  }

  leave() {
    this.element.dispatchEvent(new Event("gone"));
  }

  #turn() {
    if (!this.#upload) return;
    const pausing = !this.#upload.paused;
    this.#parts.pause.textContent = pausing ? "Go on" : "Pause";
    if (pausing) this.#upload.pause();
    else this.#goOn?.(true);
  }

  async #cancel() {
    const upload = this.#upload;
    this.#cancelled = true;
    try {
      if (upload) await upload.cancel();
      else if (this.begun) await api.abortUpload(this.begun.id);
    } catch {
      // It expires.
    }
    this.leave();
    this.#goOn?.(false);
  }

  #show(state, percent = this.#parts.bar.value) {
    this.#parts.state.textContent = state;
    this.#parts.bar.value = percent;
  }
}

function told(bytes, size, rate) {
  if (bytes >= size) return "checking…";
  const percent = `${Math.floor((bytes / size) * 100)} %`;
  if (!rate) return percent;
  return `${percent} · ${formatBytes(rate)}/s · ${formatSpan((size - bytes) / rate)} left`;
}
