/**
 * The containers: workers, and the site that people open. Each sleeps when it has had nothing to do
 * for a while; an answer that is being streamed, and a WebSocket, count as something to do.
 */

import { Container } from "@cloudflare/containers";
import { type ContainerSettings, environmentOf, wordsOf } from "./container_settings.ts";
import {
  CHECK_S,
  CONTAINER_END_S,
  CONTAINER_PORT,
  CONTAINER_START_S,
  SITE_END_S,
  SITE_PORT,
  SITE_SLEEP_AFTER_S,
  SLEEP_AFTER_S,
} from "./limits.ts";
import { numberOf } from "./patience.ts";
import { asObject, log } from "./problems.ts";
import { ACTIVITY, signatureOf } from "./signature.ts";

class AppContainer extends Container<ContainerSettings> {
  override pingEndpoint = "container/healthz";

  override onError(error: unknown): void {
    log("container-failed", { error: String(error) });
  }

  override onStop({ exitCode, reason }: { exitCode: number; reason: string }): void {
    log("container-stopped", { exitCode, reason });
  }

  /** Answer, once the container has started: that takes longer, on few processors, than others wait. */
  override async fetch(request: Request): Promise<Response> {
    try {
      await this.startUp();
    } catch (error) {
      return new Response(`The container did not start: ${error}`, { status: 503 });
    }
    return super.fetch(request);
  }

  /** Start the container, unless it runs, and wait until it takes requests. */
  protected async startUp(): Promise<void> {
    const { status } = await this.getState();
    if (this.ctx.container!.running && status === "healthy") return;
    const patience = { portReadyTimeoutMS: CONTAINER_START_S * 1000 };
    await this.startAndWaitForPorts({ cancellationOptions: patience });
  }

  /** Run a command, if there is one, in place of the image's own. */
  protected runs(command: string[]): void {
    if (command.length) this.entrypoint = command;
  }
}

/** A container with the web server, whatever app it is of. It has the port that its command says. */
export class SiteContainer extends AppContainer {
  private ending = false;

  constructor(ctx: DurableObjectState<object>, env: ContainerSettings) {
    super(ctx, env);
    this.defaultPort = numberOf(env, "SITE_PORT", SITE_PORT);
    this.sleepAfter = numberOf(env, "SITE_SLEEP_AFTER_S", SITE_SLEEP_AFTER_S);
    // Nobody but its own Durable Object reaches its port.
    this.envVars = { CUTMV_TRUSTED_PROXIES: "0.0.0.0/0, ::/0", ...environmentOf(env) };
    this.runs(wordsOf(env.SITE_COMMAND));
  }

  /** Answer. A request that comes as the container ends waits for the next one. */
  override async fetch(request: Request): Promise<Response> {
    const until = Date.now() + SITE_END_S * 1000;
    while (this.ending && this.ctx.container!.running && Date.now() < until) {
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    return super.fetch(request);
  }

  override onStart(): void {
    this.ending = false;
  }

  override async onActivityExpired(): Promise<void> {
    this.ending = true;
    await this.stop();
  }
}

/** A container with a Celery worker, whose push server takes messages at CONTAINER_PORT. */
export class WorkerContainer extends AppContainer {
  private readonly settings: ContainerSettings;
  private endsAt = 0;

  constructor(ctx: DurableObjectState<object>, env: ContainerSettings) {
    super(ctx, env);
    this.settings = env;
    this.defaultPort = CONTAINER_PORT;
    this.sleepAfter = numberOf(env, "CONTAINER_SLEEP_AFTER_S", SLEEP_AFTER_S);
    this.envVars = environmentOf(env);
    this.runs(wordsOf(env.CONTAINER_COMMAND));
  }

  /** Tell whether the container runs, without starting it. */
  isAwake(): boolean {
    return this.ctx.container!.running;
  }

  /** Have the container run, so that its worker pulls. */
  async wake(): Promise<void> {
    this.renewActivityTimeout();
    await this.startUp();
  }

  override onStart(): void {
    this.endsAt = 0;
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

  /** Ask the worker whether it has a task, be it pushed or pulled. One that does not answer has none that would end. */
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
