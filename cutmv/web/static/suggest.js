// Clips that the server suggests: asked for, waited for, and put into the list of clips.

import * as api from "./api.js";

/** Milliseconds between two looks at how far the server is. */
const LOOK_EVERY_MS = 1_000;
/** Seconds of a clip: half of a short video. */
const CLIP_S = 15;

/** Clips of an upload, `info`, the best first; `progressed` is told the percent until they are there. */
export async function suggested(info, progressed) {
  let found = await api.makeSuggestions(info.id);
  do {
    if (found.state !== "done") await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
    found = await api.suggestions(info.id, Math.min(CLIP_S, info.duration_s / 2));
    progressed(found.percent);
  } while (found.state !== "done");
  return found;
}

/** Fill the list; the times stay as the server wrote them, exact to the picture. */
export function fill(clips, found) {
  for (const { text, start, end } of found.clips) {
    const clip = clips.add(start);
    const [from, to] = text.split("-");
    clips.type(clip, "start", from, start);
    clips.type(clip, "end", to, end);
  }
}
