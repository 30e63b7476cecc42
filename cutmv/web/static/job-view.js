// One job on the page: its bar, its steps' bars, and its results.

import { Compare } from "./compare.js";
import { $ } from "./elements.js";
import { comparable } from "./in-step.js";
import { formatBytes, formatSpan } from "./times.js";
import { isFinal } from "./live.js";

const KINDS = { cutdown: "Video", canvas: "Canvas", gif: "GIF", webp: "WebP", still: "Still" };
const SOUNDS = ["m4a", "mp3", "wav", "flac"];
/** The stages of which a report tells the seconds. */
const TIMES = {
  open: "opening the video", find: "finding the clip", copy: "copying", edges: "encoding the edges",
  encode: "encoding", sound: "sound", write: "writing", check: "checking", other: "starting and ending",
};
/** How a job's steps came to what made them. */
const WAYS = { cloudflare: "by Cloudflare", redis: "by Redis", eager: "directly on this server" };
const STAGES = { queued: "waiting", running: "running", done: "done", failed: "failed", cancelled: "cancelled" };

export class JobView {
  #root;
  #template;
  #share;
  #rows = new Map();
  #deleted;
  #line = "";
  /** @type {import("./api.js").Job | null} */
  #job = null;

  /** `share` shares results; `deleted` is told the output whose button was pressed. */
  constructor(root, template, share, deleted) {
    this.#root = root;
    this.#template = template;
    this.#share = share;
    this.#deleted = deleted;
  }

  /** Show a snapshot. Rows of the same job are kept, so that a result being played goes on. */
  show(job) {
    if (this.#job?.id !== job.id) {
      this.#rows.clear();
      this.#find("#steps").replaceChildren();
      this.#find("#job-bar").value = 0;
    }
    this.#job = job;
    this.#root.hidden = false;
    this.#root.dataset.job = job.id;
    this.#root.dataset.upload = job.upload.id;
    this.#find("#job-file").textContent = job.upload.filename;
    this.#find("#all").href = `/api/jobs/${job.id}/outputs.zip`;
    this.#showJob();
    for (const step of job.steps) this.#showStep(step);
    this.#showResults();
  }

  /** Show what a list tells of the job: all but its steps. */
  summary(job) {
    const shown = this.#job;
    if (!shown || job.id !== shown.id) return;
    Object.assign(shown, { ...job, percent: Math.max(shown.percent, job.percent) });
    this.#showJob();
    this.#showResults();
  }

  /** Show a step as it is now. */
  step(step) {
    const steps = this.#job?.steps ?? [];
    const at = steps.findIndex(({ id }) => id === step.id);
    if (at < 0) return;
    steps[at] = step;
    this.#showStep(step);
    this.#showResults();
  }

  /** Show one event of one step. */
  progress(event) {
    const job = this.#job;
    const step = job?.steps.find((each) => each.id === event.step_id);
    if (!job || !step || isFinal(step)) return;
    const { stage, fps, speed, eta_s, out_time_s } = event;
    Object.assign(step, { stage, fps, speed, eta_s, out_time_s, percent: Math.max(step.percent, event.percent ?? 0) });
    if (step.state === "queued") step.state = "running";
    raise(this.#find("#job-bar"), percentOf(job));
    this.#showStep(step);
  }

  /** Show whether the person is mailed when the job has ended. */
  mail(wanted) {
    if (this.#job) this.#job.mail = wanted;
    this.#find("#mail").setAttribute("aria-pressed", wanted);
    this.#find("#mail").textContent = wanted ? "You will be mailed" : "Mail me when it has ended";
  }

  /** Tell how the line to the server is. */
  line(text) {
    this.#line = text;
    this.#showLine();
  }

  #showLine() {
    const hidden = !this.#job || (isFinal(this.#job) && this.#line === "live");
    this.#find("#job-live").textContent = hidden ? "" : this.#line;
  }

  #showJob() {
    const job = this.#job;
    if (!job) return;
    this.#find("#job-state").textContent = STAGES[job.state];
    this.#find("#job-state").dataset.state = job.state;
    this.#find("#job-way").textContent = job.mode ? WAYS[job.mode] : "";
    this.#find("#cancel").hidden = isFinal(job);
    this.#find("#mail").hidden = isFinal(job) || !document.body.dataset.mails;
    this.mail(job.mail);
    raise(this.#find("#job-bar"), job.percent);
    this.#showLine();
  }

  /** Offer what can be done with the results that there are. */
  #showResults() {
    const job = this.#job;
    if (!job) return;
    const { steps } = job;
    const ended = isFinal(job);
    const failed = steps.filter(({ state }) => state === "failed").length;
    this.#find("#again").hidden = !ended;
    this.#find("#again-failed").hidden = !ended || !failed || failed === steps.length;
    this.#find("#all").hidden = !ended || steps.filter(({ output }) => output).length < 2;
    this.#share.show(job);
  }

  #find(selector) {
    return this.#root.querySelector(selector);
  }

  #showStep(step) {
    if (!this.#rows.has(step.id)) this.#rows.set(step.id, this.#build(step));
    const row = this.#rows.get(step.id);
    row.dataset.state = step.state;
    raise(row.querySelector("progress"), step.percent);
    row.querySelector(".detail").textContent = [detail(step), this.#otherWay(step)].filter(Boolean).join(" · ");
    showFailure(row.querySelector(".failure"), step);
    const result = row.querySelector(".result");
    if (step.output && result.hidden) {
      result.hidden = false;
      const compare = comparable(step) ? [this.#compareButton(step, result)] : [];
      result.append(...resultOf(step), ...compare, this.#deleteButton(step));
    } else if (!step.output && !result.hidden) {
      result.hidden = true;
      result.replaceChildren();
    }
  }

  /** How a step came to what makes it, where that is another way than the job's. */
  #otherWay({ route }) {
    return route && route !== this.#job?.mode ? WAYS[route] : "";
  }

  /** Has the result stand beside the same span of the video, in place of it alone. */
  #compareButton(step, result) {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", textContent: "Compare with the video" });
    button.setAttribute("aria-pressed", "false");
    button.dataset.testid = "compare-open";
    button.addEventListener("click", () => {
      const shown = result.querySelector(".compare");
      const alone = result.querySelector(":scope > video");
      if (alone) {
        alone.pause();
        alone.hidden = !shown;
      }
      if (shown) shown.remove();
      else result.prepend(new Compare($("compare-box"), step, this.#root.dataset.upload).element);
      button.setAttribute("aria-pressed", String(!shown));
    });
    return button;
  }

  #deleteButton(step) {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", className: "quiet danger", textContent: "Delete" });
    button.setAttribute("aria-label", `Delete ${step.output.name}`);
    button.dataset.testid = "delete-output";
    button.addEventListener("click", () => this.#deleted(step.output));
    return button;
  }

  #build(step) {
    const row = this.#template.content.firstElementChild.cloneNode(true);
    const name = nameOf(step);
    row.querySelector(".name").textContent = name;
    row.querySelector("progress").setAttribute("aria-label", name);
    this.#find("#steps").append(row);
    return row;
  }
}

/** Finished work over all work, each step weighing as long as its clip is, as the server has it. */
function percentOf({ steps }) {
  const weight = ({ clip }) => Math.max(clip.end - clip.start, 0.1);
  const total = steps.reduce((sum, step) => sum + weight(step), 0);
  return steps.reduce((sum, step) => sum + weight(step) * step.percent, 0) / total;
}

function nameOf(step) {
  const shape = step.aspect && step.aspect !== "source" ? ` ${step.aspect}` : "";
  return `${KINDS[step.kind] ?? step.kind.toUpperCase()}${shape} · ${step.clip.text}`;
}

function detail(step) {
  if (step.state === "done") return step.output ? formatBytes(step.output.size) : "deleted";
  if (step.state === "queued" && step.stage) return step.stage;
  if (step.state !== "running") return STAGES[step.state];
  const parts = [step.stage ?? "running", `${Math.floor(step.percent)} %`];
  if (step.fps) parts.push(`${Math.round(step.fps)} frames/s`);
  if (step.speed) parts.push(`${step.speed.toFixed(2)}×`);
  if (step.eta_s) parts.push(`${formatSpan(step.eta_s)} left`);
  return parts.join(" · ");
}

function resultOf({ output, kind, clip }) {
  const { made } = output;
  const element = SOUNDS.includes(kind) ? "audio" : kind === "cutdown" || kind === "canvas" ? "video" : "img";
  const shown = document.createElement(element);
  shown.src = output.url;
  shown.dataset.testid = `result-${kind}`;
  if (element !== "img") Object.assign(shown, { controls: true, playsInline: true, preload: "metadata" });
  else Object.assign(shown, { alt: `${KINDS[kind]} of ${clip.text}`, loading: "lazy" });
  if (element !== "img") shown.setAttribute("aria-label", `Result: ${clip.text}`);
  const link = document.createElement("a");
  link.href = `${output.url}?download=1`;
  link.download = output.name;
  link.className = "button";
  link.dataset.testid = "download";
  link.textContent = `Download ${output.name}`;
  // No browser plays a ProRes in a MOV: it is there to be saved.
  const plays = !(shown instanceof HTMLMediaElement) || shown.canPlayType(output.content_type) !== "";
  return [...(plays ? [shown] : []), link, ...(made ? [howMade(made)] : [])];
}

/** How an output was made, folded. */
function howMade(made) {
  const folded = document.createElement("details");
  folded.className = "made hint";
  folded.dataset.testid = "made";
  const list = document.createElement("ul");
  for (const text of [...waysOf(made), ...made.warnings]) {
    list.append(Object.assign(document.createElement("li"), { textContent: text }));
  }
  folded.append(Object.assign(document.createElement("summary"), { textContent: "How it was made" }), list);
  return folded;
}

function waysOf({ frames, copied, reason, encoder, quality, sound, size_bytes, read_bytes, seconds }) {
  const ways = [];
  if (copied) ways.push(`${copied} of ${frames} frames are the video's own, copied as they are.`);
  if (frames > copied) ways.push(`${frames - copied} frames are encoded${reason ? `: ${reason}` : ""}.`);
  if (encoder) ways.push(`The encoder is ${encoder}, at ${quality}.`);
  if (sound) ways.push(sound === "copied" ? "The sound is the video's own." : "The sound is encoded.");
  const read = read_bytes === null ? "" : `${formatBytes(read_bytes)} read, `;
  ways.push(`${read}${formatBytes(size_bytes)} written.`);
  const stages = Object.entries(seconds).sort(([, a], [, b]) => b - a).filter(([, each]) => each >= 0.05);
  const all = Object.values(seconds).reduce((sum, each) => sum + each, 0);
  const each = stages.map(([name, of]) => `${TIMES[name] ?? name} ${of.toFixed(1)}`).join(", ");
  ways.push(`It took ${all.toFixed(1)} s${each && `: ${each}`}.`);
  return ways;
}

/** A bar never goes back, though a snapshot is rounded and an event is not. */
function raise(bar, percent) {
  bar.value = Math.max(bar.value, percent);
}

/** Why a step failed: what happened, what to do, and, folded, the line for whoever runs the server. */
function showFailure(box, { error, why }) {
  box.hidden = !error;
  if (!error) return;
  box.querySelector(".problem").textContent = why?.said ?? error;
  box.querySelector(".advice").textContent = why?.advice ?? "";
  box.querySelector("details").hidden = !why || why.said === error;
  box.querySelector("details p").textContent = error;
}
