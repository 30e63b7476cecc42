import assert from "node:assert/strict";
import { test } from "node:test";
import { AWAY_DELAY_S, BROKEN_DELAY_S, REJOINS } from "../src/limits.ts";
import { push } from "../src/push.ts";
import { wakeForPublished, wakeForPulled } from "../src/waking.ts";
import { containers, environment } from "./support.ts";

type Answer = () => Response | Promise<Response>;

interface Posted {
  container: string;
  document: { worker?: string; orphaned?: boolean; messages: { id: string }[] };
}

/** Push one message to containers; `answers` are those of a container, of which the last is repeated. */
async function pushed(answers: Answer[], more: Record<string, unknown> = {}, count = 1) {
  const posted: Posted[] = [];
  const outcomes: ("ack" | number)[] = [];
  const given = containers(
    async (container, _url, init) => {
      posted.push({ container, document: JSON.parse(String(init.body)) });
      return answers[Math.min(posted.length, answers.length) - 1]!();
    },
    count,
    1,
  );
  const message = {
    id: "a",
    body: "text",
    attempts: 1,
    timestamp: new Date(1_700_000_000_000),
    ack: () => outcomes.push("ack"),
    retry: (options?: QueueRetryOptions) => outcomes.push(options?.delaySeconds ?? -1),
  };
  const batch = { queue: "tasks", messages: [message] } as unknown as MessageBatch;
  await push(batch, environment({ ...given.env, ...more }));
  return { posted, outcomes, slots: given.slots, woken: given.woken };
}

const told = (...lines: unknown[]): Answer => {
  return () => new Response(lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
};
const status =
  (code: number): Answer =>
  () =>
    new Response("", { status: code });

const ENDED = { id: "a", outcome: "ack" };

test("a message goes to the first container, which tells its slots", async () => {
  const { posted, outcomes, slots } = await pushed([told({ worker: "one", slots: 4 }, ENDED)]);
  assert.deepEqual(outcomes, ["ack"]);
  assert.deepEqual(
    posted.map(({ container }) => container),
    ["worker-0"],
  );
  assert.deepEqual(slots.stats(), { slots: 4, running: [0], waiting: 0 });
});

test("a container that can't start leaves the message to the next", async () => {
  const { posted, outcomes } = await pushed([status(503), told(ENDED)], {}, 2);
  assert.deepEqual(outcomes, ["ack"]);
  assert.deepEqual(
    posted.map(({ container }) => container),
    ["worker-0", "worker-1"],
  );
});

test("where none can start, the message comes again, and its slot is free", async () => {
  const { outcomes, slots } = await pushed([status(500)], { PUSH_AWAY_S: "0.01" });
  assert.ok(Number(outcomes[0]) >= AWAY_DELAY_S);
  assert.deepEqual(slots.stats().running, [0]);
});

test("a container that is full leaves the message to the next", async () => {
  const full = { id: "a", outcome: "wait" };
  const { posted, outcomes } = await pushed([told({ worker: "one" }, full), told(ENDED)], {}, 2);
  assert.deepEqual(outcomes, ["ack"]);
  assert.deepEqual(
    posted.map(({ container, document }) => [container, document.worker]),
    [
      ["worker-0", undefined],
      ["worker-1", undefined],
    ],
  );
});

test("a broken stream is joined again at the same container", async () => {
  const { posted, outcomes } = await pushed([told({ worker: "one" }), told(ENDED)], {}, 2);
  assert.deepEqual(outcomes, ["ack"]);
  assert.deepEqual(
    posted.map(({ container, document }) => [container, document.worker, document.orphaned]),
    [
      ["worker-0", undefined, undefined],
      ["worker-0", "one", undefined],
    ],
  );
});

test("a message of a worker that is gone is the next one's at once", async () => {
  const { posted, outcomes } = await pushed([told({ worker: "one" }), status(421), told(ENDED)]);
  assert.deepEqual(outcomes, ["ack"]);
  assert.deepEqual(
    posted.map(({ document }) => [document.worker, document.orphaned]),
    [
      [undefined, undefined],
      ["one", undefined],
      [undefined, true],
    ],
  );
});

test("a container that breaks each time is given up, and the message comes again soon", async () => {
  const { posted, outcomes, slots } = await pushed([told({ worker: "one" })]);
  assert.equal(posted.length, REJOINS + 1);
  assert.ok(Number(outcomes[0]) >= BROKEN_DELAY_S);
  assert.deepEqual(slots.stats().running, [0]);
});

test("a queue that has an address goes there, though there are containers", async (context) => {
  context.mock.method(globalThis, "fetch", async () => told(ENDED)());
  const { posted, outcomes } = await pushed([status(500)], { INGRESS_URL: "https://push.example" });
  assert.deepEqual([posted.length, outcomes], [0, ["ack"]]);
});

test("messages that are pulled wake as many containers as they need", async () => {
  const given = containers(() => Promise.reject(new Error("unused")), 3, 2);
  const backlog = { metrics: async () => ({ backlogCount: 3 }) };
  const env = environment({ ...given.env, CONTAINER_PULLS: "long", QUEUE_LONG: backlog });
  await wakeForPublished(env, "long", 1);
  assert.deepEqual(given.woken, ["worker-0"]);
  await wakeForPublished(env, "other", 1);
  await wakeForPublished(env, "long", 0);
  assert.deepEqual(given.woken, ["worker-0"]);
  await wakeForPulled(env);
  assert.deepEqual(given.woken, ["worker-0", "worker-0", "worker-1"]);
});

test("one container is woken where nobody knows whether messages wait, and none for none", async () => {
  const given = containers(() => Promise.reject(new Error("unused")), 3, 2);
  const unknown = { metrics: async () => Promise.reject(new Error("no such method")) };
  const none = { metrics: async () => ({ backlogCount: 0 }) };
  await wakeForPulled(environment({ ...given.env, CONTAINER_PULLS: "long", QUEUE_LONG: none }));
  assert.deepEqual(given.woken, []);
  await wakeForPulled(environment({ ...given.env, CONTAINER_PULLS: "long", QUEUE_LONG: unknown }));
  assert.deepEqual(given.woken, ["worker-0"]);
});
