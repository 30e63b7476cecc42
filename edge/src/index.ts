/**
 * The edge Worker: a producer without the REST API's limits, a push consumer for Celery workers, a
 * hub for broadcasts, which queues can't carry, the workers' lease ledger, and Celery's results. Where
 * it has containers, workers and a web server run in them.
 *
 * docs/edge.md describes the protocol.
 */

import { version } from "../package.json";
import { type Env, hubOf } from "./env.ts";
import { readMessage } from "./hub.ts";
import { acceptRequest, readRecord, writeRecord } from "./ledger.ts";
import { MAX_CLIENT_ID_BYTES } from "./limits.ts";
import { asProblem, bytesIn, messagesOf, Problem } from "./problems.ts";
import { publish } from "./publish.ts";
import { push } from "./push.ts";
import { performOps, readLarge, writeLarge } from "./results.ts";
import { check } from "./servers.ts";
import { signedJson, signedTarget } from "./signature.ts";
import { status } from "./status.ts";
import { wakeForPulled } from "./waking.ts";

export { Autoscaler } from "./autoscaler.ts";
export { SiteContainer, WorkerContainer } from "./containers.ts";
export { Hub } from "./hub.ts";
export { Ledger } from "./ledger.ts";
export { Results } from "./results.ts";

type Handler = (
  request: Request,
  env: Env,
  ctx: ExecutionContext,
  name: string,
) => Response | Promise<Response>;

const QUEUE_NAME = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?";

const ROUTES: { method: string; path: RegExp; handler: Handler }[] = [
  { method: "GET", path: /^\/healthz$/, handler: () => Response.json({ ok: true, version }) },
  {
    method: "POST",
    path: new RegExp(`^/v1/queues/(${QUEUE_NAME})/messages$`),
    handler: publish,
  },
  { method: "GET", path: /^\/v1\/hub$/, handler: connect },
  { method: "POST", path: /^\/v1\/hub\/messages$/, handler: announce },
  { method: "POST", path: /^\/v1\/ingress\/check$/, handler: check },
  { method: "POST", path: /^\/v1\/status$/, handler: status },
  { method: "POST", path: /^\/v1\/ledger\/read$/, handler: readRecord },
  { method: "POST", path: /^\/v1\/ledger\/write$/, handler: writeRecord },
  { method: "POST", path: /^\/v1\/ledger\/accept$/, handler: acceptRequest },
  { method: "POST", path: /^\/v1\/results$/, handler: performOps },
  { method: "POST", path: /^\/v1\/results\/large$/, handler: writeLarge },
  { method: "POST", path: /^\/v1\/results\/large\/read$/, handler: readLarge },
];

export default {
  async fetch(request, env, ctx) {
    try {
      return await route(request, env, ctx);
    } catch (error) {
      return asProblem(error).response();
    }
  },
  queue: push,
  scheduled: (_, env) => wakeForPulled(env),
} satisfies ExportedHandler<Env>;

function route(request: Request, env: Env, ctx: ExecutionContext) {
  const { pathname } = new URL(request.url);
  for (const { method, path, handler } of ROUTES) {
    const found = path.exec(pathname);
    if (!found) continue;
    if (request.method === method) return handler(request, env, ctx, found[1] ?? "");
    throw new Problem(405, `${pathname} takes ${method} alone.`, { allow: method });
  }
  if (env.SITE) return atSite(request, env.SITE);
  throw new Problem(404, "No such route.");
}

/** Have the web server answer, which its container starts for. It hears who asks from us alone. */
function atSite(request: Request, site: NonNullable<Env["SITE"]>): Promise<Response> {
  const headers = new Headers(request.headers);
  const client = headers.get("cf-connecting-ip");
  if (client) headers.set("x-forwarded-for", client);
  else headers.delete("x-forwarded-for");
  headers.set("x-forwarded-proto", new URL(request.url).protocol.slice(0, -1));
  return site.getByName("site").fetch(new Request(request, { headers }));
}

async function connect(request: Request, env: Env) {
  await signedTarget(request, env);
  const client = new URL(request.url).searchParams.get("client") ?? "";
  if (!client || bytesIn(client) > MAX_CLIENT_ID_BYTES) {
    throw new Problem(400, `\`client\` must be an id of 1 to ${MAX_CLIENT_ID_BYTES} bytes.`);
  }
  if (request.headers.get("upgrade")?.toLowerCase() !== "websocket") {
    throw new Problem(426, "The hub speaks WebSocket.", { upgrade: "websocket" });
  }
  return hubOf(env, scopeOf(request)).fetch(request);
}

async function announce(request: Request, env: Env) {
  const messages = messagesOf(await signedJson(request, env)).map(readMessage);
  return Response.json({ routed: await hubOf(env, scopeOf(request)).announce(messages) });
}

function scopeOf(request: Request): string {
  return new URL(request.url).searchParams.get("scope") ?? "";
}
