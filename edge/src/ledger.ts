/**
 * The lease ledger: which worker holds which message. docs/edge.md describes its two calls.
 *
 * Its records are spread over objects by the hash of their keys, so that no object takes all calls.
 */

import { DurableObject } from "cloudflare:workers";
import { type Env, guardOf } from "./env.ts";
import {
  ACCEPTED_KEEP_S,
  LEDGER_SHARDS,
  LEDGER_SWEEP_S,
  MAX_WEBHOOK_ID,
  RECORD_KEEP_S,
} from "./limits.ts";
import { numberOf, type Patience } from "./patience.ts";
import { asObject, Problem, stringOf } from "./problems.ts";
import { type LedgerRecord, Records, readKey, readWrite, type Written } from "./records.ts";
import { signedJson } from "./signature.ts";

/** One part of the ledger. Its clock tells the age of its records. */
export class Ledger extends DurableObject<Patience> {
  private readonly records: Records;
  private readonly keep: number;

  constructor(ctx: DurableObjectState, env: Patience) {
    super(ctx, env);
    this.keep = numberOf(env, "LEDGER_KEEP_S", RECORD_KEEP_S) * 1000;
    this.records = new Records(ctx.storage, this.keep);
  }

  read(key: string): LedgerRecord | null {
    return this.records.read(key, Date.now());
  }

  async write(written: Written): Promise<string | null> {
    const version = this.records.write(written, Date.now());
    if (version && (await this.ctx.storage.getAlarm()) === null) {
      await this.ctx.storage.setAlarm(Date.now() + this.keep);
    }
    return version;
  }

  override async alarm(): Promise<void> {
    const next = this.records.sweep(Date.now());
    if (next === null) return;
    await this.ctx.storage.setAlarm(Math.max(next, Date.now() + LEDGER_SWEEP_S * 1000));
  }
}

/** POST /v1/ledger/read */
export async function readRecord(request: Request, env: Env) {
  const key = readKey(await signed(request, env));
  return Response.json({ record: await (await ledgerOf(env, key)).read(key) });
}

/** POST /v1/ledger/write */
export async function writeRecord(request: Request, env: Env) {
  const written = readWrite(await signed(request, env));
  return Response.json({ version: await (await ledgerOf(env, written.key)).write(written) });
}

/**
 * POST /v1/ledger/accept: note that a push server takes a signed batch, and tell whether none has
 * taken it before, be it another process or an earlier one.
 */
export async function acceptRequest(request: Request, env: Env) {
  const fields = asObject(await signed(request, env), "The body");
  const id = stringOf(fields, "id");
  if (!id || id.length > MAX_WEBHOOK_ID) {
    throw new Problem(400, `\`id\` must have 1 to ${MAX_WEBHOOK_ID} characters.`);
  }
  const ends = Date.now() + ACCEPTED_KEEP_S * 1000;
  return Response.json({ accepted: await guardOf(env).remember(`push server: ${id}`, ends) });
}

/**
 * Check a call's signature, but not whether its id was used before: a repeated read tells nothing
 * new, and a repeated write replaces a version that is gone. So a call costs one object's request
 * rather than two, and does not pass through the one object that remembers ids.
 */
function signed(request: Request, env: Env): Promise<unknown> {
  if (!env.LEDGER) {
    throw new Problem(
      404,
      "No lease ledger here: add the binding LEDGER and its migration to wrangler.toml, and deploy.",
    );
  }
  return signedJson(request, env, { mayRepeat: true });
}

/** Return the object that has a key's record. */
async function ledgerOf(env: Env, key: string): Promise<DurableObjectStub<Ledger>> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(key));
  return env.LEDGER.getByName(`ledger:${new DataView(digest).getUint32(0) % LEDGER_SHARDS}`);
}
