/** The push servers of a queue: the addresses of the Celery workers that its messages go to. */

import { autoscalerOf, nameOf, wordsOf } from "./container_settings.ts";
import type { Env } from "./env.ts";
import { CHECK_S } from "./limits.ts";
import { asObject, Problem, stringOf } from "./problems.ts";
import { DELIVERIES, signatureOf, signedJson } from "./signature.ts";

/** What a container's push server is asked at; only its path counts. */
export const IN_CONTAINER = "http://container";

/** Tell whether a push server has started since a batch was signed, as it does with its container. */
export function isSignedBefore(status: number | undefined): boolean {
  return status === 409;
}

/** Where a batch is posted. */
export interface PushServer {
  url: string;
  fetch(url: string, init: RequestInit): Promise<Response>;
  /** Hear how many tasks at once the worker runs. */
  learn?(slots: number): void;
}

/** Return the addresses of a queue's push servers; a variable may name several. */
export function pushServersOf(queue: string, env: Env): string[] {
  const servers = addressesOf(queue, env);
  if (!servers.length) throw new Error("no push server: set INGRESS_URL");
  return servers;
}

/** Tell whether a queue's push servers are at addresses, rather than in containers. */
export function hasAddress(queue: string, env: Env): boolean {
  return addressesOf(queue, env).length > 0;
}

function addressesOf(queue: string, env: Env): string[] {
  const others = JSON.parse(env.INGRESS_URLS || "{}") as Record<string, string>;
  return wordsOf(others[queue] ?? env.INGRESS_URL).map((url) => url.replace(/\/+$/, ""));
}

/**
 * Return the push server with which to begin: the same for each delivery of a message, so that a
 * message which a worker still has finds that worker again.
 */
export function startOf(id: string, servers: number): number {
  let hash = 0;
  for (const char of id) hash = (hash * 31 + char.codePointAt(0)!) % 2 ** 32;
  return hash % servers;
}

/** POST /v1/ingress/check: try each push server of a queue by a signed batch without messages. */
export async function check(request: Request, env: Env) {
  const queue = stringOf(asObject(await signedJson(request, env), "The body"), "queue");
  const addresses = addressesOf(queue, env);
  if (!addresses.length && autoscalerOf(env)) {
    const container = env.CONTAINER!.getByName(nameOf(0));
    const server: PushServer = { url: IN_CONTAINER, fetch: (...how) => container.fetch(...how) };
    return Response.json({ push_servers: [await tried(server, "container", queue, env)] });
  }
  if (!addresses.length) {
    throw new Problem(404, `No push server for ${queue}: set INGRESS_URL in wrangler.toml.`);
  }
  const trials = addresses.map((url) =>
    tried({ url, fetch: (...how) => fetch(...how) }, addressOf(url), queue, env),
  );
  return Response.json({ push_servers: await Promise.all(trials) });
}

async function tried(server: PushServer, where: string, queue: string, env: Env) {
  try {
    let answer = await asked(server, queue, env);
    if (isSignedBefore(answer.status)) answer = await asked(server, queue, env);
    const text = await answer.text();
    const plain = answer.headers.get("content-type")?.startsWith("text/plain");
    const said = plain ? { detail: text } : asObject(JSON.parse(text), "The answer");
    return { url: where, status: answer.status, ...said };
  } catch (error) {
    return { url: where, status: null, detail: String(error) };
  }
}

async function asked({ url, fetch }: PushServer, queue: string, env: Env): Promise<Response> {
  const body = JSON.stringify({ queue, messages: [] });
  const headers = { "content-type": "application/json", ...(await signatureOf(body, env, url)) };
  const signal = AbortSignal.timeout(CHECK_S * 1000);
  const how = { method: "POST", body, headers, redirect: "manual", signal } as const;
  return fetch(`${url}${DELIVERIES.target}`, how);
}

/** Return an address without a user or a password that it may hold. */
function addressOf(url: string): string {
  try {
    return new URL(url).origin;
  } catch {
    return "(not a URL)";
  }
}
