/** The bindings of wrangler.toml and the variables that an operator sets. */

import type { ContainerSettings } from "./container_settings.ts";
import type { Hub } from "./hub.ts";
import type { Ledger } from "./ledger.ts";
import type { Results } from "./results.ts";

export interface Env extends ContainerSettings {
  HUB: DurableObjectNamespace<Hub>;
  LEDGER: DurableObjectNamespace<Ledger>;
  RESULTS: DurableObjectNamespace<Results>;
  /** Where large results are kept. */
  CUTMV_STORAGE?: R2Bucket;
  /** Batches are pushed to `URL/v1/deliveries` of these addresses, separated by spaces or commas. */
  INGRESS_URL?: string;
  /** JSON: queue name → addresses, for queues that have other push servers. */
  INGRESS_URLS?: string;
}

export function bindingName(queue: string): string {
  return `QUEUE_${queue.toUpperCase().replaceAll("-", "_")}`;
}

/** Return the producer binding of a queue. wrangler.toml may have any number of them. */
export function producerOf(env: object, queue: string): Queue | undefined {
  return (env as Record<string, Queue | undefined>)[bindingName(queue)];
}

/** Return the hub of one scope. */
export function hubOf(env: Env, scope: string): DurableObjectStub<Hub> {
  return env.HUB.getByName(`hub:${scope}`);
}

/** Return the instance that knows the used signatures. There is one, so no replay gets by. */
export function guardOf(env: Env): DurableObjectStub<Hub> {
  return env.HUB.getByName("guard");
}
