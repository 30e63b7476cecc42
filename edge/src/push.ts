/**
 * The push consumer. It POSTs a batch to the push server of a Celery worker, which answers with a
 * stream: a JSON line as each message ends, and empty lines as heartbeats.
 *
 * An invocation costs nothing while it waits, and a message that is given back costs an attempt and
 * its place in the queue. So an invocation keeps its messages for as long as it may run: it asks
 * again where a push server had no room for long, does not answer, or where the connection broke.
 *
 * `push` never throws: it acks or retries each message, whatever happens.
 */

import { autoscalerOf } from "./container_settings.ts";
import { Delivery } from "./delivery.ts";
import type { Env } from "./env.ts";
import { log } from "./problems.ts";
import { hasAddress } from "./servers.ts";
import { toAddresses } from "./to_addresses.ts";
import { toContainers } from "./to_containers.ts";

export async function push(batch: MessageBatch, env: Env): Promise<void> {
  const delivery = new Delivery(batch, env);
  try {
    const inContainers = autoscalerOf(env) && !hasAddress(batch.queue, env);
    await (inContainers ? toContainers(delivery) : toAddresses(delivery));
  } catch (error) {
    log("push-failed", { queue: batch.queue, error: String(error) });
  } finally {
    await delivery.end();
  }
}
