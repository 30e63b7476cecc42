/** Deliveries to workers in containers, which start and sleep as messages come. */

import type { Assignment, Autoscaler } from "./autoscaler.ts";
import { type Delivery, pauseAfter } from "./delivery.ts";
import { AWAY_S, MAX_PAUSE_S, MAX_POSTS, REJOINS } from "./limits.ts";
import { numberOf } from "./patience.ts";

/** What push server an invocation asks for when it says that the worker of its messages is gone. */
const MISDIRECTED = 421;

/** Have the messages end, each in a container that has room for it. */
export async function toContainers(
  delivery: Delivery,
  autoscaler: DurableObjectStub<Autoscaler>,
): Promise<void> {
  const patience = numberOf(delivery.env, "PUSH_AWAY_S", AWAY_S) * 1000;
  let answered = Date.now();
  for (let turns = 0; !delivery.over && turns < MAX_POSTS; turns += 1) {
    const given = autoscaler.acquire(delivery.first.age, delivery.seconds);
    const assigned = (await given) as unknown as Assignment | null;
    if (!assigned) return; // time is up
    try {
      if (await runIn(assigned, delivery)) answered = Date.now();
      else if (Date.now() - answered > patience) return;
    } finally {
      assigned[Symbol.dispose]();
    }
    if (delivery.isHeld) return; // it comes again soon
  }
}

/** Have a container run the messages. Return whether it took them. */
async function runIn({ container, slot }: Assignment, delivery: Delivery): Promise<boolean> {
  const stub = delivery.env.CONTAINER!.getByName(container);
  const server = {
    url: "http://container",
    fetch: (url: string, init: RequestInit) => stub.fetch(url, init),
  };
  for (let failures = 0; failures <= REJOINS; failures += 1) {
    const { reason, asked, status } = await delivery.attempt(server);
    if (delivery.slots) await slot.learn(delivery.slots);
    if (delivery.over || reason === "wait") return true;
    // A container has one worker: another one's answer means that the one before is gone.
    if (status === MISDIRECTED) delivery.orphan();
    else if (!delivery.isHeld) {
      await slot.refuse(Math.min(asked, MAX_PAUSE_S));
      return false;
    } else await delivery.sleep(pauseAfter(failures));
  }
  return true;
}
