// The MD5 of a part of a file: by it the server knows that it has what we sent, and we what it has.

/** @type {Worker | null} */
let worker = null;
let last = 0;
const waiting = new Map();

/** The MD5 of a blob, in hex and in base64. It fails when the file can't be read any more. */
export async function md5(blob) {
  worker ??= started();
  const to = worker;
  const id = ++last;
  const raw = await new Promise((resolve) => {
    waiting.set(id, resolve);
    to.postMessage({ id, blob });
  });
  if (raw === null) throw new Error("The file was changed or moved: choose it again.");
  const hex = Array.from(raw, (byte) => byte.charCodeAt(0).toString(16).padStart(2, "0")).join("");
  return { hex, base64: btoa(raw) };
}

function started() {
  const made = new Worker("/static/upload/md5-worker.js");
  made.addEventListener("message", ({ data: { id, raw } }) => {
    waiting.get(id)(raw);
    waiting.delete(id);
  });
  return made;
}
