/**
 * The push consumer. It POSTs a batch to the push server of a Celery worker, which answers with a
 * stream: one JSON line as each message ends, and empty lines as heartbeats.
 *
 * `push` never throws: it acks or retries each message, whatever happens.
 */

import { type Env, producerOf } from "./env.ts";
import {
  ANEW_AFTER,
  BASE_DELAY_S,
  BROKEN_DELAY_S,
  IDLE_S,
  MAX_BACKOFF_S,
  MAX_DELAY_S,
  WALL_DELAY_S,
  WALL_S,
} from "./limits.ts";
import { numberOf } from "./patience.ts";
import { asObject, log } from "./problems.ts";
import { signatureOf } from "./signature.ts";

const TIME_UP = "time is up";

type Waiting = Map<string, Message>;

export async function push(batch: MessageBatch, env: Env): Promise<void> {
  const { waiting, document } = describe(batch);
  const delivery = new Delivery(batch.queue, waiting, env);
  let delay = BROKEN_DELAY_S;
  try {
    const answer = await delivery.post(document);
    if (answer.status === 200 && answer.body) {
      await delivery.follow(answer.body);
    } else {
      await answer.body?.cancel();
      const floor = secondsOf(answer.headers.get("retry-after"));
      log("push-server-refused", { queue: batch.queue, status: answer.status });
      await delivery.putOffAll(floor);
    }
  } catch (error) {
    log("push-server-failed", {
      queue: batch.queue,
      error: String(error),
      connected: delivery.connected,
    });
    if (delivery.timeUp) delay = WALL_DELAY_S;
    else if (!delivery.connected) await delivery.putOffAll(0);
  } finally {
    delivery.end();
  }
  for (const message of waiting.values()) message.retry({ delaySeconds: jittered(delay) });
}

class Delivery {
  connected = false;
  private readonly abort = new AbortController();
  private readonly idle: number;
  private readonly wall: ReturnType<typeof setTimeout>;
  private readonly queue: string;
  private readonly waiting: Waiting;
  private readonly env: Env;
  private silence: ReturnType<typeof setTimeout>;

  constructor(queue: string, waiting: Waiting, env: Env) {
    this.queue = queue;
    this.waiting = waiting;
    this.env = env;
    this.idle = numberOf(env, "PUSH_IDLE_S", IDLE_S) * 1000;
    const wall = numberOf(env, "PUSH_WALL_S", WALL_S) * 1000;
    this.wall = setTimeout(() => this.abort.abort(TIME_UP), wall);
    this.silence = this.awaitByte();
  }

  get timeUp(): boolean {
    return this.abort.signal.reason === TIME_UP;
  }

  async post(document: unknown): Promise<Response> {
    const url = pushServerOf(this.queue, this.env);
    const body = JSON.stringify(document);
    const headers = await signatureOf(body, this.env);
    headers["content-type"] = "application/json";
    this.heard();
    const { signal } = this.abort;
    const answer = await fetch(url, { method: "POST", body, headers, signal, redirect: "manual" });
    this.connected = true;
    return answer;
  }

  /** Apply outcomes as they come, until each message has one or the stream ends. */
  async follow(body: ReadableStream<Uint8Array>): Promise<void> {
    let text = "";
    for await (const chunk of body.pipeThrough(new TextDecoderStream())) {
      this.heard();
      const lines = (text + chunk).split("\n");
      text = lines.pop()!;
      for (const line of lines) if (line.trim()) await this.apply(line);
      if (!this.waiting.size) return;
    }
  }

  async putOffAll(floor: number): Promise<void> {
    await Promise.all([...this.waiting.values()].map((message) => this.putOff(message, floor)));
  }

  end(): void {
    clearTimeout(this.wall);
    clearTimeout(this.silence);
  }

  private heard(): void {
    clearTimeout(this.silence);
    this.silence = this.awaitByte();
  }

  private awaitByte() {
    return setTimeout(() => this.abort.abort("no heartbeat"), this.idle);
  }

  private async apply(line: string): Promise<void> {
    let outcome: Record<string, unknown>;
    try {
      outcome = asObject(JSON.parse(line), "An outcome");
    } catch {
      return log("outcome-unreadable", { queue: this.queue });
    }
    const message = this.waiting.get(String(outcome["id"]));
    if (!message) return;
    switch (outcome["outcome"]) {
      case "ack":
        message.ack();
        break;
      case "retry":
        message.retry(retryOptions(outcome["delay_seconds"]));
        break;
      case "busy":
        return this.putOff(message, 0);
      default:
        return log("outcome-unreadable", { queue: this.queue });
    }
    this.waiting.delete(message.id);
  }

  /** Put off a message that no worker took. It must not use up the message's retries. */
  private async putOff(message: Message, floor: number): Promise<void> {
    this.waiting.delete(message.id);
    const delaySeconds = backoff(message.attempts, floor);
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
}

/** Describe a batch for the push server. An unreadable message is retried until it is a dead letter. */
function describe(batch: MessageBatch): { waiting: Waiting; document: unknown } {
  const waiting: Waiting = new Map();
  const messages: unknown[] = [];
  for (const message of batch.messages) {
    try {
      messages.push({
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
  return { waiting, document: { queue: batch.queue, messages } };
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

function pushServerOf(queue: string, env: Env): string {
  const others = JSON.parse(env.INGRESS_URLS || "{}") as Record<string, string>;
  const base = others[queue] ?? env.INGRESS_URL;
  if (!base) throw new Error("no push server: set INGRESS_URL");
  return `${base.replace(/\/+$/, "")}/v1/deliveries`;
}

function retryOptions(delay: unknown): QueueRetryOptions {
  const seconds = typeof delay === "number" && delay >= 0 ? delay : undefined;
  return seconds === undefined ? {} : { delaySeconds: Math.min(MAX_DELAY_S, Math.ceil(seconds)) };
}

function backoff(attempts: number, floor: number): number {
  const grown = Math.min(MAX_BACKOFF_S, 2 ** attempts * BASE_DELAY_S);
  const seconds = Math.max(floor, grown / 2) + (Math.random() * grown) / 2;
  return Math.min(MAX_DELAY_S, Math.ceil(seconds));
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
