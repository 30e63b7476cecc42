import assert from "node:assert/strict";
import { test } from "node:test";
import { bindingName, type Env } from "../src/env.ts";
import { MAX_BATCH_BYTES, MAX_DELAY_S, MAX_MESSAGE_BYTES, METADATA_BYTES } from "../src/limits.ts";
import { numberOf } from "../src/patience.ts";
import type { Problem } from "../src/problems.ts";
import { publish } from "../src/publish.ts";
import { signatureOf } from "../src/signature.ts";
import { context, environment } from "./support.ts";

async function published(messages: unknown[], sendBatch: (batch: unknown) => Promise<void>) {
  const env = environment({ QUEUE_TASKS: { sendBatch } });
  const body = JSON.stringify({ messages });
  const request = await signedPost("/v1/queues/tasks/messages", body, env);
  return { answer: await publish(request, env, context, "tasks"), wakeUps: env.wakeUps };
}

async function signedPost(target: string, body: string, env: Env) {
  const purpose = { receiver: "edge Worker" as const, method: "POST", target };
  const url = `https://edge.example${target}`;
  return new Request(url, {
    method: "POST",
    headers: await signatureOf(body, env, url, purpose),
    body,
  });
}

function refused(status: number) {
  return (error: Problem) => error.status === status;
}

const accept = async () => undefined;

test("messages are sent as one batch, and watchers are woken", async () => {
  const sent: unknown[] = [];
  const { answer, wakeUps } = await published(
    [{ body: "a" }, { body: "b", delay_seconds: MAX_DELAY_S }],
    async (batch) => void sent.push(batch),
  );
  assert.deepEqual(await answer.json(), { accepted: 2 });
  const b = { body: "b", contentType: "text", delaySeconds: MAX_DELAY_S };
  assert.deepEqual(sent, [[{ body: "a", contentType: "text" }, b]]);
  assert.deepEqual(wakeUps, ["tasks"]);
});

test("a message counts with its metadata", async () => {
  const most = "x".repeat(MAX_MESSAGE_BYTES - METADATA_BYTES);
  await published([{ body: most }], accept);
  await assert.rejects(published([{ body: `${most}x` }], accept), refused(413));
});

test("a batch counts with the metadata of each message", async () => {
  const body = "x".repeat(MAX_BATCH_BYTES / 3);
  await assert.rejects(published([{ body }, { body }, { body }], accept), refused(413));
});

test("a wrong message is refused", async () => {
  for (const wrong of ["text", {}, { body: "a\0b" }, { body: "a", delay_seconds: -1 }]) {
    await assert.rejects(published([wrong], accept), refused(400));
  }
});

test("a queue without a binding is named with the binding to add", async () => {
  const env = environment();
  const body = '{"messages":[{"body":"a"}]}';
  const request = await signedPost("/v1/queues/a-b/messages", body, env);
  const problem = await publish(request, env, context, "a-b").catch((error: Problem) => error);
  assert.match((problem as Problem).detail, /QUEUE_A_B/);
});

test("a busy queue is told from a broken one", async (t) => {
  t.mock.method(console, "log", () => undefined);
  const fail = (text: string) => () => Promise.reject(new Error(text));
  await assert.rejects(published([{ body: "a" }], fail("Too Many Requests")), refused(429));
  await assert.rejects(published([{ body: "a" }], fail("no")), refused(503));
});

test("a variable that is no positive number leaves the default", () => {
  assert.equal(bindingName("my-queue"), "QUEUE_MY_QUEUE");
  assert.equal(numberOf(environment({ PUSH_IDLE_S: "2.5" }), "PUSH_IDLE_S", 40), 2.5);
  for (const wrong of ["", "0", "-1", "soon", undefined]) {
    assert.equal(numberOf(environment({ PUSH_IDLE_S: wrong }), "PUSH_IDLE_S", 40), 40);
  }
});
