// The JSON API. Every failure is an ApiError whose message is one line for people.

export class ApiError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

const LOST = "The server can't be reached. Check the connection and try again.";

/** What shows the server that a request comes from its own page; empty where nobody signs in. */
const CSRF_TOKEN = document.querySelector("meta[name=csrf-token]")?.content ?? "";

async function call(path, options = {}) {
  const headers = { ...options.headers, "X-CSRF-Token": CSRF_TOKEN };
  const response = await fetch(path, { ...options, headers }).catch(() => {
    throw new ApiError(LOST, 0);
  });
  if (!response.ok) throw problem(response.status, await response.text());
  return response.status === 204 ? null : response.json();
}

function problem(status, text) {
  try {
    const { detail, title } = JSON.parse(text);
    return new ApiError(detail || title, status);
  } catch {
    return new ApiError(`The server answered ${status}.`, status);
  }
}

export const queueStatus = () => call("/api/queue-status");
export const recentJobs = (limit) => call(`/api/jobs?limit=${limit}`);
export const job = (id) => call(`/api/jobs/${id}`);
export const cancelJob = (id) => call(`/api/jobs/${id}/cancel`, { method: "POST" });
export const deleteJob = (id) => call(`/api/jobs/${id}`, { method: "DELETE" });
export const deleteOutput = ({ url }) => call(url, { method: "DELETE" });
export const deleteUpload = (id) => call(`/api/uploads/${id}`, { method: "DELETE" });
export const uploaded = (id) => call(`/api/uploads/${id}`);


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

export async function createJob(request) {
  const body = JSON.stringify(request);
  const headers = { "Content-Type": "application/json", "Idempotency-Key": keyOf(body) };
  const job = await call("/api/jobs", { method: "POST", headers, body });
  unanswered.delete(body);
  return job;
}

/**
 * Send a file. `progressed` is told the fraction sent; `signal` aborts.
 * XMLHttpRequest, since fetch does not report what has been sent.
 */
export function upload(file, { progressed, signal }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const sent = `${file.name} ${file.size} ${file.lastModified}`;
    request.upload.addEventListener("progress", (event) => {
      if (event.lengthComputable && event.total) progressed(event.loaded / event.total);
    });
    request.addEventListener("load", () => {
      if (request.status === 201) {
        unanswered.delete(sent);
        resolve(JSON.parse(request.responseText));
      } else reject(problem(request.status, request.responseText));
    });
    request.addEventListener("error", () => reject(new ApiError(LOST, 0)));
    request.addEventListener("abort", () => reject(new ApiError("The upload was cancelled.", 0)));
    signal.addEventListener("abort", () => request.abort());
    request.open("POST", `/api/uploads?filename=${encodeURIComponent(file.name)}`);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.setRequestHeader("X-CSRF-Token", CSRF_TOKEN);
    request.setRequestHeader("Idempotency-Key", keyOf(sent));
    request.send(file);
  });
}
