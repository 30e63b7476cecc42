// Lists of clips that people paste: the server reads them, as it reads those of the command line.

import * as api from "./api.js";

export class ClipList {
  #elements;
  #clips;
  #upload = () => null;

  /** `upload()` is the id of the upload that the clips are of; none while there is none. */
  constructor({ field, button, wrong }, clips, upload) {
    this.#elements = { field, button, wrong };
    this.#clips = clips;
    this.#upload = upload;
    button.addEventListener("click", () => this.#read(field.value));
    field.addEventListener("input", () => this.refresh());
    // What is pasted beside a text field is meant for the timeline.
    document.addEventListener("paste", (event) => {
      const text = event.clipboardData?.getData("text").trim();
      if (!text || /** @type {Element} */ (event.target).matches("input, textarea") || !this.#upload()) return;
      event.preventDefault();
      this.#read(text);
    });
  }

  refresh() {
    const { field, button } = this.#elements;
    button.disabled = !this.#upload() || !field.value.trim();
  }

  /** Put the clips of a list on the timeline; the lines that can't be read stay to be mended. */
  async #read(text) {
    const { field } = this.#elements;
    try {
      const { clips, wrong } = await api.readList(this.#upload(), text);
      this.#clips.put(clips);
      field.value = wrong.map((line) => line.text).join("\n");
      this.#tell(wrong.map(({ line, text, why }) => `Line ${line}, “${text}”: ${why}`));
      field.dispatchEvent(new Event("input", { bubbles: true }));
    } catch (error) {
      field.value = text;
      this.#tell([error.message]);
    }
    if (field.value) field.closest("details").open = true;
    this.refresh();
  }

  #tell(lines) {
    const { wrong } = this.#elements;
    wrong.hidden = !lines.length;
    wrong.firstElementChild.replaceChildren(...lines.map((line) => Object.assign(document.createElement("li"), { textContent: line })));
  }
}
