/** What wrangler.toml binds to the Worker, and what its operator sets. */

import type { Hub } from "./hub";

export interface Env {
  HUB: DurableObjectNamespace<Hub>;
  /** One or two keys that sign requests, both ways; a secret. */
  EDGE_KEYS?: string;
  /** Where batches are pushed to: `${INGRESS_URL}/v1/deliveries`. */
  INGRESS_URL?: string;
  /** JSON: queue name → URL, for queues that have another ingress. */
  INGRESS_URLS?: string;
  // How patient the Worker is, in seconds and attempts: the code's defaults are for production,
  // tests make them small.
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

/** The producer binding of a queue; any number of them may be in wrangler.toml. */
export function producerOf(env: Env, queue: string): Queue | undefined {
  return (env as unknown as Record<string, Queue | undefined>)[bindingName(queue)];
}

/** The instance that the clients of one scope meet in. */
export function hubOf(env: Env, scope: string): DurableObjectStub<Hub> {
  return env.HUB.getByName(`hub:${scope}`);
}

/** The one instance that knows which signatures were used: a replay must not find another. */
export function guardOf(env: Env): DurableObjectStub<Hub> {
  return env.HUB.getByName("guard");
}
