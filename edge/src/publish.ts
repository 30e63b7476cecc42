/** POST /v1/queues/{name}/messages: a producer without the REST API's limit of calls. */

import { bindingName, type Env, hubOf, producerOf } from "./env.ts";
import { MAX_BATCH_BYTES, MAX_DELAY_S, MAX_MESSAGE_BYTES, METADATA_BYTES } from "./limits.ts";
import { asObject, bytesIn, integerOf, log, messagesOf, Problem, stringOf } from "./problems.ts";
import { signedJson } from "./signature.ts";
import { wakeForPublished } from "./waking.ts";

export async function publish(request: Request, env: Env, ctx: ExecutionContext, name: string) {
  const document = await signedJson(request, env);
  const queue = producerOf(env, name);
  if (!queue) {
    throw new Problem(
      404,
      `No queue ${name} here: add [[queues.producers]] with queue = "${name}" and ` +
        `binding = "${bindingName(name)}" to wrangler.toml, and deploy.`,
    );
  }
  const messages = messagesOf(document).map(readMessage);
  const size = messages.reduce((sum, message) => sum + sizeOf(message.body), 0);
  if (size > MAX_BATCH_BYTES) {
    throw new Problem(
      413,
      `The batch is ${size} bytes with its metadata: at most ${MAX_BATCH_BYTES}.`,
    );
  }
  try {
    await queue.sendBatch(messages);
  } catch (error) {
    throw refusal(name, error);
  }
  // A wake-up is a hint and not a promise: it follows the acceptance, and nobody waits for it.
  const scope = new URL(request.url).searchParams.get("scope") ?? "";
  ctx.waitUntil(hubOf(env, scope).wakeUp(name));
  ctx.waitUntil(wakeForPublished(env, name, messages.filter(isDue).length));
  return Response.json({ accepted: messages.length });
}

function isDue({ delaySeconds }: MessageSendRequest): boolean {
  return !delaySeconds;
}

function readMessage(entry: unknown): MessageSendRequest<string> {
  const fields = asObject(entry, "A message");
  const body = stringOf(fields, "body");
  if (sizeOf(body) > MAX_MESSAGE_BYTES) {
    throw new Problem(
      413,
      `A message is ${sizeOf(body)} bytes with its metadata: at most ${MAX_MESSAGE_BYTES}.`,
    );
  }
  // The runtime cuts a text at its first NUL without an error.
  if (body.includes("\0")) throw new Problem(400, "A text must not hold NUL characters.");
  const message = { body, contentType: "text" as const };
  if (fields["delay_seconds"] === undefined) return message;
  return { ...message, delaySeconds: integerOf(fields, "delay_seconds", MAX_DELAY_S) };
}

function sizeOf(body: string): number {
  return bytesIn(body) + METADATA_BYTES;
}

/** A binding throws plain errors: only their text tells a busy queue from other trouble. */
function refusal(name: string, error: unknown): Problem {
  log("queue-refused", { queue: name, error: String(error) });
  if (/too many requests|429|overloaded|rate limit/i.test(String(error))) {
    return new Problem(429, `Queue ${name} takes no more messages now.`, { "retry-after": "2" });
  }
  return new Problem(503, `Queue ${name} did not take the messages.`, { "retry-after": "5" });
}
