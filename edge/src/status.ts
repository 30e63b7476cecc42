/** POST /v1/status: what an operator wants to know of the Worker. */

import { autoscalerOf, containersIn, namesOf } from "./container_settings.ts";
import { type Env, hubOf } from "./env.ts";
import { asObject } from "./problems.ts";
import { signedJson } from "./signature.ts";

export async function status(request: Request, env: Env) {
  asObject(await signedJson(request, env, { mayRepeat: true }), "The body");
  const scope = new URL(request.url).searchParams.get("scope") ?? "";
  const [clients, containers] = await Promise.all([hubOf(env, scope).connected(), inUse(env)]);
  return Response.json({ clients, containers });
}

/** Return the containers, and what they run; null where there are none. */
async function inUse(env: Env) {
  const { slots, running, waiting } = (await autoscalerOf(env)?.stats()) ?? {};
  if (!running) return null;
  const containers = namesOf(containersIn(env));
  const states = await Promise.all(
    containers.map((name) => env.CONTAINER!.getByName(name).isAwake()),
  );
  const each = containers.map((name, number) => ({
    name,
    awake: states[number],
    running: running[number] ?? 0,
  }));
  return { slots, waiting, each };
}
