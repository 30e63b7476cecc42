/** The bindings of wrangler.toml and the variables that an operator sets. */

import type { Hub } from "./hub.ts";

export interface Env {
  HUB: DurableObjectNamespace<Hub>;
  /** Secret: one or two keys that sign requests in both directions. */
  EDGE_KEYS?: string;
  /** Batches are pushed to `${INGRESS_URL}/v1/deliveries`, the push server of a Celery worker. */
  INGRESS_URL?: string;
  /** JSON: queue name → URL, for queues that have another push server. */
  INGRESS_URLS?: string;
  // Seconds and attempts in place of those in limits.ts; tests make them small.
  HUB_GRACE_S?: string;
  PUSH_IDLE_S?: string;
  PUSH_WALL_S?: string;
  PUSH_ANEW_AFTER?: string;
}

type Patience = "HUB_GRACE_S" | "PUSH_IDLE_S" | "PUSH_WALL_S" | "PUSH_ANEW_AFTER";

export function numberOf(env: Env, name: Patience, fallback: number): number {
  const value = Number(env[name]);
  return env[name] && Number.isFinite(value) && value > 0 ? value : fallback;
}

export function bindingName(queue: string): string {
  return `QUEUE_${queue.toUpperCase().replaceAll("-", "_")}`;
}

/** Return the producer binding of a queue. wrangler.toml may have any number of them. */
export function producerOf(env: Env, queue: string): Queue | undefined {
  return (env as unknown as Record<string, Queue | undefined>)[bindingName(queue)];
}

/** Return the hub of one scope. */
export function hubOf(env: Env, scope: string): DurableObjectStub<Hub> {
  return env.HUB.getByName(`hub:${scope}`);
}

/** Return the instance that knows the used signatures. There is one, so no replay gets by. */
export function guardOf(env: Env): DurableObjectStub<Hub> {
  return env.HUB.getByName("guard");
}
