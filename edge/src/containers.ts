/**
 * A container that runs a Celery worker, whose push server takes messages at CONTAINER_PORT.
 *
 * It sleeps when it has had no task for a while: an answer that is being streamed counts, and the
 * worker itself is asked, which also knows the tasks that it pulled.
 */

import { Container } from "@cloudflare/containers";
import type { ContainerSettings } from "./container_settings.ts";
import { CHECK_S, CONTAINER_END_S, CONTAINER_PORT, SLEEP_AFTER_S } from "./limits.ts";
import { numberOf } from "./patience.ts";
import { asObject, log } from "./problems.ts";
import { ACTIVITY, signatureOf } from "./signature.ts";

/** The Worker's own variables: a container has all others, and its secrets, in its environment. */
const OWN =
  /^(INGRESS_URLS?|EDGE_KEYS|CONTAINERS|CONTAINER_[A-Z_]+|HUB_GRACE_S|LEDGER_KEEP_S|RESULTS_SWEEP_S|PUSH_(IDLE_S|WALL_S|AWAY_S|ANEW_AFTER))$/;

export class WorkerContainer extends Container<ContainerSettings> {
  override defaultPort = CONTAINER_PORT;
  override pingEndpoint = "container/healthz";
  private readonly settings: ContainerSettings;
  private endsAt = 0;

  constructor(ctx: DurableObjectState<object>, env: ContainerSettings) {
    super(ctx, env);
    this.settings = env;
    this.sleepAfter = numberOf(env, "CONTAINER_SLEEP_AFTER_S", SLEEP_AFTER_S);
    this.envVars = environmentOf(env);
    const command = (env.CONTAINER_COMMAND ?? "").split(/\s+/).filter(Boolean);
    if (command.length) this.entrypoint = command;
  }

  /** Have the container run, so that its worker pulls. */
  async wake(): Promise<void> {
    this.renewActivityTimeout();
    await this.startAndWaitForPorts();
  }

  override onStart(): void {
    this.endsAt = 0;
  }

  override onError(error: unknown): void {
    log("container-failed", { error: String(error) });
  }

  override onStop({ exitCode, reason }: { exitCode: number; reason: string }): void {
    log("container-stopped", { exitCode, reason });
  }

  override async onActivityExpired(): Promise<void> {
    if (this.endsAt) {
      // It was told to end, and finishes what it runs.
      if (Date.now() > this.endsAt) await this.destroy();
      return;
    }
    if (await this.isBusy()) return this.renewActivityTimeout();
    this.endsAt = Date.now() + CONTAINER_END_S * 1000;
    await this.stop();
  }

  /** Ask the worker whether it has a task. One that does not answer has none that would end. */
  private async isBusy(): Promise<boolean> {
    const url = `http://container${ACTIVITY.target}`;
    try {
      const headers = await signatureOf("", this.settings, url, ACTIVITY);
      const signal = AbortSignal.timeout(CHECK_S * 1000);
      const port = this.ctx.container!.getTcpPort(CONTAINER_PORT);
      const answer = await port.fetch(url, { headers, signal });
      return Number(asObject(await answer.json(), "The answer")["tasks"]) > 0;
    } catch (error) {
      log("container-silent", { error: String(error) });
      return false;
    }
  }
}

/** Return a container's environment: the Worker's strings, and how the worker is reached. */
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
