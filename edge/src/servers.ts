/** The push servers of a queue: the addresses of the Celery workers that its messages go to. */

import type { Env } from "./env.ts";
import { CHECK_S } from "./limits.ts";
import { asObject, Problem, stringOf } from "./problems.ts";
import { DELIVERIES, signatureOf, signedJson } from "./signature.ts";

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
  const servers = (others[queue] ?? env.INGRESS_URL ?? "").split(/[\s,]+/).filter(Boolean);
  return servers.map((url) => url.replace(/\/+$/, ""));
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
  let servers: string[];
  try {
    servers = pushServersOf(queue, env);
  } catch {
    throw new Problem(404, `No push server for ${queue}: set INGRESS_URL in wrangler.toml.`);
  }
  return Response.json({
    push_servers: await Promise.all(servers.map((url) => tried(url, queue, env))),
  });
}

async function tried(url: string, queue: string, env: Env) {
  const where = addressOf(url);
  try {
    const body = JSON.stringify({ queue, messages: [] });
    const headers = { "content-type": "application/json", ...(await signatureOf(body, env, url)) };
    const answer = await fetch(`${url}${DELIVERIES.target}`, {
      method: "POST",
      body,
      headers,
      redirect: "manual",
      signal: AbortSignal.timeout(CHECK_S * 1000),
    });
    const said = asObject(JSON.parse(await answer.text()), "The answer");
    return { url: where, status: answer.status, ...said };
  } catch (error) {
    return { url: where, status: null, detail: String(error) };
  }
}

/** Return an address without a user or a password that it may hold. */
function addressOf(url: string): string {
  try {
    return new URL(url).origin;
  } catch {
    return "(not a URL)";
  }
}
