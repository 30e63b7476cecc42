/** What the Worker's variables say of containers. */

import type { Autoscaler } from "./autoscaler.ts";
import type { WorkerContainer } from "./containers.ts";
import { CONTAINERS } from "./limits.ts";
import { numberOf, type Patience } from "./patience.ts";

export interface ContainerSettings extends Patience {
  CONTAINER?: DurableObjectNamespace<WorkerContainer>;
  AUTOSCALER?: DurableObjectNamespace<Autoscaler>;
  /** Secret: one or two keys that sign requests in both directions. */
  EDGE_KEYS?: string;
  /** Containers that run at once, at most. */
  CONTAINERS?: string;
  /** Seconds without a task after which a container sleeps. */
  CONTAINER_SLEEP_AFTER_S?: string;
  /** The command that a container runs, in place of its image's own. */
  CONTAINER_COMMAND?: string;
  /** Queues that workers in containers pull, separated by spaces. */
  CONTAINER_PULLS?: string;
}

/** Return how many containers there may be. */
export function containersIn(env: ContainerSettings): number {
  return Math.floor(numberOf(env, "CONTAINERS", CONTAINERS));
}

/** Return the queues that workers in containers pull. */
export function pulledIn(env: ContainerSettings): string[] {
  return (env.CONTAINER_PULLS ?? "").split(/[\s,]+/).filter(Boolean);
}

export function nameOf(container: number): string {
  return `worker-${container}`;
}

/** Return the object that gives messages to containers; none where no container is bound. */
export function autoscalerOf(env: ContainerSettings): DurableObjectStub<Autoscaler> | undefined {
  return env.CONTAINER && env.AUTOSCALER?.getByName("autoscaler");
}
