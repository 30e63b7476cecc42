/**
 * A batch's delivery: which of its messages have an outcome yet, and single attempts to have a push
 * server end the others.
 */

import { type Env, producerOf } from "./env.ts";
import {
  ANEW_AFTER,
  AWAY_DELAY_S,
  BROKEN_DELAY_S,
  BUSY_DELAY_S,
  IDLE_S,
  MAX_DELAY_S,
  MAX_PAUSE_S,
  WALL_DELAY_S,
  WALL_S,
} from "./limits.ts";
import { numberOf } from "./patience.ts";
import { asObject, log } from "./problems.ts";
import type { PushServer } from "./servers.ts";
import { DELIVERIES, signatureOf } from "./signature.ts";

const TIME_UP = "time is up";
/** Statuses by which a proxy says that it got no answer from the push server in time. */
const TIMED_OUT = [504, 524];

/**
 * How an attempt ended before all messages did: `asked` are the seconds that the push server asked
 * for until the next one.
 */
export interface Ended {
  reason: "wait" | "broken" | "away";
  asked: number;
  status?: number;
}

export class Delivery {
  readonly queue: string;
  readonly env: Env;
  private readonly abort = new AbortController();
  private readonly idle: number;
  private readonly ends: number;
  private readonly wall: ReturnType<typeof setTimeout>;
  /** Messages without an outcome, and how the push server is told of each. */
  private readonly waiting = new Map<string, { message: Message; entry: unknown }>();
  /** Messages that a worker may have, since they were posted to it, and it did not say otherwise. */
  private readonly held = new Set<string>();
  /** The worker that may have them, by its own id. */
  private worker: string | undefined;
  private orphaned = false;
  private away = true;

  /** An unreadable message is retried until it is a dead letter. */
  constructor({ queue, messages }: MessageBatch, env: Env) {
    this.queue = queue;
    this.env = env;
    this.idle = numberOf(env, "PUSH_IDLE_S", IDLE_S) * 1000;
    const wall = numberOf(env, "PUSH_WALL_S", WALL_S) * 1000;
    this.ends = Date.now() + wall;
    this.wall = setTimeout(() => this.abort.abort(TIME_UP), wall);
    for (const message of messages) {
      try {
        this.waiting.set(message.id, { message, entry: entryOf(message) });
      } catch (error) {
        log("message-unreadable", { queue, id: message.id, error: String(error) });
        message.retry();
      }
    }
  }

  /** Whether there is nothing more to do, or no time for it. */
  get over(): boolean {
    return !this.waiting.size || this.abort.signal.aborted;
  }

  /** The seconds that are left. */
  get seconds(): number {
    return Math.max(0, this.ends - Date.now()) / 1000;
  }

  /** Whether a worker may have a message that has no outcome. */
  get isHeld(): boolean {
    return this.held.size > 0;
  }

  /** The id of the first message, and when the oldest was published, in ms since 1970. */
  get first(): { id: string; age: number } {
    const [id] = this.waiting.keys();
    const ages = [...this.waiting.values()].map(({ message }) => message.timestamp.getTime());
    return { id: id ?? "", age: Math.min(...ages) };
  }

  /** Ask no more for the worker that may have had messages. */
  forgetWorker(): void {
    this.worker = undefined;
  }

  /** Note that the worker which had messages is gone for good: another may run them at once. */
  orphan(): void {
    this.held.clear();
    this.worker = undefined;
    this.orphaned = true;
  }

  /** Give a message back that has no outcome; it may be running still. */
  private giveBack(message: Message): Promise<void> | void {
    if (!this.held.has(message.id)) {
      return this.putOff(message, this.away ? AWAY_DELAY_S : BUSY_DELAY_S);
    }
    const timeUp = this.abort.signal.reason === TIME_UP;
    message.retry({ delaySeconds: jittered(timeUp ? WALL_DELAY_S : BROKEN_DELAY_S) });
  }

  /** End the delivery: give back what has no outcome. */
  async end(): Promise<void> {
    clearTimeout(this.wall);
    const left = [...this.waiting.values()].map(({ message }) => message);
    await Promise.all(left.map((message) => this.giveBack(message)));
  }

  /** Post what has no outcome yet. Return why that ended. */
  async attempt(server: PushServer): Promise<Ended> {
    const ended = await this.posted(server);
    this.away = ended.reason === "away";
    return ended;
  }

  private async posted(server: PushServer): Promise<Ended> {
    const { signal, heard, end } = this.listening();
    let taken = false;
    try {
      const answer = await this.post(server, signal);
      const { status } = answer;
      if (status === 200 && answer.body) {
        taken = true;
        this.holdAll();
        await this.follow(answer.body, heard, server);
        return { reason: this.held.size ? "broken" : "wait", asked: 0, status };
      }
      await answer.body?.cancel();
      log("push-server-refused", { queue: this.queue, status });
      if (TIMED_OUT.includes(status)) this.holdAll();
      return { reason: "away", asked: secondsOf(answer.headers.get("retry-after")), status };
    } catch (error) {
      log("push-server-failed", { queue: this.queue, error: String(error) });
      if (signal.aborted && !taken) this.holdAll(); // the answer may be on its way
      return { reason: taken || signal.aborted ? "broken" : "away", asked: 0 };
    } finally {
      end();
    }
  }

  /** Note that a worker may have what was posted to it. */
  private holdAll(): void {
    for (const id of this.waiting.keys()) this.held.add(id);
  }

  private async post({ url, fetch }: PushServer, signal: AbortSignal): Promise<Response> {
    const body = JSON.stringify({
      queue: this.queue,
      seconds: this.seconds,
      worker: this.worker,
      orphaned: this.orphaned || undefined,
      messages: [...this.waiting.values()].map(({ entry }) => entry),
    });
    const headers = await signatureOf(body, this.env, url);
    headers["content-type"] = "application/json";
    const request = { method: "POST", body, headers, signal, redirect: "manual" } as const;
    return fetch(`${url}${DELIVERIES.target}`, request);
  }

  /** Apply outcomes as they come, until each message has one or the stream ends. */
  private async follow(
    body: ReadableStream<Uint8Array>,
    heard: () => void,
    server: PushServer,
  ): Promise<void> {
    let text = "";
    for await (const chunk of body.pipeThrough(new TextDecoderStream())) {
      heard();
      const lines = (text + chunk).split("\n");
      text = lines.pop()!;
      for (const line of lines) if (line.trim()) await this.apply(line, server);
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

  private async apply(line: string, server: PushServer): Promise<void> {
    let told: Record<string, unknown>;
    try {
      told = asObject(JSON.parse(line), "A line");
    } catch {
      return log("outcome-unreadable", { queue: this.queue });
    }
    if (typeof told["worker"] === "string") {
      this.worker = told["worker"];
      const slots = numberIn(told["slots"]);
      if (slots) server.learn?.(slots);
    }
    const message = this.waiting.get(String(told["id"]))?.message;
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

  async putOffAll(seconds: number): Promise<void> {
    const messages = [...this.waiting.values()].map(({ message }) => message);
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

  sleep(seconds: number): Promise<void> {
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
function entryOf(message: Message): unknown {
  return {
    id: message.id,
    timestamp_ms: message.timestamp.getTime(),
    attempts: message.attempts,
    content_type: typeOf(message.body),
    body: textOf(message.body),
  };
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
/** Return the seconds to wait after so many failures in a row: half a second, doubled up to a bound. */
export function pauseAfter(failures: number): number {
  if (!failures) return 0;
  const most = Math.min(MAX_PAUSE_S, 2 ** failures / 4);
  return most / 2 + (Math.random() * most) / 2;
}
