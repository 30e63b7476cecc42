/**
 * Drives the push consumer as Cloudflare does, and as the local runtime does not: up to 250
 * invocations at once, each with one message; a message that is retried comes again after its delay.
 *
 * Reads a plan from standard input, and writes what came of it as one line of JSON.
 */

import { text } from "node:stream/consumers";
import { push } from "../src/push.ts";
import { containers, environment } from "./support.ts";

interface Plan {
  queue: string;
  texts: string[];
  concurrency: number;
  variables: Record<string, string>;
  /** The push servers of workers that stand for containers, where there are any. */
  containers?: string[];
}

/** Deliveries of a message after the first, before it is dead. */
const MAX_RETRIES = 100;

class Queued {
  readonly id: string;
  readonly body: string;
  readonly timestamp: Date;
  attempts = 0;
  outcome: "ack" | number | undefined;

  constructor(place: number, body: string, now: number) {
    this.id = `${place}`.padStart(32, "0");
    this.body = body;
    this.timestamp = new Date(now + place);
  }

  ack() {
    this.outcome ??= "ack";
  }

  retry(options?: QueueRetryOptions) {
    this.outcome ??= options?.delaySeconds ?? 0;
  }
}

async function drive({ queue, texts, concurrency, variables, containers: urls }: Plan) {
  const began = Date.now();
  const ready = texts.map((body, place) => new Queued(place, body, began));
  const { env: given } = containers(
    (name, _url, init) => fetch(`${urls![Number(name.split("-")[1])]}/v1/deliveries`, init),
    urls?.length ?? 0,
    1,
  );
  const env = environment(urls ? { ...variables, ...given } : variables);
  const counts = { invocations: 0, acked: 0, dead: 0 };
  let running = 0;
  await new Promise<void>((resolve) => {
    const ended = () => {
      if (counts.acked + counts.dead === texts.length) resolve();
    };
    const next = () => {
      while (running < concurrency && ready.length) void invoke(ready.shift()!);
    };
    const invoke = async (message: Queued) => {
      running += 1;
      counts.invocations += 1;
      message.attempts += 1;
      message.outcome = undefined;
      await push({ queue, messages: [message] } as unknown as MessageBatch, env);
      running -= 1;
      if (message.outcome === "ack") counts.acked += 1;
      else if (message.attempts > MAX_RETRIES) counts.dead += 1;
      else {
        setTimeout(() => {
          ready.push(message);
          next();
        }, Number(message.outcome) * 1000);
      }
      ended();
      next();
    };
    ended();
    next();
  });
  return { ...counts, seconds: (Date.now() - began) / 1000 };
}

const log = console.log;
console.log = console.error; // the Worker's own log
log(JSON.stringify(await drive(JSON.parse(await text(process.stdin)) as Plan)));
