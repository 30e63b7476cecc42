// The JSON API. Every failure is an ApiError whose message is one line for people.

export class ApiError extends Error {
  /** `status` is 0 where there was no answer; `retryAfterS` is when to ask again, in seconds. */
  constructor(message, status, retryAfterS = 0) {
    super(message);
    this.status = status;
    this.retryAfterS = retryAfterS;
  }
}

/**
 * What the API tells of an upload, a step and a job, as far as the page reads it.
 * @typedef {{ id: string, url: string, duration_s: number, timecode: any, video: any }} Upload
 * @typedef {{ id: string, kind: string, state: string, percent: number, clip: any, output: any, [other: string]: any }} Step
 * @typedef {{ id: string, state: string, percent: number, mode: string | null, mail: boolean, upload: any, steps: Step[] }} Job
 */

const LOST = "The server can't be reached. Check the connection and try again.";

/** What shows the server that a request comes from its own page; empty where nobody signs in. */
export const CSRF_TOKEN = /** @type {HTMLMetaElement | null} */ (document.querySelector("meta[name=csrf-token]"))?.content ?? "";

async function call(path, options = {}) {
  const headers = { ...options.headers, "X-CSRF-Token": CSRF_TOKEN };
  const response = await fetch(path, { ...options, headers }).catch(() => {
    throw new ApiError(LOST, 0);
  });
  if (!response.ok) {
    const text = await response.text().catch(() => "");
    throw problem(response.status, text, Number(response.headers.get("Retry-After")));
  }
  return response.status === 204 ? null : response.json();
}

function problem(status, text, retryAfterS) {
  try {
    const { detail, title } = JSON.parse(text);
    return new ApiError(detail || title, status, retryAfterS);
  } catch {
    return new ApiError(`The server answered ${status}.`, status, retryAfterS);
  }
}

function send(path, body, headers = {}) {
  headers = { ...headers, "Content-Type": "application/json" };
  return call(path, { method: "POST", headers, body: JSON.stringify(body) });
}

export const queueStatus = () => call("/api/queue-status");
export const account = () => call("/api/account");
export const recentJobs = (limit) => call(`/api/jobs?limit=${limit}`);
export const job = (id) => call(`/api/jobs/${id}`);
export const cancelJob = (id) => call(`/api/jobs/${id}/cancel`, { method: "POST" });
export const deleteJob = (id) => call(`/api/jobs/${id}`, { method: "DELETE" });
export const deleteOutput = ({ url }) => call(url, { method: "DELETE" });
/** Make a job of the same request, or of what failed of it. */
export async function runAgain(id, onlyFailed) {
  const path = `/api/jobs/${id}/again${onlyFailed ? "?only=failed" : ""}`;
  const job = await call(path, { method: "POST", headers: { "Idempotency-Key": keyOf(path) } });
  unanswered.delete(path);
  return job;
}

export const mailMe = (id, wanted) => call(`/api/jobs/${id}/mail`, { method: wanted ? "PUT" : "DELETE" });
export const shares = (job) => call(`/api/jobs/${job}/shares`);
export const makeShare = (job, wanted) => send(`/api/jobs/${job}/shares`, wanted);
export const endShare = (job, id) => call(`/api/jobs/${job}/shares/${id}`, { method: "DELETE" });
export const deleteUpload = (id) => call(`/api/uploads/${id}`, { method: "DELETE" });
export const uploaded = (id) => call(`/api/uploads/${id}`);


/** What there is of the overview of an upload, which is made when nobody has asked before. */
export const makeOverview = (id) => call(`/api/uploads/${id}/overview`, { method: "POST" });
export const overview = (id) => call(`/api/uploads/${id}/overview`);

/** How far the proxy of an upload is, which is made when nobody has asked before. */
export const makeProxy = (id) => call(`/api/uploads/${id}/proxy`, { method: "POST" });
export const proxy = (id) => call(`/api/uploads/${id}/proxy`);

/** The bytes at an address. */
export async function bytes(url) {
  const response = await fetch(url).catch(() => {
    throw new ApiError(LOST, 0);
  });
  if (!response.ok) throw problem(response.status, await response.text().catch(() => ""));
  return response.arrayBuffer();
}

/** How far the suggestions of an upload are, which are made when nobody has asked before. */
export const makeSuggestions = (id) => call(`/api/uploads/${id}/suggestions`, { method: "POST" });
export const suggestions = (id, length) => call(`/api/uploads/${id}/suggestions?length_s=${length}`);

/** Keys of requests that have no answer yet: one that is sent again makes nothing twice. */
const unanswered = new Map();

function keyOf(request) {
  // crypto.randomUUID is there on HTTPS alone.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const fresh = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (!unanswered.has(request)) unanswered.set(request, fresh);
  return `"${unanswered.get(request)}"`;
}

/** What a job would take. */
export const estimate = (request) => send("/api/jobs/estimate", request);
/** The clips that a pasted list names of an upload, and the lines that can't be read. */
export const readList = (id, text) => send(`/api/uploads/${id}/clip-list`, { text });

export async function createJob(request) {
  const body = JSON.stringify(request);
  const job = await send("/api/jobs", request, { "Idempotency-Key": keyOf(body) });
  unanswered.delete(body);
  return job;
}

/* Uploads in parts. */

const BEGUN = "/api/multipart-uploads";
/** Milliseconds after which a part that does not move is given up. */
const STALLED_MS = 60_000;

/** Begin to send a file whose first bytes are `head`, in base64. */
export async function beginUpload(file, head) {
  const wanted = { filename: file.name, size: file.size, head };
  const sent = `${file.name} ${file.size} ${file.lastModified}`;
  const begun = await send(BEGUN, wanted, { "Idempotency-Key": keyOf(sent) });
  unanswered.delete(sent);
  return begun;
}

export const begunUploads = () => call(BEGUN);
export const begunUpload = (id) => call(`${BEGUN}/${id}`);
export const abortUpload = (id) => call(`${BEGUN}/${id}`, { method: "DELETE" });
export const completeUpload = (id) => call(`${BEGUN}/${id}/complete`, { method: "POST" });

/** Where to send a part whose MD5 is given in base64: to the storage itself, if it may be `direct`. */
export async function signPart(id, number, md5, direct) {
  const { parts } = await send(`${BEGUN}/${id}/parts`, { parts: [{ number, md5 }], direct });
  return parts[0];
}

/**
 * Send a part to where it was signed for. `moved` is told the bytes sent; `signal` aborts.
 * XMLHttpRequest, since fetch does not report what has been sent.
 */
export function sendPart({ url, headers, direct }, part, { moved, signal }) {
  return /** @type {Promise<void>} */ (new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const request = new XMLHttpRequest();
    const lost = () => reject(new ApiError(LOST, 0));
    let timer;
    const alive = () => {
      clearTimeout(timer);
      timer = setTimeout(() => request.abort(), STALLED_MS);
    };
    request.upload.addEventListener("progress", (event) => {
      alive();
      moved(event.loaded);
    });
    request.addEventListener("load", () => {
      if (request.status < 300) resolve();
      else reject(problem(request.status, request.responseText, Number(request.getResponseHeader("Retry-After"))));
    });
    request.addEventListener("error", lost);
    request.addEventListener("abort", () => (signal.aborted ? reject(signal.reason) : lost()));
    request.addEventListener("loadend", () => clearTimeout(timer));
    signal.addEventListener("abort", () => request.abort());
    request.open("PUT", url);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    if (!direct) request.setRequestHeader("X-CSRF-Token", CSRF_TOKEN);
    alive();
    request.send(part);
  }));
}
