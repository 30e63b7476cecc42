/** Wakes containers for queues that their workers pull, of which no message is pushed to the Worker. */

import { autoscalerOf, type ContainerSettings, pulledIn } from "./container_settings.ts";
import { producerOf } from "./env.ts";
import { log } from "./problems.ts";

/** Wake containers for messages that were put into a queue here, if it is one of these. */
export async function wakeForPublished(
  env: ContainerSettings,
  queue: string,
  messages: number,
): Promise<void> {
  if (messages && pulledIn(env).includes(queue)) await autoscalerOf(env)?.wake(messages);
}

/** Wake containers for what waits: also for messages that came another way, or were delayed. */
export async function wakeForPulled(env: ContainerSettings): Promise<void> {
  const autoscaler = autoscalerOf(env);
  if (!autoscaler) return;
  const counts = await Promise.all(pulledIn(env).map((queue) => backlogOf(env, queue)));
  const messages = counts.reduce((sum, count) => sum + count, 0);
  if (messages) await autoscaler.wake(messages);
}

/** Return how many messages a queue has. Where that is not known, one may be there. */
async function backlogOf(env: ContainerSettings, queue: string): Promise<number> {
  try {
    const producer = producerOf(env, queue);
    if (!producer) throw new Error(`no producer of ${queue} is bound`);
    return (await producer.metrics()).backlogCount;
  } catch (error) {
    log("backlog-unknown", { queue, error: String(error) });
    return 1;
  }
}
