// Times on the page: seconds inside, `M:SS.mmm` outside. The server has the last word on any text.

/** Seconds as `M:SS.mmm` or `H:MM:SS.mmm`. */
export function formatTime(seconds) {
  const millis = Math.max(0, Math.round(seconds * 1000));
  const hours = Math.floor(millis / 3_600_000);
  const minutes = Math.floor(millis / 60_000) % 60;
  const rest = ((millis % 60_000) / 1000).toFixed(3).padStart(6, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

/** Seconds from `SS.mmm`, `MM:SS.mmm`, `HH:MM:SS.mmm` or `HH:MM:SS:FF`; NaN when it is none of them. */
export function parseTime(text, frameRate) {
  const clean = text.trim();
  if (!/^\d+(:\d{1,2}){0,3}(\.\d*)?$/.test(clean)) return NaN;
  const parts = clean.split(":").map(Number);
  if (parts.length === 4) {
    const [hours, minutes, seconds, frames] = parts;
    const nominal = Math.round(frameRate);
    const total = ((hours * 60 + minutes) * 60 + seconds) * nominal + frames;
    return frameRate > 0 && frames < nominal ? total / frameRate : NaN;
  }
  if (parts.slice(1).some((part) => part >= 60)) return NaN;
  return parts.reduce((sum, part) => sum * 60 + part, 0);
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
