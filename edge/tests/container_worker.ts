/**
 * The Worker with the real Container class, and a host of real processes in Docker's place: what the
 * runtime gives as `ctx.container` asks a supervisor on loopback to start, signal and await them.
 */

import type { Env } from "../src/env.ts";
import worker, {
  Autoscaler,
  Hub,
  Ledger,
  WorkerContainer as Real,
  SiteContainer as RealSite,
  Results,
} from "../src/index.ts";

export { Hub, Ledger, Results };

interface TestEnv extends Env {
  SUPERVISOR_URL: string;
  AUTOSCALER: DurableObjectNamespace<StoppableAutoscaler>;
  CONTAINER: DurableObjectNamespace<WorkerContainer>;
}

const NO_INSTANCE = "there is no container instance that can be provided to this durable object";

/** A container of the supervisor's. What runs is remembered, since it outlives its object. */
class Hosted {
  running: boolean;
  private readonly kv: SyncKvStorage;
  private readonly name: string;
  private readonly supervisor: string;
  private started: Promise<Response> | undefined;

  constructor(kv: SyncKvStorage, name: string, supervisor: string) {
    this.kv = kv;
    this.name = name;
    this.supervisor = supervisor;
    this.running = kv.get("runs") === true;
  }

  start(how: { env?: Record<string, string>; entrypoint?: string[] } = {}): void {
    this.running = true;
    this.kv.put("runs", true);
    this.started = this.ask("start", how);
  }

  /** Settle when the process ends, with its exit code as the runtime tells it. */
  async monitor(): Promise<void> {
    const started = await this.started;
    if (started && !started.ok) {
      this.gone();
      throw new Error(NO_INSTANCE);
    }
    const { code } = await (await this.ask("wait")).json<{ code: number }>();
    this.gone();
    if (code) throw new Error(`container exited with unexpected exit code: ${code}`);
  }

  signal(signo: number): void {
    void this.ask("signal", { signo });
  }

  async destroy(): Promise<void> {
    await this.ask("signal", { signo: 9 });
  }

  getTcpPort(_port: number) {
    return {
      fetch: async (given: string | Request, init?: RequestInit) => {
        const answer = await this.ask("port");
        if (!answer.ok) throw new Error("the container is not listening");
        const { port } = await answer.json<{ port: number }>();
        const request = new Request(given, init);
        const { pathname, search } = new URL(request.url);
        const url = `http://127.0.0.1:${port}${pathname}${search}`;
        return fetch(new Request(url, request)).catch(() => {
          throw new Error("the container is not listening");
        });
      },
    };
  }

  async setInactivityTimeout(): Promise<void> {}

  private gone(): void {
    this.running = false;
    this.kv.delete("runs");
  }

  private ask(what: string, told: object = {}): Promise<Response> {
    const body = JSON.stringify({ name: this.name, ...told });
    return fetch(`${this.supervisor}/${what}`, { method: "POST", body });
  }
}

export class WorkerContainer extends Real {
  constructor(ctx: DurableObjectState<object>, env: TestEnv) {
    const hosted = new Hosted(ctx.storage.kv, ctx.id.name!, env.SUPERVISOR_URL);
    Object.defineProperty(ctx, "container", { value: hosted });
    super(ctx, env);
  }

  /** End this object, as a deploy does. */
  abort(): void {
    this.ctx.abort("a deploy");
  }
}

export class SiteContainer extends RealSite {
  constructor(ctx: DurableObjectState<object>, env: TestEnv) {
    const hosted = new Hosted(ctx.storage.kv, ctx.id.name!, env.SUPERVISOR_URL);
    Object.defineProperty(ctx, "container", { value: hosted });
    super(ctx, env);
  }
}

export class StoppableAutoscaler extends Autoscaler {
  abort(): void {
    this.ctx.abort("a deploy");
  }
}

export default {
  ...worker,
  /** POST /deploy ends all objects; what they had in memory is gone, and streams through them break. */
  async fetch(
    request: Request<unknown, IncomingRequestCfProperties>,
    env: TestEnv,
    ctx: ExecutionContext,
  ) {
    const { pathname } = new URL(request.url);
    if (pathname === "/stats") {
      return Response.json(await env.AUTOSCALER.getByName("autoscaler").stats());
    }
    if (pathname !== "/deploy") return worker.fetch(request, withRest(env), ctx);
    const objects = [env.AUTOSCALER.getByName("autoscaler"), env.CONTAINER.getByName("worker-0")];
    await Promise.allSettled(objects.map((object) => object.abort()));
    return new Response();
  },
  scheduled: (event: ScheduledController, env: TestEnv) => worker.scheduled(event, withRest(env)),
};

/** Have the backlog of queues come from the REST API's account, where workers pull. */
function withRest(env: TestEnv): TestEnv {
  const found = env as unknown as Record<string, string>;
  const metrics = async () => {
    const answer = await fetch(`${found["SUPERVISOR_URL"]}/backlog`, {
      method: "POST",
      body: "{}",
    });
    return await answer.json();
  };
  return { ...env, QUEUE_PULLED: { metrics } } as unknown as TestEnv;
}
