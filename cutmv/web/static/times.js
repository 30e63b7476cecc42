// Times on the page: seconds inside, `M:SS.mmm` outside. The server has the last word on any text.

/** Seconds as they are written to be read again: to the millisecond where that is exact, else to the microsecond. */
export function exactTime(seconds) {
  const micros = Math.round(seconds * 1e6);
  const rest = micros % 1000;
  if (!rest) return formatTime(seconds);
  return formatTime((micros - rest) / 1e6) + String(rest).padStart(3, "0");
}

/** Seconds as `M:SS.mmm` or `H:MM:SS.mmm`. */
export function formatTime(seconds) {
  const millis = Math.max(0, Math.round(seconds * 1000));
  const hours = Math.floor(millis / 3_600_000);
  const minutes = Math.floor(millis / 60_000) % 60;
  const rest = ((millis % 60_000) / 1000).toFixed(3).padStart(6, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

const UNITS = { h: 3600, m: 60, s: 1, ms: 0.001 };

/**
 * Seconds from the start of a file to a time in it: `SS.mmm`, `MM:SS.mmm`, `1m30s`, `HH:MM:SS:FF`, `-10` before the end
 * or `end`; NaN when it is none of them. `file` has a `duration`, a `frameRate` and a `timecode`, that of its first frame.
 */
export function parseTime(text, file) {
  const clean = text.trim().toLowerCase().replaceAll(",", ".");
  if (clean === "end") return file.duration;
  if (!/^[-−]/.test(clean)) return parseTimecode(clean, file, file.timecode) ?? parseLength(clean);
  const length = clean.slice(1).trim();
  const start = file.duration - (parseTimecode(length, file) ?? parseLength(length));
  return start >= 0 ? start : NaN;
}

function parseLength(clean) {
  if (/^\d+(:\d{1,4}){0,2}(\.\d*)?$/.test(clean)) {
    const parts = clean.split(":").map(Number);
    const [last, before] = parts.slice().reverse();
    if (parts.length > 1 && last >= 60) return NaN;
    if (parts.length > 2 && before >= 60) return NaN;
    return parts.reduce((sum, part) => sum * 60 + part, 0);
  }
  if (!/^(\d+(\.\d+)? ?h ?)?(\d+(\.\d+)? ?m ?)?(\d+(\.\d+)? ?s ?)?(\d+(\.\d+)? ?ms)?$/.test(clean) || !clean) return NaN;
  return [...clean.matchAll(/([\d.]+) ?(ms|h|m|s)/g)].reduce((sum, [, number, unit]) => sum + number * UNITS[unit], 0);
}

/** Seconds from the timecode `first` (none: from zero) to a timecode; null when the text is no timecode. */
function parseTimecode(clean, { frameRate }, first) {
  const code = readTimecode(clean);
  if (!code) return null;
  const start = (first && readTimecode(first)) || { minutes: 0, seconds: 0, frame: 0, drop: false };
  const nominal = Math.round(frameRate);
  const drop = code.drop || start.drop;
  const frames = countFrames(code, nominal, drop) - countFrames(start, nominal, start.drop);
  return frameRate > 0 && code.frame < nominal && frames >= 0 ? frames / frameRate : NaN;
}

function readTimecode(text) {
  const found = /^(\d{1,3})[:;]([0-5]\d)[:;]([0-5]\d)([:;])(\d{2,3})$/.exec(text);
  if (!found) return null;
  const [hours, minutes, seconds, , frame] = found.slice(1).map(Number);
  return { minutes: hours * 60 + minutes, seconds, frame, drop: found[4] === ";" };
}

function countFrames({ minutes, seconds, frame }, nominal, drop) {
  const leftOut = drop ? nominal / 15 : 0;
  const number = minutes % 10 && !seconds ? Math.max(frame, leftOut) : frame;
  return (minutes * 60 + seconds) * nominal + number - leftOut * (minutes - Math.floor(minutes / 10));
}

/** A length of time for people: `12 s`, `3 min 20 s`. */
export function formatSpan(seconds) {
  const whole = Math.round(seconds);
  if (seconds < 10) return `${Number(seconds.toFixed(2))} s`;
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

/** Bytes for people, in powers of ten. */
export function formatBytes(bytes) {
  const units = ["B", "kB", "MB", "GB"];
  const power = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(bytes, 1)) / 3));
  return `${(bytes / 1000 ** power).toFixed(power ? 1 : 0)} ${units[power]}`;
}
