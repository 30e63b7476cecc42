/**
 * Standard Webhooks (https://www.standardwebhooks.com), both ways: HMAC-SHA256 over
 * `id.timestamp.body`, in the headers webhook-id, webhook-timestamp and webhook-signature. HKDF
 * derives a key for each receiver, method and path with its query, so a signature opens no other.
 *
 * While keys are changed there are two. The Worker accepts either, and signs with both.
 */

import { type Env, guardOf } from "./env.ts";
import {
  MAX_BODY_BYTES,
  MAX_SIGNATURES,
  MAX_WEBHOOK_ID,
  MIN_KEY_BYTES,
  TOLERANCE_S,
} from "./limits.ts";
import { Problem } from "./problems.ts";

const encoder = new TextEncoder();

type Keys = Pick<Env, "EDGE_KEYS">;

/** What a request is for. The target is its path with its query, as its receiver has it. */
export interface Purpose {
  receiver: "edge Worker" | "push server";
  method: string;
  target: string;
}

/** What a batch is signed for. */
export const DELIVERIES: Purpose = {
  receiver: "push server",
  method: "POST",
  target: "/v1/deliveries",
};

/** What the question is signed for whether a worker has tasks. */
export const ACTIVITY: Purpose = {
  receiver: "push server",
  method: "GET",
  target: "/v1/activity",
};

/** Check a signed POST, and return its JSON. Its id is accepted once, unless it `mayRepeat`. */
export async function signedJson(
  request: Request,
  env: Env,
  { mayRepeat = false } = {},
): Promise<unknown> {
  const body = await signedBytes(request, env);
  if (!mayRepeat) await useUp(request.headers, env);
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: false }).decode(body));
  } catch {
    throw new Problem(400, "The body is not JSON in UTF-8.");
  }
}

/** Check a signed POST of at most `most` bytes, and return them. Its id may have been used before. */
export async function signedBytes(
  request: Request,
  env: Env,
  most = MAX_BODY_BYTES,
): Promise<Uint8Array> {
  const keys = keysOf(env, request.url); // first: without a key no body is read
  claimed(request.headers);
  const body = await bodyOf(request, most);
  await verify(request, body, keys);
  return body;
}

/** Check a signed GET, which has no body. */
export async function signedTarget(request: Request, env: Env): Promise<void> {
  const keys = keysOf(env, request.url);
  claimed(request.headers);
  await verify(request, new Uint8Array(), keys);
  await useUp(request.headers, env);
}

/**
 * Return the headers that sign `body` with every key, since the receiver may have either.
 * `url` is where it goes.
 */
export async function signatureOf(
  body: string,
  env: Keys,
  url: string,
  purpose: Purpose = DELIVERIES,
): Promise<Record<string, string>> {
  const id = `msg_${crypto.randomUUID().replaceAll("-", "")}`;
  const timestamp = Math.floor(Date.now() / 1000);
  const signed = content(id, String(timestamp), encoder.encode(body));
  const signatures = keysOf(env, url).map(async (key) => {
    const hmac = await derived(key, purpose, "sign");
    const digest = await crypto.subtle.sign("HMAC", hmac, signed);
    return `v1,${btoa(String.fromCharCode(...new Uint8Array(digest)))}`;
  });
  return {
    "webhook-id": id,
    "webhook-timestamp": String(timestamp),
    "webhook-signature": (await Promise.all(signatures)).join(" "),
  };
}

/** Refuse a request whose headers alone say that it is not signed, or not now. */
function claimed(headers: Headers) {
  const id = headers.get("webhook-id") ?? "";
  const timestamp = headers.get("webhook-timestamp") ?? "";
  const given = headers.get("webhook-signature") ?? "";
  if (!id || id.length > MAX_WEBHOOK_ID || !given || !/^[0-9]{1,12}$/.test(timestamp)) {
    throw new Problem(401, "The request is not signed: its three webhook- headers are needed.");
  }
  if (Math.abs(Date.now() - Number(timestamp) * 1000) > TOLERANCE_S * 1000) {
    throw new Problem(401, "The timestamp is too far from now: check both clocks.");
  }
  return { id, timestamp, given };
}

async function verify(request: Request, body: Uint8Array, keys: Uint8Array[]) {
  const { id, timestamp, given } = claimed(request.headers);
  const { pathname, search } = new URL(request.url);
  const purpose: Purpose = {
    receiver: "edge Worker",
    method: request.method,
    target: pathname + search,
  };
  if (!(await anyMatches(given, content(id, timestamp, body), keys, purpose))) {
    throw new Problem(
      401,
      "The signature is wrong: the two ends have different keys, or versions, or it was made for " +
        "another request.",
    );
  }
}

/** Note that the id of a verified request is used. */
async function useUp(headers: Headers, env: Env): Promise<void> {
  const ends = (Number(headers.get("webhook-timestamp")) + TOLERANCE_S) * 1000;
  if (!(await guardOf(env).remember(headers.get("webhook-id")!, ends))) {
    throw new Problem(409, "A request with this webhook-id was received before.");
  }
}

async function anyMatches(given: string, signed: Uint8Array, keys: Uint8Array[], purpose: Purpose) {
  const digests = given.split(" ", MAX_SIGNATURES).flatMap((one) => {
    const found = /^v1,([A-Za-z0-9+/]{43}=)$/.exec(one);
    return found ? [fromBase64(found[1]!)] : [];
  });
  for (const key of keys) {
    const hmac = await derived(key, purpose, "verify");
    for (const digest of digests) {
      // `verify` compares in constant time.
      if (await crypto.subtle.verify("HMAC", hmac, digest, signed)) return true;
    }
  }
  return false;
}

function content(id: string, timestamp: string, body: Uint8Array): Uint8Array {
  const head = encoder.encode(`${id}.${timestamp}.`);
  const whole = new Uint8Array(head.length + body.length);
  whole.set(head);
  whole.set(body, head.length);
  return whole;
}

/** Return the keys for requests from or to a URL. */
function keysOf(env: Keys, url: string): Uint8Array[] {
  const keys = split(env.EDGE_KEYS ?? "")
    .map(keyBytes)
    .filter((key) => key.length);
  if (!keys.length) {
    throw new Problem(503, "No key is set: npx wrangler secret put EDGE_KEYS", {
      "retry-after": "60",
    });
  }
  if (keys.some((key) => key.length < MIN_KEY_BYTES) && !isLoopback(url)) {
    throw new Problem(503, `A key of EDGE_KEYS has less than ${MIN_KEY_BYTES} bytes: set another.`);
  }
  return keys;
}

function split(keys: string): string[] {
  const several = keys.split(/[\s,]+/).filter(Boolean);
  // Any other text is one key, spaces included: each of its words alone would be a weak key.
  return several.every((key) => key.startsWith("whsec_")) ? several : [keys];
}

function keyBytes(key: string): Uint8Array {
  // Standard Webhooks writes a key in base64 after a prefix. Any other text stands for its bytes.
  const found = /^whsec_((?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?)$/.exec(
    key,
  );
  return found ? fromBase64(found[1]!) : encoder.encode(key);
}

function fromBase64(text: string): Uint8Array {
  return Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
}

function isLoopback(url: string): boolean {
  const { hostname } = new URL(url);
  return hostname === "localhost" || hostname === "[::1]" || /^127\.[0-9.]+$/.test(hostname);
}

/** Derive the key of one purpose (RFC 5869), as `Purpose.key` does in Python. */
async function derived(
  key: Uint8Array,
  { receiver, method, target }: Purpose,
  use: "sign" | "verify",
): Promise<CryptoKey> {
  const secret = await crypto.subtle.importKey("raw", key, "HKDF", false, ["deriveKey"]);
  const info = encoder.encode(`cutmv signature: ${receiver} ${method} ${target}`);
  const hkdf = { name: "HKDF", hash: "SHA-256", salt: new Uint8Array(), info };
  const hmac = { name: "HMAC", hash: "SHA-256", length: 256 };
  return crypto.subtle.deriveKey(hkdf, secret, hmac, false, [use]);
}

/** Read the body; refuse it as soon as it is known to be too large. */
async function bodyOf(request: Request, most: number): Promise<Uint8Array> {
  const tooLarge = new Problem(413, `The body is larger than ${most} bytes.`);
  if (Number(request.headers.get("content-length") ?? 0) > most) throw tooLarge;
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of request.body ?? []) {
    size += chunk.byteLength;
    if (size > most) throw tooLarge;
    chunks.push(chunk);
  }
  const body = new Uint8Array(size);
  let offset = 0;
  for (const chunk of chunks) {
    body.set(chunk, offset);
    offset += chunk.byteLength;
  }
  return body;
}
