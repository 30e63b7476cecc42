// The page's one WebSocket: the list of jobs, and one job in detail, however often the line breaks.

import { job as loadJob, recentJobs } from "./api.js";

/** Milliseconds: the first wait before a reconnection, and the longest. */
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15_000;
/** Milliseconds without a message (the server speaks every 10 s) after which the line is dead. */
const SILENCE_MS = 30_000;
/** The close code for a session that has ended. */
const SIGNED_OUT = 4401;
/** Jobs that are asked for where no WebSocket comes through. */
const LISTED = 20;
const FINAL = new Set(["done", "failed", "cancelled"]);

export const isFinal = (job) => FINAL.has(job.state);

export class Live {
  #on;
  #socket;
  #watched = null;
  /** Where the journal was read to: its name, and the number of the last message. */
  #epoch = "";
  #seq = 0;
  #failures = 0;
  #timer;
  #silence;

  /**
   * `on` has a method for each kind of message, `jobs(list)`, `job(summary)`, `deleted(id)`,
   * `snapshot(job)`, `step(step)`, `progress(event)`, and `line(text)` for the state of the line.
   */
  constructor(on, watched) {
    this.#on = on;
    this.#watched = watched;
    this.#connect();
    addEventListener("online", () => this.#hurry());
    document.addEventListener("visibilitychange", () => document.hidden || this.#hurry());
  }

  /** Have one job told in detail; none by null. */
  watch(jobId) {
    if (jobId === this.#watched) return;
    this.#watched = jobId;
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify({ watch: jobId }));
  }

  #connect() {
    clearTimeout(this.#timer);
    const asked = new URLSearchParams(this.#epoch ? { epoch: this.#epoch, seq: String(this.#seq) } : {});
    const watched = this.#watched;
    if (watched) asked.set("watch", watched);
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    this.#socket = new WebSocket(`${scheme}://${location.host}/ws/jobs?${asked}`);
    this.#socket.addEventListener("open", () => {
      this.#on.line("live");
      if (watched !== this.#watched) this.#socket.send(JSON.stringify({ watch: this.#watched }));
    });
    this.#socket.addEventListener("message", (event) => this.#receive(JSON.parse(event.data)));
    this.#socket.addEventListener("close", ({ code }) => this.#lost(code));
    this.#listen();
  }

  #listen() {
    clearTimeout(this.#silence);
    const socket = this.#socket;
    this.#silence = setTimeout(() => socket.close(), SILENCE_MS);
  }

  #receive(message) {
    this.#failures = 0;
    this.#listen();
    const { type, epoch, seq } = message;
    if (type === "hello") this.#epoch = epoch;
    if (type === "ping") return;
    if (type === "hello" && message.resumed) return; // what was missed has numbers of its own
    this.#seq = seq;
    if (type === "jobs") this.#on.jobs(message.jobs);
    else if (type === "job") this.#on.job(message.job);
    else if (type === "deleted") this.#on.deleted(message.job_id);
    else if (type === "snapshot") this.#ofWatched(message.job.id, () => this.#on.snapshot(message.job));
    else if (type === "step") this.#ofWatched(message.job_id, () => this.#on.step(message.step));
    else if (type === "progress") this.#ofWatched(message.job_id, () => this.#on.progress(message));
  }

  /** What was told of a job that is not looked at any more comes late. */
  #ofWatched(jobId, tell) {
    if (jobId === this.#watched) tell();
  }

  #lost(code) {
    clearTimeout(this.#silence);
    if (code === SIGNED_OUT) {
      this.#on.line("signed out: load the page again");
      return;
    }
    const ceiling = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** this.#failures++);
    this.#on.line("reconnecting…");
    this.#timer = setTimeout(() => this.#retry(), ceiling * (0.5 + Math.random() / 2));
  }

  /** Try again at once: the network is back, or the person. */
  #hurry() {
    if (this.#socket.readyState === WebSocket.CLOSED) this.#connect();
  }

  // A refused handshake tells a page nothing, so a plain request asks what became of the job.
  async #retry() {
    const watched = this.#watched;
    if (this.#failures > 1) {
      try {
        const { jobs } = await recentJobs(LISTED);
        this.#on.jobs(jobs);
        if (watched) {
          const job = await loadJob(watched);
          this.#ofWatched(job.id, () => this.#on.snapshot(job));
        }
      } catch (error) {
        if (error.status === 404) this.#ofWatched(watched, () => this.#on.deleted(watched));
      }
    }
    this.#hurry();
  }
}
