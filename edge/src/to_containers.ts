/** Deliveries to workers in containers, which start and sleep as messages come. */

import type { Assignment } from "./autoscaler.ts";
import { autoscalerOf } from "./container_settings.ts";
import { type Delivery, pauseAfter } from "./delivery.ts";
import { AWAY_S, BUSY_DELAY_S, MAX_PAUSE_S, MAX_POSTS, REJOINS } from "./limits.ts";
import { numberOf } from "./patience.ts";
import { log } from "./problems.ts";
import { IN_CONTAINER, isSignedBefore } from "./servers.ts";

/** Have the messages end, each in a container that has room for it. */
export async function toContainers(delivery: Delivery): Promise<void> {
  const patience = numberOf(delivery.env, "PUSH_AWAY_S", AWAY_S) * 1000;
  let answered = Date.now();
  for (let turns = 0; !delivery.over && turns < MAX_POSTS; turns += 1) {
    const given = autoscalerOf(delivery.env)!.acquire(delivery.first.age, delivery.seconds);
    const assigned = await unlessMoving("acquire", given as unknown as Promise<Assignment | null>);
    if (assigned === null) return; // time is up
    if (assigned) {
      try {
        if (await runIn(assigned, delivery)) answered = Date.now();
      } finally {
        assigned[Symbol.dispose]();
      }
    } else await delivery.sleep(pauseAfter(turns + 1));
    if (delivery.isHeld || Date.now() - answered > patience) return; // they come again soon
  }
}

/** Have a container run the messages. Return whether it took them. */
async function runIn({ container, slots, slot }: Assignment, delivery: Delivery): Promise<boolean> {
  const containers = delivery.env.CONTAINER!;
  const server = {
    url: IN_CONTAINER,
    // A new stub each time: one whose object has moved stays broken.
    fetch: (url: string, init: RequestInit) => containers.getByName(container).fetch(url, init),
    learn: (told: number) => {
      if (told !== slots) void unlessMoving("learn", slot.learn(told));
    },
  };
  delivery.forgetWorker(); // that of another container
  const refused = async (seconds: number, taken: boolean) => {
    await unlessMoving("refuse", slot.refuse(seconds));
    return taken;
  };
  for (let failures = 0; failures <= REJOINS; failures += 1) {
    const { reason, asked, status } = await delivery.attempt(server);
    if (delivery.over) return true;
    // It is full, by tasks that it pulled, or that came before the autoscaler's last restart.
    if (reason === "wait") return refused(BUSY_DELAY_S, true);
    // Another worker may have them. But a container has one alone: so that one is gone.
    if (status === 421) delivery.orphan();
    else if (delivery.isHeld) await delivery.sleep(pauseAfter(failures));
    else if (!isSignedBefore(status)) return refused(Math.min(asked, MAX_PAUSE_S), false);
  }
  return !delivery.isHeld;
}

/** Return what the autoscaler answers; a deploy may end it, which is no reason to fail. */
async function unlessMoving<T>(what: string, answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer;
  } catch (error) {
    log("autoscaler-away", { what, error: String(error) });
    return undefined;
  }
}
