/**
 * The push consumer: a batch is POSTed to the ingress of a Celery worker, which answers by a stream
 * of outcomes, one JSON line for each message as it ends, and empty lines to show that it lives.
 *
 * Nothing thrown leaves `push`: each message is acked or retried, whatever happens.
 */

import { type Env, numberOf, producerOf } from "./env";
import { asObject, log } from "./problems";
import { signatureOf } from "./signature";

/** Seconds without a byte after which a connection counts as broken; heartbeats come every 10. */
const IDLE_S = 40;
/** Seconds for a batch; the platform ends the handler at 900, and then counts nothing. */
const WALL_S = 870;
/** Attempts after which a message that nobody takes is sent anew, before its retries run out. */
const ANEW_AFTER = 50;
/** Seconds until a message comes again: where the stream broke, and where time was up. */
const BROKEN_DELAY_S = 5;
const WALL_DELAY_S = 30;
/** Seconds for one that nobody takes: from about the first, doubled, to about the last. */
const BASE_DELAY_S = 1;
const MAX_BACKOFF_S = 600;
/** Seconds: Cloudflare delays for 12 hours at most. */
const MAX_DELAY_S = 43_200;

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
      log("ingress-refused", { queue: batch.queue, status: answer.status });
      await delivery.putOffAll(floor);
    }
  } catch (error) {
    log("ingress-failed", { queue: batch.queue, error: String(error), connected: delivery.connected });
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
  private readonly wall: number;
  private quiet: number | null = null;

  constructor(
    private readonly queue: string,
    private readonly waiting: Waiting,
    private readonly env: Env,
  ) {
    this.idle = numberOf(env, "PUSH_IDLE_S", IDLE_S) * 1000;
    const wall = numberOf(env, "PUSH_WALL_S", WALL_S) * 1000;
    this.wall = setTimeout(() => this.abort.abort(TIME_UP), wall);
  }

  get timeUp(): boolean {
    return this.abort.signal.reason === TIME_UP;
  }

  async post(document: unknown): Promise<Response> {
    const url = ingressOf(this.queue, this.env);
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
    clearTimeout(this.quiet);
  }

  private heard(): void {
    clearTimeout(this.quiet);
    this.quiet = setTimeout(() => this.abort.abort("no heartbeat"), this.idle);
  }

  private async apply(line: string): Promise<void> {
    let outcome: Record<string, unknown>;
    try {
      outcome = asObject(JSON.parse(line), "An outcome");
    } catch {
      return log("ingress-line-unread", { queue: this.queue });
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
        return log("ingress-line-unread", { queue: this.queue });
    }
    this.waiting.delete(message.id);
  }

  /** Try a message again that nobody took. This is not its fault, so it must not wear it out. */
  private async putOff(message: Message, floor: number): Promise<void> {
    this.waiting.delete(message.id);
    const delaySeconds = backoff(message.attempts, floor);
    const producer = producerOf(this.env, this.queue);
    if (message.attempts <= numberOf(this.env, "PUSH_ANEW_AFTER", ANEW_AFTER) || !producer) {
      return message.retry({ delaySeconds });
    }
    try {
      // Accepted first, so that a message is there twice rather than never.
      await producer.send(message.body, { contentType: typeOf(message.body), delaySeconds });
      message.ack();
    } catch (error) {
      log("send-anew-failed", { queue: this.queue, error: String(error) });
      message.retry({ delaySeconds });
    }
  }
}

/** What the ingress is told; a message that can't be told is retried, and so ends as a dead letter. */
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

/** Text as it is, bytes in base64, all else as JSON. */
function textOf(body: unknown): string {
  if (typeof body === "string") return body;
  if (!(body instanceof ArrayBuffer)) return JSON.stringify(body) ?? "null";
  return btoa(Array.from(new Uint8Array(body), (byte) => String.fromCharCode(byte)).join(""));
}

function ingressOf(queue: string, env: Env): string {
  const others = JSON.parse(env.INGRESS_URLS || "{}") as Record<string, string>;
  const base = others[queue] ?? env.INGRESS_URL;
  if (!base) throw new Error("no ingress: set INGRESS_URL");
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

/** Seconds of a Retry-After, which is a number or a date. */
function secondsOf(retryAfter: string | null): number {
  if (!retryAfter) return 0;
  const seconds = Number(retryAfter);
  const wait = Number.isNaN(seconds) ? (Date.parse(retryAfter) - Date.now()) / 1000 : seconds;
  return wait > 0 ? wait : 0;
}
