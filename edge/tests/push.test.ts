import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";
import {
  ANEW_AFTER,
  AWAY_DELAY_S,
  BROKEN_DELAY_S,
  MAX_DELAY_S,
  REJOINS,
  WALL_DELAY_S,
} from "../src/limits.ts";
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

/** What was posted, one after the other. */
interface Posted {
  url: string;
  document: { seconds: number; worker?: string; messages: { id: string }[] };
}

/** Push messages; `answers` are those of the push server, of which the last one is repeated. */
async function pushed(
  messages: FakeMessage[],
  answers: ((signal: AbortSignal) => Response | Promise<Response>)[],
  more = {},
): Promise<Posted[]> {
  const posted: Posted[] = [];
  mock.method(globalThis, "fetch", async (url: string, init: RequestInit) => {
    posted.push({ url: String(url), document: JSON.parse(String(init.body)) });
    const answer = answers[Math.min(posted.length, answers.length) - 1]!(init.signal!);
    const aborted = new Promise<Response>((_, reject) => {
      init.signal!.addEventListener("abort", () => reject(new Error("aborted")));
    });
    return Promise.race([answer, aborted]);
  });
  const batch = { queue: "tasks", messages } as unknown as MessageBatch;
  await push(batch, environment({ INGRESS_URL: "https://push.example/", ...more }));
  return posted;
}

const WORKER = { worker: "one" };

function lines(...outcomes: unknown[]): () => Response {
  return () => new Response(outcomes.map((one) => `${JSON.stringify(one)}\n`).join("\n"));
}

function status(code: number, headers: Record<string, string> = {}): () => Response {
  return () => new Response("", { status: code, headers });
}

const refused = () => Promise.reject(new TypeError("connection refused"));

function within(delay: number | "ack" | undefined, least: number): boolean {
  return typeof delay === "number" && delay >= least && delay <= Math.ceil(least * 1.2);
}

beforeEach(() => {
  mock.restoreAll();
  mock.method(console, "log", () => undefined);
  const later = globalThis.setTimeout;
  // Pauses are a thousandth of what they are.
  mock.method(globalThis, "setTimeout", (act: () => void, ms: number) => later(act, ms / 1000));
});

test("each message has the outcome that the push server tells", async () => {
  const [a, b, c] = [new FakeMessage("a"), new FakeMessage("b"), new FakeMessage("c")];
  await pushed(
    [a, b, c],
    [
      lines(
        { id: "a", outcome: "ack" },
        { id: "unknown", outcome: "ack" },
        { id: "b", outcome: "retry", delay_seconds: 1.5 },
        { id: "c", outcome: "retry", delay_seconds: MAX_DELAY_S + 1 },
      ),
    ],
  );
  assert.deepEqual([a.outcomes, b.outcomes, c.outcomes], [["ack"], [2], [MAX_DELAY_S]]);
});

test("bodies are sent as text, JSON and base64", async () => {
  const bytes = new Uint8Array([0, 255]).buffer;
  const messages = [new FakeMessage("a"), new FakeMessage("b", [1]), new FakeMessage("c", bytes)];
  const acks = messages.map(({ id }) => ({ id, outcome: "ack" }));
  const [posted] = await pushed(messages, [lines(...acks)]);
  assert.equal(posted!.url, "https://push.example/v1/deliveries");
  const common = { timestamp_ms: 1_700_000_000_000, attempts: 1 };
  assert.deepEqual(posted!.document.messages, [
    { id: "a", ...common, content_type: "text", body: "text" },
    { id: "b", ...common, content_type: "json", body: "[1]" },
    { id: "c", ...common, content_type: "bytes", body: "AP8=" },
  ]);
});

test("a message that no worker has room for comes again when the push server says", async () => {
  const [a, b] = [new FakeMessage("a"), new FakeMessage("b", "text", ANEW_AFTER)];
  await pushed(
    [a, b],
    [lines({ id: "a", outcome: "busy", delay_seconds: 40 }, { id: "b", outcome: "busy" })],
  );
  assert.ok(within(a.outcomes[0], 40));
  assert.ok(Number(b.outcomes[0]) <= 6, "however often it came before");
});

test("a message that waits is posted again to the next push server", async () => {
  const message = new FakeMessage("a");
  const posted = await pushed(
    [message],
    [lines(WORKER, { id: "a", outcome: "wait" }), lines({ id: "a", outcome: "ack" })],
    { INGRESS_URL: "https://one.example, https://two.example/" },
  );
  assert.deepEqual(message.outcomes, ["ack"]);
  assert.equal(new Set(posted.map(({ url }) => url)).size, 2);
  assert.equal(posted[1]!.document.worker, undefined);
  assert.ok(posted[0]!.document.seconds > 800);
});

test("a message whose stream broke is posted again to the worker that may have it", async () => {
  const [a, b] = [new FakeMessage("a"), new FakeMessage("b")];
  const posted = await pushed(
    [a, b],
    [lines(WORKER, { id: "a", outcome: "ack" }), lines(WORKER, { id: "b", outcome: "ack" })],
    { INGRESS_URL: "https://one.example https://two.example" },
  );
  assert.deepEqual([a.outcomes, b.outcomes], [["ack"], ["ack"]]);
  assert.equal(new Set(posted.map(({ url }) => url)).size, 1);
  assert.equal(posted[1]!.document.worker, "one");
  const ids = posted[1]!.document.messages.map(({ id }) => id);
  assert.deepEqual(ids, ["b"]);
});

test("a proxy that gives up after a time does not end a delivery", async () => {
  const message = new FakeMessage("a");
  const answers = [status(524), lines(WORKER), status(504), lines({ id: "a", outcome: "ack" })];
  await pushed([message], answers, { INGRESS_URL: "https://one.example https://two.example" });
  assert.deepEqual(message.outcomes, ["ack"]);
});

test("a message whose worker is gone comes again soon", async () => {
  const message = new FakeMessage("a");
  const posted = await pushed([message], [lines(WORKER), status(421)]);
  assert.ok(within(message.outcomes[0], BROKEN_DELAY_S));
  assert.ok(posted.length <= 6);
});

test("a stream that ends at once, each time, is given up soon", async () => {
  const message = new FakeMessage("a");
  const posted = await pushed([message], [lines(WORKER, "no object", { id: "a", outcome: "?" })]);
  assert.ok(within(message.outcomes[0], BROKEN_DELAY_S));
  assert.equal(posted.length, REJOINS + 1);
});

test("a push server that is away is asked again and again, and others at once", async () => {
  const message = new FakeMessage("a");
  const posted = await pushed(
    [message],
    [refused, refused, status(503), status(502), lines({ id: "a", outcome: "ack" })],
    { INGRESS_URL: "https://one.example https://two.example" },
  );
  assert.deepEqual(message.outcomes, ["ack"]);
  const urls = posted.map(({ url }) => url);
  assert.ok(urls.every((url, turn) => url !== urls[turn + 1]));
});

test("a message comes again soon, however often no push server answered", async () => {
  const message = new FakeMessage("a", "text", ANEW_AFTER);
  await pushed([message], [refused], { PUSH_AWAY_S: "0.01" });
  assert.ok(within(message.outcomes[0], AWAY_DELAY_S));
});

test("a refusal puts messages off, and not before Retry-After", async () => {
  const message = new FakeMessage("a");
  await pushed([message], [status(503, { "retry-after": "100" })]);
  assert.ok(within(message.outcomes[0], 100));
});

test("an unreadable Retry-After counts as none", async () => {
  const message = new FakeMessage("a");
  const answers = [status(503, { "retry-after": "soon" }), lines({ id: "a", outcome: "ack" })];
  await pushed([message], answers);
  assert.deepEqual(message.outcomes, ["ack"]);
});

test("a message that still runs when time is up comes again; one that waits, sooner", async () => {
  const [runs, waits] = [new FakeMessage("runs"), new FakeMessage("waits")];
  const forever = (signal: AbortSignal) =>
    new Response(
      new ReadableStream({
        start(controller) {
          signal.addEventListener("abort", () => controller.error(new Error("aborted")));
          const line = JSON.stringify({ id: "waits", outcome: "wait" });
          controller.enqueue(new TextEncoder().encode(`${line}\n`));
        },
      }),
    );
  await pushed([runs, waits], [forever], { PUSH_WALL_S: "50", PUSH_IDLE_S: "1000" });
  assert.ok(within(runs.outcomes[0], WALL_DELAY_S));
  assert.ok(Number(waits.outcomes[0]) < BROKEN_DELAY_S + 2);
});

test("a message that no worker takes is sent anew before its retries run out", async () => {
  const sent: unknown[] = [];
  const producer = { send: async (body: unknown) => void sent.push(body) };
  const message = new FakeMessage("a", "text", ANEW_AFTER + 1);
  await pushed([message], [lines({ id: "a", outcome: "busy" })], { QUEUE_TASKS: producer });
  assert.deepEqual([sent, message.outcomes], [["text"], ["ack"]]);
});

test("a message that can't be sent anew is retried", async () => {
  const producer = { send: async () => Promise.reject(new Error("overloaded")) };
  const message = new FakeMessage("a", "text", ANEW_AFTER + 1);
  await pushed([message], [lines({ id: "a", outcome: "busy" })], { QUEUE_TASKS: producer });
  assert.equal(typeof message.outcomes[0], "number");
});

test("without an address every message is put off", async () => {
  const message = new FakeMessage("a");
  await pushed([message], [lines()], { INGRESS_URL: "" });
  assert.equal(message.outcomes.length, 1);
});
