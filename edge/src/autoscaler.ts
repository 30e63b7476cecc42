/**
 * Decides how many containers run: it has one message after the other taken by a container that has
 * room, and wakes containers for messages that workers pull. There is one object of it.
 *
 * What it knows of running tasks is in memory. After a restart it may give a container more messages
 * than it has room for; they wait in the worker's own line.
 */

import { DurableObject, RpcTarget } from "cloudflare:workers";
import { type ContainerSettings, containersIn, nameOf, namesOf } from "./container_settings.ts";
import { log } from "./problems.ts";
import { Slots, type Taken } from "./slots.ts";

/**
 * A slot, in the hands of an invocation. It is free again when the invocation says so or ends,
 * since the runtime then disposes of what the invocation holds.
 */
export class Slot extends RpcTarget {
  private readonly taken: Taken;
  private readonly autoscaler: Autoscaler;

  constructor(taken: Taken, autoscaler: Autoscaler) {
    super();
    this.taken = taken;
    this.autoscaler = autoscaler;
  }

  /** Note how many slots the worker says that it has. */
  learn(slots: number): void {
    this.autoscaler.learn(slots);
  }

  /** Leave the container alone for a while, `seconds` at least: it has not taken the message. */
  refuse(seconds: number): void {
    this.taken.refuse(seconds);
  }

  [Symbol.dispose](): void {
    this.taken.release();
  }
}

/** Where a message goes, and the slot that it has there, as an invocation sees them. */
export interface Assignment extends Disposable {
  container: string;
  /** How many slots each container is believed to have. */
  slots: number;
  slot: { learn(slots: number): Promise<void>; refuse(seconds: number): Promise<void> };
}

export class Autoscaler extends DurableObject<ContainerSettings> {
  private readonly slots: Slots;

  constructor(ctx: DurableObjectState, env: ContainerSettings) {
    super(ctx, env);
    this.slots = new Slots(containersIn(env), ctx.storage.kv.get<number>("slots") ?? 1);
  }

  /** Return where a message goes, of which `age` is the time of its publish, or null. */
  async acquire(age: number, seconds: number) {
    const taken = await this.slots.acquire(age, seconds);
    if (!taken) return null;
    const { slots } = this.slots.stats();
    return { container: nameOf(taken.container), slots, slot: new Slot(taken, this) };
  }

  learn(slots: number): void {
    if (this.slots.learn(slots)) this.ctx.storage.kv.put("slots", slots);
  }

  /** Start as many containers as so many messages need that workers pull. */
  async wake(messages: number): Promise<void> {
    const names = namesOf(this.slots.needed(messages));
    const woken = names.map((name) => this.env.CONTAINER!.getByName(name).wake());
    for (const each of await Promise.allSettled(woken)) {
      if (each.status === "rejected") log("wake-failed", { error: String(each.reason) });
    }
  }

  stats() {
    return this.slots.stats();
  }
}
