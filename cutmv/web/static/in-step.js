// When an output and the video that it is of are in step, and what brings them there. Pure.

/** Seconds that they may be apart; from the latter on the source is moved, else it catches up. */
const CLOSE_S = 0.02;
const FAR_S = 0.3;
/** How much faster or slower than the output it plays then, at most. */
const MOST_PACE = 0.25;

/** Whether a step made a film of one span of the video, which can stand beside it. */
export function comparable({ kind, clip, output }) {
  return kind === "cutdown" && !clip.text.includes("\n") && Boolean(output);
}

/** Where the source is when the output is at `at`, in seconds. */
export function sourceTime({ start, end }, at) {
  return Math.min(start + at, end);
}

/** How fast the source plays that is `behind` by so many seconds; null where it is moved. */
export function pace(behind) {
  if (Math.abs(behind) >= FAR_S) return null;
  if (Math.abs(behind) <= CLOSE_S) return 1;
  return 1 + Math.max(-MOST_PACE, Math.min(MOST_PACE, behind));
}
