import assert from "node:assert/strict";
import { test } from "node:test";
import { MAX_BODY_BYTES, MAX_SIGNATURES, TOLERANCE_S } from "../src/limits.ts";
import type { Problem } from "../src/problems.ts";
import { signatureOf, signedJson, signedTarget } from "../src/signature.ts";
import { environment } from "./support.ts";

const URL_ = "https://edge.example/v1/hub/messages";
const BODY = '{"messages":[]}';

function post(headers: Record<string, string>, body = BODY): Request {
  return new Request(URL_, { method: "POST", headers, body });
}

function refused(status: number) {
  return (error: Problem) => error.status === status;
}

test("the example of Standard Webhooks is signed as Python signs it", async () => {
  const env = environment({ EDGE_KEYS: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" });
  const headers = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": "1614265330",
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
  };
  const body = '{"test": 2432232314}';
  // The signature is good and the time is not, which is checked after it.
  await assert.rejects(signedJson(post(headers, body), env), refused(401));
  const late = await signedJson(post(headers, body), env).catch((error: Problem) => error.detail);
  assert.match(String(late), /timestamp/);
});

test("a request is taken once", async () => {
  const env = environment();
  const headers = await signatureOf(BODY, env);
  assert.deepEqual(await signedJson(post(headers), env), { messages: [] });
  await assert.rejects(signedJson(post(headers), env), refused(409));
});

test("either of two keys opens, and each signs", async () => {
  const both = environment({ EDGE_KEYS: "whsec_QUJD whsec_REVG" });
  const headers = await signatureOf(BODY, both);
  assert.equal(headers["webhook-signature"]!.split(" ").length, 2);
  for (const key of ["whsec_QUJD", "whsec_REVG"]) {
    await signedJson(post(headers), environment({ EDGE_KEYS: key }));
  }
  const other = environment({ EDGE_KEYS: "whsec_R0hJ" });
  await assert.rejects(signedJson(post(headers), other), refused(401));
});

test("a passphrase with spaces is one key", async () => {
  const env = environment({ EDGE_KEYS: "correct horse" });
  const headers = await signatureOf(BODY, env);
  await signedJson(post(headers), env);
  const word = environment({ EDGE_KEYS: "horse" });
  await assert.rejects(signedJson(post(headers), word), refused(401));
});

test("without a key nothing is signed or opened", async () => {
  const env = environment({ EDGE_KEYS: " , " });
  await assert.rejects(signatureOf(BODY, env), refused(503));
  await assert.rejects(signedJson(post({}), env), refused(503));
});

test("a body must be the signed one, JSON in UTF-8, and not too large", async () => {
  const env = environment();
  await assert.rejects(signedJson(post(await signatureOf(BODY, env), "{}"), env), refused(401));
  await assert.rejects(signedJson(post(await signatureOf("{", env), "{"), env), refused(400));
  const large = " ".repeat(MAX_BODY_BYTES + 1);
  await assert.rejects(signedJson(post(await signatureOf(large, env), large), env), refused(413));
});

test("a clock may differ by the tolerance", async (t) => {
  t.mock.timers.enable({ apis: ["Date"], now: Date.now() });
  const env = environment();
  const headers = await signatureOf(BODY, env);
  t.mock.timers.tick((TOLERANCE_S - 1) * 1000);
  await signedJson(post(headers), env);
  const others = await signatureOf(BODY, env);
  t.mock.timers.tick((TOLERANCE_S + 2) * 1000);
  await assert.rejects(signedJson(post(others), env), refused(401));
});

test("more signatures than the limit are not checked", async () => {
  const env = environment();
  const headers = await signatureOf(BODY, env);
  const wrong = `v1,${"A".repeat(43)}= `.repeat(MAX_SIGNATURES);
  headers["webhook-signature"] = wrong + headers["webhook-signature"];
  await assert.rejects(signedJson(post(headers), env), refused(401));
});

test("a signed GET is its path and query", async () => {
  const env = environment();
  const headers = await signatureOf("/v1/hub?client=a", env);
  const other = new Request("https://edge.example/v1/hub?client=b", { headers });
  await assert.rejects(signedTarget(other, env), refused(401));
  await signedTarget(new Request("https://edge.example/v1/hub?client=a", { headers }), env);
});
