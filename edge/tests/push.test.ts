import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";
import { ANEW_AFTER, BROKEN_DELAY_S, MAX_BACKOFF_S, MAX_DELAY_S } from "../src/limits.ts";
import { push } from "../src/push.ts";
import { environment } from "./support.ts";

/** A message that notes its outcome: "ack", or the seconds of its retry (-1 for the queue's own). */
class FakeMessage {
  readonly id: string;
  readonly body: unknown;
  readonly attempts: number;
  readonly timestamp = new Date(1_700_000_000_000);
  readonly outcomes: (number | "ack")[] = [];

  constructor(id: string, body: unknown = "text", attempts = 1) {
    this.id = id;
    this.body = body;
    this.attempts = attempts;
  }

  ack() {
    this.outcomes.push("ack");
  }

  retry(options?: QueueRetryOptions) {
    this.outcomes.push(options?.delaySeconds ?? -1);
  }
}

async function pushed(
  messages: FakeMessage[],
  answer: () => Response,
  more = {},
): Promise<unknown> {
  const fetched = mock.method(globalThis, "fetch", async () => answer());
  const batch = { queue: "tasks", messages } as unknown as MessageBatch;
  await push(batch, environment({ INGRESS_URL: "https://push.example/", ...more }));
  const [url, init] = fetched.mock.calls[0]?.arguments ?? [];
  if (url) assert.equal(String(url), "https://push.example/v1/deliveries");
  return init ? JSON.parse(String((init as RequestInit).body)) : undefined;
}

function lines(...outcomes: unknown[]): () => Response {
  return () => new Response(outcomes.map((one) => `${JSON.stringify(one)}\n`).join("\n"));
}

beforeEach(() => {
  mock.restoreAll();
  mock.method(console, "log", () => undefined);
});

test("each message has the outcome that the push server tells", async () => {
  const [a, b, c] = [new FakeMessage("a"), new FakeMessage("b"), new FakeMessage("c")];
  await pushed(
    [a, b, c],
    lines(
      { id: "a", outcome: "ack" },
      { id: "unknown", outcome: "ack" },
      { id: "b", outcome: "retry", delay_seconds: 1.5 },
      { id: "c", outcome: "retry", delay_seconds: MAX_DELAY_S + 1 },
    ),
  );
  assert.deepEqual([a.outcomes, b.outcomes, c.outcomes], [["ack"], [2], [MAX_DELAY_S]]);
});

test("bodies are sent as text, JSON and base64", async () => {
  const bytes = new Uint8Array([0, 255]).buffer;
  const messages = [new FakeMessage("a"), new FakeMessage("b", [1]), new FakeMessage("c", bytes)];
  const document = await pushed(messages, lines());
  const common = { timestamp_ms: 1_700_000_000_000, attempts: 1 };
  assert.deepEqual(document, {
    queue: "tasks",
    messages: [
      { id: "a", ...common, content_type: "text", body: "text" },
      { id: "b", ...common, content_type: "json", body: "[1]" },
      { id: "c", ...common, content_type: "bytes", body: "AP8=" },
    ],
  });
});

test("a message without an outcome comes again soon", async () => {
  const message = new FakeMessage("a");
  await pushed([message], lines("no object", { id: "a", outcome: "unknown" }));
  const [delay] = message.outcomes;
  assert.ok(Number(delay) >= BROKEN_DELAY_S && Number(delay) <= BROKEN_DELAY_S + 1);
});

test("a refusal puts messages off, and not before Retry-After", async () => {
  const message = new FakeMessage("a");
  const headers = { "retry-after": "100" };
  await pushed([message], () => new Response("", { status: 503, headers }));
  assert.ok(Number(message.outcomes[0]) >= 100);
});

test("an unreadable Retry-After counts as none", async () => {
  const message = new FakeMessage("a");
  const headers = { "retry-after": "soon" };
  await pushed([message], () => new Response("", { status: 503, headers }));
  assert.ok(Number(message.outcomes[0]) <= 2);
});

test("the backoff has an end", async () => {
  const message = new FakeMessage("a", "text", ANEW_AFTER);
  await pushed([message], () => new Response("", { status: 503 }));
  const [delay] = message.outcomes;
  assert.ok(Number(delay) >= MAX_BACKOFF_S / 2 && Number(delay) <= MAX_BACKOFF_S);
});

test("a message that no worker takes is sent anew before its retries run out", async () => {
  const sent: unknown[] = [];
  const producer = { send: async (body: unknown) => void sent.push(body) };
  const message = new FakeMessage("a", "text", ANEW_AFTER + 1);
  await pushed([message], lines({ id: "a", outcome: "busy" }), { QUEUE_TASKS: producer });
  assert.deepEqual([sent, message.outcomes], [["text"], ["ack"]]);
});

test("a message that can't be sent anew is retried", async () => {
  const producer = { send: async () => Promise.reject(new Error("overloaded")) };
  const message = new FakeMessage("a", "text", ANEW_AFTER + 1);
  await pushed([message], lines({ id: "a", outcome: "busy" }), { QUEUE_TASKS: producer });
  assert.equal(typeof message.outcomes[0], "number");
});

test("without an address every message is put off", async () => {
  const message = new FakeMessage("a");
  await pushed([message], lines(), { INGRESS_URL: "" });
  assert.equal(message.outcomes.length, 1);
});
