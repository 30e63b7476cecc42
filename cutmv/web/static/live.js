// Following a job over its WebSocket, for as long as it runs and however often the line breaks.

import { job as loadJob } from "./api.js";

/** Milliseconds: the first wait before a reconnection, and the longest. */
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15_000;
/** Milliseconds without a message (the server speaks every 10 s) after which the line is dead. */
const SILENCE_MS = 30_000;
const FINAL = new Set(["done", "failed", "cancelled"]);

export const isFinal = (job) => FINAL.has(job.state);

/**
 * Call `on.snapshot(job)` and `on.progress(event)` as they come, `on.line(text)` with the state of
 * the line, until the job's final state. Each connection begins with a snapshot, so that nothing
 * that happened in between is missed. The function returned stops it.
 */
export function follow(jobId, on) {
  let socket;
  let timer;
  let silence;
  let failures = 0;
  let ended = false;

  function connect() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    socket = new WebSocket(`${scheme}://${location.host}/ws/jobs/${jobId}`);
    socket.addEventListener("open", () => on.line("live"));
    socket.addEventListener("message", (event) => receive(JSON.parse(event.data)));
    socket.addEventListener("close", lost);
    listenFor(SILENCE_MS);
  }

  function listenFor(milliseconds) {
    clearTimeout(silence);
    silence = setTimeout(() => socket.close(), milliseconds);
  }

  function receive(message) {
    failures = 0;
    listenFor(SILENCE_MS);
    if (message.type === "progress") on.progress(message);
    else if (message.type === "snapshot") take(message.job);
  }

  function take(job) {
    on.snapshot(job);
    if (isFinal(job)) stop();
  }

  function lost() {
    clearTimeout(silence);
    if (ended) return;
    const ceiling = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** failures++);
    on.line("reconnecting…");
    timer = setTimeout(retry, ceiling * (0.5 + Math.random() / 2));
  }

  // A refused handshake tells a page nothing, so a plain request asks what became of the job.
  async function retry() {
    try {
      const job = await loadJob(jobId);
      if (!ended) take(job);
    } catch (error) {
      if (error.status === 404) {
        stop();
        on.line("this job is gone");
      }
    }
    if (!ended) connect();
  }

  function stop() {
    if (ended) return;
    ended = true;
    clearTimeout(timer);
    clearTimeout(silence);
    socket?.close();
    on.line("");
  }

  connect();
  return stop;
}
