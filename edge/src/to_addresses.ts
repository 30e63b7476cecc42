/** Deliveries to workers at addresses, which an operator runs. */

import { type Delivery, pauseAfter } from "./delivery.ts";
import { AWAY_S, BRIEF_S, MAX_PAUSE_S, MAX_POSTS, REJOINS } from "./limits.ts";
import { numberOf } from "./patience.ts";
import { pushServersOf, startOf } from "./servers.ts";

/** Have the messages end, as far as that is possible in the time of an invocation. */
export async function toAddresses(delivery: Delivery): Promise<void> {
  const servers = pushServersOf(delivery.queue, delivery.env);
  const patience = numberOf(delivery.env, "PUSH_AWAY_S", AWAY_S) * 1000;
  let turn = startOf(delivery.first.id, servers.length);
  let failures = 0; // in a row
  let answered = Date.now();
  for (let posts = 0; !delivery.over && posts < MAX_POSTS; posts += 1) {
    const began = Date.now();
    const url = servers[turn % servers.length]!;
    const { reason, asked } = await delivery.attempt({ url, fetch: (...how) => fetch(...how) });
    if (delivery.over) return;
    const away = reason === "away";
    failures = away || Date.now() - began < BRIEF_S * 1000 ? failures + 1 : 0;
    if (delivery.isHeld) {
      if (failures > REJOINS) return;
      await delivery.sleep(pauseAfter(failures)); // then the same worker again
      continue;
    }
    delivery.forgetWorker();
    turn += 1;
    if (!away) answered = Date.now();
    else if (Date.now() - answered > patience) return;
    if (failures % servers.length) continue; // another may answer
    if (asked > MAX_PAUSE_S) return delivery.putOffAll(asked);
    await delivery.sleep(Math.max(asked, pauseAfter(failures / servers.length)));
  }
}
