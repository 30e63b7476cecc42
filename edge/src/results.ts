/**
 * Celery's results: values, who waits for them, chords, notes and leases. docs/edge.md describes the calls.
 *
 * They are spread over objects by the hash of their keys, so that no object takes all calls. A
 * call's operations are performed in order by each object, all of one object's or none. Who waits
 * is told over the hub.
 */

import { DurableObject } from "cloudflare:workers";
import { Chords } from "./chords.ts";
import { Coordination } from "./coordination.ts";
import { type Env, hubOf } from "./env.ts";
import {
  LARGE_GRACE_S,
  MAX_LARGE_BYTES,
  MAX_PUSHED_VALUE,
  RESULT_SHARDS,
  RESULTS_SWEEP_S,
  TOLERANCE_S,
} from "./limits.ts";
import { numberOf } from "./patience.ts";
import { asObject, log, Problem, stringOf } from "./problems.ts";
import { type Answer, type Kept, type Op, perform, readKey, readOps, reads } from "./result_ops.ts";
import { type News, ResultRows } from "./result_rows.ts";
import { signedBytes, signedJson } from "./signature.ts";

/** Objects of the bucket are named by this and a random id. */
const PREFIX = "celery-results/";

/** One part of the results. */
export class Results extends DurableObject<Env> {
  private readonly rows: ResultRows;
  private readonly kept: Kept;
  private readonly sweepAfter: number;
  private alarmed = false;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.rows = new ResultRows(ctx.storage);
    this.kept = {
      rows: this.rows,
      chords: new Chords(ctx.storage, this.rows),
      coordination: new Coordination(ctx.storage),
    };
    this.sweepAfter = numberOf(env, "RESULTS_SWEEP_S", RESULTS_SWEEP_S) * 1000;
  }

  /** Perform operations. Return null where the call, by its `id`, was performed before. */
  async perform(ops: Op[], id: string): Promise<Answer[] | null> {
    const now = Date.now();
    // All in one turn of the object: its storage writes all of it or nothing, and no answer and no
    // news leave before.
    if (!ops.every(reads) && !this.rows.use(id, now + 2 * TOLERANCE_S * 1000)) return null;
    const { answers, news } = perform(ops, this.kept, now);
    await this.schedule();
    if (news.length) this.ctx.waitUntil(this.tell(news));
    return answers;
  }

  /** Note an object of the bucket that is about to be written. */
  async expect(name: string): Promise<void> {
    this.rows.expect(name, Date.now() + LARGE_GRACE_S * 1000);
    await this.schedule();
  }

  override async alarm(): Promise<void> {
    this.alarmed = false;
    const now = Date.now();
    for (const each of Object.values(this.kept)) each.sweep(now);
    const names = this.rows.unneeded(now);
    if (names.length) {
      await this.env.CUTMV_STORAGE?.delete(names);
      this.rows.gone(names);
    }
    if (Object.values(this.kept).some((each) => each.firstEnd() !== null)) await this.schedule();
  }

  /** Tell each client of the values that it waits for, in one message to its hub. */
  private async tell(news: News[]): Promise<void> {
    const hubs = Map.groupBy(
      news.flatMap(({ key, value, waiters }) =>
        waiters.map(({ scope, queue }) => ({ key, value, scope, queue })),
      ),
      ({ scope }) => scope,
    );
    for (const [scope, told] of hubs) {
      const messages = told.map(({ key, value, queue }) => {
        const pushed = value.length > MAX_PUSHED_VALUE ? null : value;
        const text = JSON.stringify({ key, value: pushed });
        return { exchange: "", kind: "direct" as const, key: queue, text };
      });
      try {
        await hubOf(this.env, scope).announce(messages);
      } catch (error) {
        log("result-not-pushed", { scope, error: String(error) }); // the client reads it, later
      }
    }
  }

  private async schedule(): Promise<void> {
    if (this.alarmed) return;
    if ((await this.ctx.storage.getAlarm()) === null) {
      await this.ctx.storage.setAlarm(Date.now() + this.sweepAfter);
    }
    this.alarmed = true;
  }
}

/** POST /v1/results */
export async function performOps(request: Request, env: Env) {
  available(env);
  const id = request.headers.get("webhook-id") ?? "";
  const ops = readOps(await signedJson(request, env, { mayRepeat: true }));
  const answers: Answer[] = [];
  const shards = Map.groupBy(ops.keys(), (index) => shardOf(ops[index]!.key));
  const performed = await Promise.all(
    [...shards].map(async ([shard, indexes]) => {
      const stub = resultsOf(env, shard);
      const told = await stub.perform(
        indexes.map((index) => ops[index]!),
        id,
      );
      told?.forEach((answer, n) => {
        answers[indexes[n]!] = answer;
      });
      return told !== null;
    }),
  );
  if (!performed.every(Boolean)) {
    throw new Problem(409, "A request with this webhook-id was received before.");
  }
  return Response.json({ answers });
}

/** POST /v1/results/large?key=KEY: keep a value that is too large for an operation. */
export async function writeLarge(request: Request, env: Env) {
  const bucket = bucketOf(env);
  const key = readKey({ key: new URL(request.url).searchParams.get("key") ?? "" });
  const body = await signedBytes(request, env, MAX_LARGE_BYTES);
  const name = `${PREFIX}${crypto.randomUUID()}`;
  await resultsOf(env, shardOf(key)).expect(name); // first: what is written has an end
  await bucket.put(name, body);
  return Response.json({ name });
}

/** POST /v1/results/large/read */
export async function readLarge(request: Request, env: Env) {
  const bucket = bucketOf(env);
  const name = stringOf(
    asObject(await signedJson(request, env, { mayRepeat: true }), "The body"),
    "name",
  );
  if (!name.startsWith(PREFIX)) throw new Problem(400, "`name` is none of a large result.");
  const found = await bucket.get(name);
  if (!found) throw new Problem(410, "This large result is gone.");
  return new Response(found.body, { headers: { "content-type": "application/octet-stream" } });
}

function available(env: Env): void {
  if (!env.RESULTS) {
    throw new Problem(
      404,
      "No results here: add the binding RESULTS and its migration to wrangler.toml, and deploy.",
    );
  }
}

function bucketOf(env: Env): R2Bucket {
  available(env);
  if (!env.CUTMV_STORAGE) {
    throw new Problem(
      404,
      "No bucket for large results here: add the binding CUTMV_STORAGE to wrangler.toml, and deploy.",
    );
  }
  return env.CUTMV_STORAGE;
}

/** Return the number of the object that has a key's result: by FNV-1a, over its UTF-16 units. */
export function shardOf(key: string): number {
  let hash = 0x811c9dc5;
  for (let n = 0; n < key.length; n++) hash = Math.imul(hash ^ key.charCodeAt(n), 0x01000193);
  return (hash >>> 0) % RESULT_SHARDS;
}

function resultsOf(env: Env, shard: number): DurableObjectStub<Results> {
  return env.RESULTS.getByName(`results:${shard}`);
}
