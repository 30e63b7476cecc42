import assert from "node:assert/strict";
import { test } from "node:test";
import type { Env } from "../src/env.ts";
import { MAX_BODY_BYTES, MAX_SIGNATURES, TOLERANCE_S } from "../src/limits.ts";
import type { Problem } from "../src/problems.ts";
import { type Purpose, signatureOf, signedJson, signedTarget } from "../src/signature.ts";
import { environment } from "./support.ts";

const URL_ = "https://edge.example/v1/hub/messages";
const BODY = '{"messages":[]}';
const PURPOSE: Purpose = { receiver: "edge Worker", method: "POST", target: "/v1/hub/messages" };
const [OLD, NEW, OTHER] = ["QUJD", "REVG", "R0hJ"].map((part) => `whsec_${part.repeat(8)}`);

function sign(body: string, env: Env, url = URL_, purpose = PURPOSE) {
  return signatureOf(body, env, url, purpose);
}

function post(headers: Record<string, string>, body = BODY): Request {
  return new Request(URL_, { method: "POST", headers, body });
}

function refused(status: number) {
  return (error: Problem) => error.status === status;
}

test("Standard Webhooks' example is signed by the derived key as Python signs it", async (t) => {
  t.mock.timers.enable({ apis: ["Date"], now: 1614265330_000 });
  const env = environment({ EDGE_KEYS: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" });
  const headers = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": "1614265330",
    "webhook-signature": "v1,yhCGX5N+UWivg1dX1UzqRaRFWs/L+PuDG2r2Cs/kjjM=",
  };
  const body = '{"test": 2432232314}';
  assert.deepEqual(await signedJson(post(headers, body), env), { test: 2432232314 });
});

test("a signature is for one receiver, one method and one path with its query", async () => {
  const env = environment();
  for (const other of [
    { receiver: "push server" as const },
    { method: "GET" },
    { target: "/v1/hub/messages?scope=a" },
    { target: "/v1/ledger/read" },
  ]) {
    const headers = await sign(BODY, env, URL_, { ...PURPOSE, ...other });
    await assert.rejects(signedJson(post(headers), env), refused(401));
  }
});

test("no body is read of what is not signed, or not now", async () => {
  const env = environment();
  const untouched = { headers: new Headers(), url: URL_, method: "POST" } as Request;
  Object.defineProperty(untouched, "body", { get: () => assert.fail("it was read") });
  await assert.rejects(signedJson(untouched, env), refused(401));
});

test("a key of few bytes is one on loopback alone", async () => {
  const env = environment({ EDGE_KEYS: "local" });
  await assert.rejects(sign(BODY, env), refused(503));
  const local = "http://127.0.0.1:8787/v1/hub/messages";
  const headers = await sign(BODY, env, local);
  await signedJson(new Request(local, { method: "POST", headers, body: BODY }), env);
  const away = new Request(URL_, { method: "POST", headers, body: BODY });
  await assert.rejects(signedJson(away, env), refused(503));
});

test("a request is taken once", async () => {
  const env = environment();
  const headers = await sign(BODY, env);
  assert.deepEqual(await signedJson(post(headers), env), { messages: [] });
  await assert.rejects(signedJson(post(headers), env), refused(409));
});

test("either of two keys opens, and each signs", async () => {
  const both = environment({ EDGE_KEYS: `${OLD} ${NEW}` });
  const headers = await sign(BODY, both);
  assert.equal(headers["webhook-signature"]!.split(" ").length, 2);
  for (const key of [OLD, NEW]) {
    await signedJson(post(headers), environment({ EDGE_KEYS: key }));
  }
  const other = environment({ EDGE_KEYS: OTHER });
  await assert.rejects(signedJson(post(headers), other), refused(401));
});

test("a passphrase with spaces is one key", async () => {
  const env = environment({ EDGE_KEYS: "correct horse battery staple" });
  const headers = await sign(BODY, env);
  await signedJson(post(headers), env);
  const word = environment({ EDGE_KEYS: "horse battery staple and more" });
  await assert.rejects(signedJson(post(headers), word), refused(401));
});

test("without a key nothing is signed or opened", async () => {
  const env = environment({ EDGE_KEYS: " , " });
  await assert.rejects(sign(BODY, env), refused(503));
  await assert.rejects(signedJson(post({}), env), refused(503));
});

test("a body must be the signed one, JSON in UTF-8, and not too large", async () => {
  const env = environment();
  await assert.rejects(signedJson(post(await sign(BODY, env), "{}"), env), refused(401));
  await assert.rejects(signedJson(post(await sign("{", env), "{"), env), refused(400));
  const large = " ".repeat(MAX_BODY_BYTES + 1);
  await assert.rejects(signedJson(post(await sign(large, env), large), env), refused(413));
});

test("a clock may differ by the tolerance", async (t) => {
  t.mock.timers.enable({ apis: ["Date"], now: Date.now() });
  const env = environment();
  const headers = await sign(BODY, env);
  t.mock.timers.tick((TOLERANCE_S - 1) * 1000);
  await signedJson(post(headers), env);
  const others = await sign(BODY, env);
  t.mock.timers.tick((TOLERANCE_S + 2) * 1000);
  await assert.rejects(signedJson(post(others), env), refused(401));
});

test("more signatures than the limit are not checked", async () => {
  const env = environment();
  const headers = await sign(BODY, env);
  const wrong = `v1,${"A".repeat(43)}= `.repeat(MAX_SIGNATURES);
  headers["webhook-signature"] = wrong + headers["webhook-signature"];
  await assert.rejects(signedJson(post(headers), env), refused(401));
});

test("a signed GET is its path and query", async () => {
  const env = environment();
  const headers = await sign("", env, URL_, {
    ...PURPOSE,
    method: "GET",
    target: "/v1/hub?client=a",
  });
  const other = new Request("https://edge.example/v1/hub?client=b", { headers });
  await assert.rejects(signedTarget(other, env), refused(401));
  await signedTarget(new Request("https://edge.example/v1/hub?client=a", { headers }), env);
});
