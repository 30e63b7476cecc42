// A word from the browser when a job has ended, once a person has asked for it by the button.

import { isFinal } from "./live.js";

/** Where it is kept that the person wants it. */
const KEY = "cutmv-notify";
/** Seconds for which the end of a job that was not in the list is news: a short one comes so. */
const NEW_S = 120;
const ENDS = { done: "is done", failed: "has failed", cancelled: "was cancelled" };

export class Notifier {
  #button;
  #told;
  #open;

  /** `told` is told what the person has to know; `open` is given the id of a job that they choose. */
  constructor(button, told, open) {
    this.#button = button;
    this.#told = told;
    this.#open = open;
    // Browsers offer it on HTTPS, and on this machine, alone.
    button.hidden = !("Notification" in window && window.isSecureContext);
    button.addEventListener("click", () => this.#toggle());
    this.#show();
  }

  /** Tell that a job has ended, as the list has it now; `before` is how it was, if it was there. */
  job(job, before) {
    const isNews = before ? !isFinal(before) : Date.now() / 1000 - job.finished_at < NEW_S;
    if (!this.#wanted() || !isFinal(job) || !isNews) return;
    const { done, all } = job.outputs ?? {};
    // Of two tabs with one tag the browser shows one.
    const shown = new Notification(`${job.upload.filename} ${ENDS[job.state]}`, {
      body: all ? `${done} of ${all} results are made.` : "",
      tag: `cutmv-${job.id}`,
    });
    shown.addEventListener("click", () => {
      window.focus();
      this.#open(job.id);
      shown.close();
    });
  }

  #wanted() {
    return !this.#button.hidden && Notification.permission === "granted" && localStorage.getItem(KEY) === "yes";
  }

  async #toggle() {
    if (this.#wanted()) {
      localStorage.removeItem(KEY);
    } else if ((await Notification.requestPermission()) === "granted") {
      localStorage.setItem(KEY, "yes");
    } else {
      this.#told("The browser shows no notifications of this site: allow them in its settings.");
    }
    this.#show();
  }

  #show() {
    const wanted = this.#wanted();
    this.#button.setAttribute("aria-pressed", wanted);
    this.#button.textContent = wanted ? "Notifications are on" : "Notify me when a job has ended";
  }
}
