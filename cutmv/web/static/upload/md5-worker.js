// Computes the MD5 of what it is sent, apart from the page, which must not stutter.

importScripts("../vendor/spark-md5.min.js");

self.addEventListener("message", async ({ data: { id, blob } }) => {
  try {
    const raw = SparkMD5.ArrayBuffer.hash(await blob.arrayBuffer(), true);
    postMessage({ id, raw });
  } catch {
    postMessage({ id, raw: null }); // the file was changed or taken away
  }
});
