/**
 * CUTMV at Cloudflare's edge: a producer without the REST API's limits, a push consumer for Celery
 * workers, and a hub that carries what queues can't, broadcasts.
 *
 * docs/edge.md is the protocol.
 */

import { version } from "../package.json";
import { type Env, hubOf } from "./env";
import { readMessage } from "./hub";
import { asProblem, messagesOf, Problem } from "./problems";
import { publish } from "./publish";
import { push } from "./push";
import { signedJson, signedTarget } from "./signature";

export { Hub } from "./hub";

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
} satisfies ExportedHandler<Env>;

function route(request: Request, env: Env, ctx: ExecutionContext) {
  const { pathname } = new URL(request.url);
  for (const { method, path, handler } of ROUTES) {
    const found = path.exec(pathname);
    if (!found) continue;
    if (request.method === method) return handler(request, env, ctx, found[1] ?? "");
    throw new Problem(405, `${pathname} takes ${method} alone.`, { allow: method });
  }
  throw new Problem(404, "No such route.");
}

async function connect(request: Request, env: Env) {
  await signedTarget(request, env);
  const client = new URL(request.url).searchParams.get("client") ?? "";
  if (!client || client.length > 128) {
    throw new Problem(400, "`client` must be an id of 1 to 128 characters.");
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
