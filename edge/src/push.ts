/**
 * The push consumer. It POSTs a batch to the push server of a Celery worker, which answers with a
 * stream: a JSON line as each message ends, and empty lines as heartbeats.
 *
 * An invocation costs nothing while it waits, and a message that is given back costs an attempt and
 * its place in the queue. So an invocation keeps its messages for as long as it may run: it asks
 * again where a push server had no room for long, does not answer, or where the connection broke.
 *
 * `push` never throws: it acks or retries each message, whatever happens.
 */

import { type Env, producerOf } from "./env.ts";
import {
  ANEW_AFTER,
  AWAY_DELAY_S,
  AWAY_S,
  BRIEF_S,
  BROKEN_DELAY_S,
  BUSY_DELAY_S,
  IDLE_S,
  MAX_DELAY_S,
  MAX_PAUSE_S,
  MAX_POSTS,
  REJOINS,
  WALL_DELAY_S,
  WALL_S,
} from "./limits.ts";
import { numberOf } from "./patience.ts";
import { asObject, log } from "./problems.ts";
import { pushServersOf, startOf } from "./servers.ts";
import { DELIVERIES, signatureOf } from "./signature.ts";

const TIME_UP = "time is up";
/** Statuses by which a proxy says that it got no answer from the push server in time. */
const TIMED_OUT = [504, 524];

type Waiting = Map<string, Message>;

export async function push(batch: MessageBatch, env: Env): Promise<void> {
  const waiting: Waiting = new Map();
  const delivery = new Delivery(batch.queue, waiting, env);
  try {
    await delivery.deliver(describe(batch, waiting));
  } catch (error) {
    log("push-failed", { queue: batch.queue, error: String(error) });
  } finally {
    delivery.end();
  }
  await Promise.all([...waiting.values()].map((message) => delivery.giveBack(message)));
}

/** Why an attempt at a push server ended before all messages did. */
type Reason = "wait" | "broken" | "away";

class Delivery {
  private readonly abort = new AbortController();
  private readonly idle: number;
  private readonly ends: number;
  private readonly wall: ReturnType<typeof setTimeout>;
  private readonly queue: string;
  private readonly waiting: Waiting;
  private readonly env: Env;
  /** Messages that a worker may have, since they were posted to it, and it did not say otherwise. */
  private readonly held = new Set<string>();
  /** The worker that may have them, by its own id. */
  private worker: string | undefined;
  private away = true;

  constructor(queue: string, waiting: Waiting, env: Env) {
    this.queue = queue;
    this.waiting = waiting;
    this.env = env;
    this.idle = numberOf(env, "PUSH_IDLE_S", IDLE_S) * 1000;
    const wall = numberOf(env, "PUSH_WALL_S", WALL_S) * 1000;
    this.ends = Date.now() + wall;
    this.wall = setTimeout(() => this.abort.abort(TIME_UP), wall);
  }

  /** Have the messages end, as far as that is possible in the time of an invocation. */
  async deliver(entries: Map<string, unknown>): Promise<void> {
    const servers = pushServersOf(this.queue, this.env);
    const patience = numberOf(this.env, "PUSH_AWAY_S", AWAY_S) * 1000;
    let turn = startOf([...entries.keys()], servers.length);
    let failures = 0; // in a row
    let answered = Date.now();
    for (let posts = 0; this.waiting.size && posts < MAX_POSTS; posts += 1) {
      const began = Date.now();
      const [reason, asked] = await this.attempt(servers[turn % servers.length]!, entries);
      this.away = reason === "away";
      if (!this.waiting.size || this.abort.signal.aborted) return;
      failures = this.away || Date.now() - began < BRIEF_S * 1000 ? failures + 1 : 0;
      if (this.held.size) {
        if (failures > REJOINS) return;
        await this.sleep(pauseAfter(failures)); // then the same worker again
        continue;
      }
      this.worker = undefined;
      turn += 1;
      if (!this.away) answered = Date.now();
      else if (Date.now() - answered > patience) return;
      if (failures % servers.length) continue; // another may answer
      if (asked > MAX_PAUSE_S) return this.putOffAll(asked);
      await this.sleep(Math.max(asked, pauseAfter(failures / servers.length)));
    }
  }

  /** Give a message back that has no outcome; it may be running still. */
  giveBack(message: Message): Promise<void> | void {
    if (!this.held.has(message.id)) {
      return this.putOff(message, this.away ? AWAY_DELAY_S : BUSY_DELAY_S);
    }
    const timeUp = this.abort.signal.reason === TIME_UP;
    message.retry({ delaySeconds: jittered(timeUp ? WALL_DELAY_S : BROKEN_DELAY_S) });
  }

  end(): void {
    clearTimeout(this.wall);
  }

  /** Post what has no outcome yet. Return why that ended, and the seconds asked for until the next. */
  private async attempt(url: string, entries: Map<string, unknown>): Promise<[Reason, number]> {
    const { signal, heard, end } = this.listening();
    let taken = false;
    try {
      const answer = await this.post(url, entries, signal);
      if (answer.status === 200 && answer.body) {
        taken = true;
        this.holdAll();
        await this.follow(answer.body, heard);
        return [this.held.size ? "broken" : "wait", 0];
      }
      await answer.body?.cancel();
      log("push-server-refused", { queue: this.queue, status: answer.status });
      if (TIMED_OUT.includes(answer.status)) this.holdAll();
      return ["away", secondsOf(answer.headers.get("retry-after"))];
    } catch (error) {
      log("push-server-failed", { queue: this.queue, error: String(error) });
      if (signal.aborted && !taken) this.holdAll(); // the answer may be on its way
      return [taken || signal.aborted ? "broken" : "away", 0];
    } finally {
      end();
    }
  }

  /** Note that a worker may have what was posted to it. */
  private holdAll(): void {
    for (const id of this.waiting.keys()) this.held.add(id);
  }

  private async post(
    url: string,
    entries: Map<string, unknown>,
    signal: AbortSignal,
  ): Promise<Response> {
    const body = JSON.stringify({
      queue: this.queue,
      seconds: Math.max(0, this.ends - Date.now()) / 1000,
      worker: this.worker,
      messages: [...this.waiting.keys()].map((id) => entries.get(id)),
    });
    const headers = await signatureOf(body, this.env, url);
    headers["content-type"] = "application/json";
    return fetch(`${url}${DELIVERIES.target}`, {
      method: "POST",
      body,
      headers,
      signal,
      redirect: "manual",
    });
  }

  /** Apply outcomes as they come, until each message has one or the stream ends. */
  private async follow(body: ReadableStream<Uint8Array>, heard: () => void): Promise<void> {
    let text = "";
    for await (const chunk of body.pipeThrough(new TextDecoderStream())) {
      heard();
      const lines = (text + chunk).split("\n");
      text = lines.pop()!;
      for (const line of lines) if (line.trim()) await this.apply(line);
      if (!this.waiting.size) return;
    }
  }

  /** A signal for one attempt: it aborts after a time without a byte, and when all time is up. */
  private listening() {
    const silence = new AbortController();
    const hush = () => silence.abort("no heartbeat");
    let timer = setTimeout(hush, this.idle);
    const heard = () => {
      clearTimeout(timer);
      timer = setTimeout(hush, this.idle);
    };
    const signal = AbortSignal.any([this.abort.signal, silence.signal]);
    return { signal, heard, end: () => clearTimeout(timer) };
  }

  private async apply(line: string): Promise<void> {
    let told: Record<string, unknown>;
    try {
      told = asObject(JSON.parse(line), "A line");
    } catch {
      return log("outcome-unreadable", { queue: this.queue });
    }
    if (typeof told["worker"] === "string") this.worker = told["worker"];
    const message = this.waiting.get(String(told["id"]));
    if (!message) return;
    switch (told["outcome"]) {
      case "ack":
        message.ack();
        break;
      case "retry":
        message.retry(retryOptions(told["delay_seconds"]));
        break;
      case "busy":
        this.waiting.delete(message.id);
        return this.putOff(message, numberIn(told["delay_seconds"]) ?? BUSY_DELAY_S);
      case "wait":
        this.held.delete(message.id);
        return;
      default:
        return log("outcome-unreadable", { queue: this.queue });
    }
    this.waiting.delete(message.id);
    this.held.delete(message.id);
  }

  private async putOffAll(seconds: number): Promise<void> {
    const messages = [...this.waiting.values()];
    this.waiting.clear();
    await Promise.all(messages.map((message) => this.putOff(message, seconds)));
  }

  /** Put off a message that no worker took. It must not use up the message's retries. */
  private async putOff(message: Message, seconds: number): Promise<void> {
    this.held.delete(message.id);
    const delaySeconds = Math.min(MAX_DELAY_S, jittered(seconds));
    const producer = producerOf(this.env, this.queue);
    if (message.attempts <= numberOf(this.env, "PUSH_ANEW_AFTER", ANEW_AFTER) || !producer) {
      return message.retry({ delaySeconds });
    }
    try {
      // Ack after the new message is accepted: twice is better than never.
      await producer.send(message.body, { contentType: typeOf(message.body), delaySeconds });
      message.ack();
    } catch (error) {
      log("send-anew-failed", { queue: this.queue, error: String(error) });
      message.retry({ delaySeconds });
    }
  }

  private sleep(seconds: number): Promise<void> {
    const { signal } = this.abort;
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, seconds * 1000);
      signal.addEventListener("abort", () => {
        clearTimeout(timer);
        resolve();
      });
    });
  }
}

/** Describe a batch for the push server. An unreadable message is retried until it is a dead letter. */
function describe(batch: MessageBatch, waiting: Waiting): Map<string, unknown> {
  const entries = new Map<string, unknown>();
  for (const message of batch.messages) {
    try {
      entries.set(message.id, {
        id: message.id,
        timestamp_ms: message.timestamp.getTime(),
        attempts: message.attempts,
        content_type: typeOf(message.body),
        body: textOf(message.body),
      });
      waiting.set(message.id, message);
    } catch (error) {
      log("message-unreadable", { queue: batch.queue, id: message.id, error: String(error) });
      message.retry();
    }
  }
  return entries;
}

function typeOf(body: unknown): "text" | "bytes" | "json" {
  if (typeof body === "string") return "text";
  return body instanceof ArrayBuffer ? "bytes" : "json";
}

/** Return text as it is, bytes in base64, anything else as JSON. */
function textOf(body: unknown): string {
  if (typeof body === "string") return body;
  if (!(body instanceof ArrayBuffer)) return JSON.stringify(body) ?? "null";
  return btoa(Array.from(new Uint8Array(body), (byte) => String.fromCharCode(byte)).join(""));
}

function numberIn(value: unknown): number | undefined {
  return typeof value === "number" && value >= 0 ? value : undefined;
}

function retryOptions(delay: unknown): QueueRetryOptions {
  const seconds = numberIn(delay);
  return seconds === undefined ? {} : { delaySeconds: Math.min(MAX_DELAY_S, Math.ceil(seconds)) };
}

/** Return the seconds to wait after so many failures in a row: half a second, doubled up to a bound. */
function pauseAfter(failures: number): number {
  if (!failures) return 0;
  const most = Math.min(MAX_PAUSE_S, 2 ** failures / 4);
  return most / 2 + (Math.random() * most) / 2;
}

function jittered(seconds: number): number {
  return Math.ceil(seconds * (1 + Math.random() / 5));
}

/** Return the seconds of a Retry-After, which is a number or a date. */
function secondsOf(retryAfter: string | null): number {
  if (!retryAfter) return 0;
  const seconds = Number(retryAfter);
  const wait = Number.isNaN(seconds) ? (Date.parse(retryAfter) - Date.now()) / 1000 : seconds;
  return Number.isNaN(wait) ? 0 : Math.max(0, wait);
}
