// The page: who tells whom. Each part is in a module of its own.

import * as api from "./api.js";
import { ClipRows } from "./clip-rows.js";
import { ClipList } from "./clip-list.js";
import { Clips } from "./clips.js";
import { Crop } from "./crop.js";
import { $ } from "./elements.js";
import { Estimate } from "./estimate.js";
import { JobView } from "./job-view.js";
import { isFinal, Live } from "./live.js";
import { Notifier } from "./notify.js";
import { wanted } from "./options.js";
import { ProxyPlayer } from "./proxy.js";
import { Recent } from "./recent.js";
import { ShareBox } from "./share.js";
import { SuggestionList, suggested } from "./suggest.js";
import { formatTime } from "./times.js";
import { WholeTimeline } from "./timeline/whole.js";
import { UploadList } from "./upload/list.js";
import { showUsage } from "./usage.js";

/** Milliseconds between two looks at the queue. */
const STATUS_EVERY_MS = 15_000;

const player = $("player");
const clips = new Clips();
const estimate = new Estimate($("estimate"), () => (source && clips.valid && hasClips() ? request() : null));
const timeline = new WholeTimeline(clips, player, () => estimate.refresh());
const view = new JobView($("job"), $("step-row"), new ShareBox($("share")), deleteOutput);
const recent = new Recent($("recent"), $("recent-empty"), openById);
/** What the server has that the editor shows. @type {api.Upload | null} */
let source = null;
/** The file that the editor shows, while it is still on its way. @type {File | null} */
let edited = null;

const proxy = new ProxyPlayer(player, $("player-error"), () => source?.id);
new ClipRows($("clips"), $("clip-row"), clips);
const list = new ClipList(
  { field: $("clip-list"), button: $("read-list"), wrong: $("list-wrong") },
  clips,
  () => source?.id,
);
const suggestions = new SuggestionList(
  { list: $("suggestions"), all: $("take-all"), template: $("suggestion-row") },
  clips,
  ({ start }) => {
    player.currentTime = start;
    player.play();
  },
);
new UploadList(
  { drop: $("drop"), input: $("file"), list: $("uploads"), template: $("upload-row") },
  Number(document.body.dataset.maxUploadBytes),
  { chosen, uploaded: (info, file) => file === edited && uploaded(info), failed: say, open: reuse },
);

function say(message) {
  $("notice").textContent = message;
  $("notice").hidden = !message;
  if (message) $("notice").scrollIntoView({ block: "nearest" });
}

/* The source: clips can be set while the file is still on its way. */

function chosen(file) {
  edit(URL.createObjectURL(file));
  edited = file;
}

function edit(url) {
  edited = null;
  timeline.watch(null);
  say("");
  useSource(null);
  clips.reset();
  if (player.src.startsWith("blob:")) URL.revokeObjectURL(player.src);
  player.src = url;
  proxy.reset();
  $("editor").hidden = false;
}

function uploaded(info) {
  clips.setSource(info.duration_s, info.video.frame_rate, info.timecode);
  $("length").textContent = `${formatTime(info.duration_s)} · ${info.video.width}×${info.video.height}`;
  useSource(info);
  timeline.watch(info.id);
  proxy.uploaded();
  showUsage($("usage"));
  if (!clips.items.length) clips.add(player.currentTime || 0);
}

/** Cut a video that the server has, which then plays from there. */
function reuse(info) {
  edit(info.url);
  uploaded(info);
  $("editor").scrollIntoView({ behavior: "smooth", block: "start" });
}

$("reuse").addEventListener("click", () => {
  api.uploaded($("job").dataset.upload).then(reuse, (error) => say(error.message));
});

function useSource(info) {
  source = info;
  $("suggest").disabled = $("delete-source").disabled = !source;
  if (!source) {
    $("suggest-notes").textContent = "";
    suggestions.show([]);
  }
  $("start").disabled = !(source && clips.valid && hasClips());
  list.refresh();
  estimate.refresh();
  crop.show(clips.selected?.own, wanted($("job-form")));
}

function hasClips() {
  return clips.items.length > 0 || $("clip-list").value.trim() !== "";
}

/* What is asked for: the crops of it on the video, and what it would take. */

const crop = new Crop($("crop"), player, (centre) => {
  const clip = clips.selected;
  if (clip) clips.wish(clip, { ...clip.own, centre });
});

function request() {
  return { upload_id: source?.id, wanted_clips: clips.wanted, clip_list: $("clip-list").value, ...wanted($("job-form")) };
}

estimate.addEventListener("change", () => timeline.estimated(estimate.outputs));
$("job-form").addEventListener("input", () => useSource(source));

clips.addEventListener("change", () => useSource(source));
/* The player and its marks. */

player.addEventListener("loadedmetadata", () => {
  if (!source && Number.isFinite(player.duration)) clips.setSource(player.duration, 0);
});
for (const name of ["timeupdate", "seeking", "loadedmetadata"]) {
  player.addEventListener(name, () => {
    $("clock").textContent = formatTime(player.currentTime);
    timeline.showTime(player.currentTime);
  });
}

function mark(side) {
  const clip = clips.selected ?? clips.add(player.currentTime);
  const now = player.currentTime;
  if (side === "start") clips.move(clip, now, clip.end > now ? clip.end : clips.duration);
  else clips.move(clip, clip.start < now ? clip.start : 0, now);
}

const actions = {
  i: () => mark("start"),
  o: () => mark("end"),
  a: () => clips.add(player.currentTime),
  s: () => clips.split(clips.selected, player.currentTime),
  d: () => clips.selected && clips.duplicate(clips.selected),
  ",": () => (player.currentTime -= 1 / clips.frameRate),
  ".": () => (player.currentTime += 1 / clips.frameRate),
  ...timeline.keys,
};

$("suggest").addEventListener("click", async () => {
  const info = source;
  const button = $("suggest");
  button.disabled = true;
  try {
    const found = await suggested(info, (percent) => (button.textContent = `Looking and listening… ${Math.round(percent)} %`));
    if (source !== info) return; // another video meanwhile
    suggestions.show(found.clips);
    timeline.suggested(found);
    $("suggest-notes").textContent = found.notes.join(" ");
  } catch (error) {
    say(error.message);
  } finally {
    button.textContent = "Suggest clips";
    button.disabled = !source;
  }
});

function act(key) {
  // Before the length is known there is no place for a clip.
  if (clips.duration) actions[key]?.();
}

$("mark-in").addEventListener("click", () => act("i"));
$("mark-out").addEventListener("click", () => act("o"));
$("add-clip").addEventListener("click", () => act("a"));
$("split-clip").addEventListener("click", () => act("s"));
$("duplicate-clip").addEventListener("click", () => act("d"));
$("undo").addEventListener("click", () => clips.undo());
$("redo").addEventListener("click", () => clips.redo());
clips.addEventListener("change", () => {
  $("undo").disabled = !clips.canUndo;
  $("redo").disabled = !clips.canRedo;
  $("split-clip").disabled = $("duplicate-clip").disabled = !clips.selected;
});
document.addEventListener("keydown", (event) => {
  if (/** @type {Element} */ (event.target).matches("textarea, input:not([type=checkbox], [type=radio], [type=range])") || event.altKey) return;
  const key = event.key.toLowerCase();
  if (!event.ctrlKey && !event.metaKey) act(key);
  else if (key === "z" || key === "y") {
    event.preventDefault();
    if (key === "y" || event.shiftKey) clips.redo();
    else clips.undo();
  }
});

/* The job. */

$("job-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  say("");
  $("start").disabled = true;
  try {
    const job = await api.createJob(request());
    open(job);
    $("job").scrollIntoView({ behavior: "smooth", block: "start" });
  } catch (error) {
    say(error.message);
  } finally {
    useSource(source);
  }
});

const notifier = new Notifier($("notify"), say, openById);
const live = new Live({
  jobs(jobs) {
    for (const job of jobs) if (recent.known(job.id)) notifier.job(job, recent.known(job.id));
    recent.jobs(jobs);
  },
  job(job) {
    const before = recent.known(job.id);
    recent.job(job);
    view.summary(job);
    notifier.job(job, before);
    if (isFinal(job) && !(before && isFinal(before))) showUsage($("usage"));
  },
  deleted(id) {
    recent.deleted(id);
    if ($("job").dataset.job === id) closeJob();
  },
  snapshot: (job) => view.show(job),
  step: (step) => view.step(step),
  progress: (event) => view.progress(event),
  line: (text) => view.line(text),
}, location.hash.slice(1) || null);

function open(job) {
  // So that the address, reloaded or sent to somebody, opens the same job.
  history.replaceState(null, "", `#${job.id}`);
  view.show(job);
  $("cancel").disabled = false;
  live.watch(job.id);
}

function openById(id) {
  return api.job(id).then(open, (error) => say(error.message));
}

$("cancel").addEventListener("click", async () => {
  $("cancel").disabled = true;
  try {
    view.show(await api.cancelJob($("job").dataset.job));
  } catch (error) {
    say(error.message);
    $("cancel").disabled = false;
  }
});

$("mail").addEventListener("click", async () => {
  const isWanted = $("mail").getAttribute("aria-pressed") !== "true";
  const { job } = $("job").dataset;
  try {
    await api.mailMe(job, isWanted);
    if ($("job").dataset.job === job) view.mail(isWanted);
  } catch (error) {
    say(error.message);
  }
});

for (const id of ["again", "again-failed"]) {
  $(id).addEventListener("click", async () => {
    $(id).disabled = true;
    try {
      open(await api.runAgain($("job").dataset.job, id === "again-failed"));
    } catch (error) {
      say(error.message);
    } finally {
      $(id).disabled = false;
    }
  });
}

/* Deleting, which is for good: each asks first. */

async function deleted(question, remove) {
  if (!confirm(`${question} This can't be undone.`)) return false;
  try {
    await remove();
    return true;
  } catch (error) {
    say(error.message);
    return false;
  } finally {
    showUsage($("usage"));
  }
}

async function deleteOutput(output) {
  const job = $("job").dataset.job;
  if (!(await deleted(`Delete ${output.name}?`, () => api.deleteOutput(output)))) return;
  const left = await api.job(job).catch(() => null);
  if (left && $("job").dataset.job === job) view.show(left);
}

function closeJob() {
  live.watch(null);
  history.replaceState(null, "", location.pathname);
  $("job").hidden = true;
  delete $("job").dataset.job;
}

$("delete-job").addEventListener("click", async () => {
  const { job } = $("job").dataset;
  if (await deleted("Delete this job and its results?", () => api.deleteJob(job))) closeJob();
});

async function deleteUpload(upload) {
  const question = "Delete the video, and the results of all jobs that were made of it?";
  if (!(await deleted(question, () => api.deleteUpload(upload)))) return;
  if ($("job").dataset.upload === upload) closeJob();
  if (source?.id !== upload) return;
  edit("");
  $("editor").hidden = true;
}

$("delete-upload").addEventListener("click", () => deleteUpload($("job").dataset.upload));
$("delete-source").addEventListener("click", () => source && deleteUpload(source.id));

if (location.hash) openById(location.hash.slice(1));

showUsage($("usage"));

/* The badge. */

async function showMode() {
  const badge = $("mode");
  try {
    const status = await api.queueStatus();
    // Without a queue configured, cutting here is what is meant to happen.
    const asMeant = status.healthy || !status.configured;
    badge.textContent = asMeant ? status.mode : `${status.mode} is away; ${status.fallback} instead`;
    badge.title = status.message;
    badge.dataset.state = asMeant ? "done" : "failed";
  } catch {
    badge.textContent = "server unreachable";
    badge.dataset.state = "failed";
  }
}
showMode();
setInterval(() => document.hidden || showMode(), STATUS_EVERY_MS);
