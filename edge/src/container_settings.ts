/** What the Worker's variables say of containers. */

import type { Autoscaler } from "./autoscaler.ts";
import type { SiteContainer, WorkerContainer } from "./containers.ts";
import { CONTAINER_PORT, CONTAINERS } from "./limits.ts";
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
  /** The web server's container, where there is one. */
  SITE?: DurableObjectNamespace<SiteContainer>;
  /** The command that it runs, in place of its image's own. */
  SITE_COMMAND?: string;
  SITE_PORT?: string;
  /** Seconds without a request after which it sleeps. */
  SITE_SLEEP_AFTER_S?: string;
}

/** The Worker's own variables: a container has all others, and its secrets, in its environment. */
const OWN =
  /^(INGRESS_URLS?|EDGE_KEYS|CONTAINERS|(CONTAINER|SITE)_[A-Z_]+|HUB_GRACE_S|LEDGER_KEEP_S|RESULTS_SWEEP_S|PUSH_(IDLE_S|WALL_S|AWAY_S|ANEW_AFTER))$/;

/** Return a container's environment: the Worker's strings, and how a worker is reached. */
export function environmentOf(env: ContainerSettings): Record<string, string> {
  const given = Object.entries(env).filter(
    (entry): entry is [string, string] => typeof entry[1] === "string" && !OWN.test(entry[0]),
  );
  return {
    ...Object.fromEntries(given),
    CLOUDFLARE_CONSUME: "push",
    CLOUDFLARE_EDGE_KEYS: env.EDGE_KEYS ?? "",
    CLOUDFLARE_INGRESS_HOST: "0.0.0.0",
    CLOUDFLARE_INGRESS_PORT: String(CONTAINER_PORT),
  };
}

/** Return how many containers there may be. */
export function containersIn(env: ContainerSettings): number {
  return Math.floor(numberOf(env, "CONTAINERS", CONTAINERS));
}

/** Return the queues that workers in containers pull. */
export function pulledIn(env: ContainerSettings): string[] {
  return wordsOf(env.CONTAINER_PULLS);
}

/** Return the words of a variable, which spaces or commas separate. */
export function wordsOf(text: string | undefined): string[] {
  return (text ?? "").split(/[\s,]+/).filter(Boolean);
}

export function nameOf(container: number): string {
  return `worker-${container}`;
}

/** Return the names of the first containers. */
export function namesOf(containers: number): string[] {
  return Array.from({ length: containers }, (_, number) => nameOf(number));
}

/** Return the object that gives messages to containers; none where no container is bound. */
export function autoscalerOf(env: ContainerSettings): DurableObjectStub<Autoscaler> | undefined {
  return env.CONTAINER && env.AUTOSCALER?.getByName("autoscaler");
}
