/** Stand-ins for what the Workers runtime gives: storage, a hub, a request's context. */

import { DatabaseSync, type SQLInputValue } from "node:sqlite";
import { nameOf, namesOf } from "../src/container_settings.ts";
import type { Env } from "../src/env.ts";
import { Slots } from "../src/slots.ts";

/** A Durable Object's storage, as far as clients.ts uses it, in a real SQLite. */
export function memoryStorage(): DurableObjectStorage {
  const database = new DatabaseSync(":memory:");
  const exec = (query: string, ...values: SQLInputValue[]) => {
    if (query.trim().split(";").filter(Boolean).length > 1) {
      database.exec(query);
      return { raw: () => [], toArray: () => [] };
    }
    const rows = database.prepare(query).all(...values);
    return { raw: () => rows.map((row) => Object.values(row)), toArray: () => rows };
  };
  const transactionSync = (closure: () => unknown) => {
    database.exec("BEGIN");
    try {
      const result = closure();
      database.exec("COMMIT");
      return result;
    } catch (error) {
      database.exec("ROLLBACK");
      throw error;
    }
  };
  return { sql: { exec }, transactionSync } as unknown as DurableObjectStorage;
}

/** An environment whose hub remembers signatures and counts its wake-ups. */
export function environment(more: Record<string, unknown> = {}): Env & { wakeUps: string[] } {
  const used = new Set<string>();
  const wakeUps: string[] = [];
  const hub = {
    remember: async (id: string) => !used.has(id) && used.add(id) !== undefined,
    wakeUp: async (queue: string) => void wakeUps.push(queue),
  };
  const names = { HUB: { getByName: () => hub }, EDGE_KEYS: `whsec_${"QUJD".repeat(8)}`, ...more };
  return { ...names, wakeUps } as unknown as Env & { wakeUps: string[] };
}

/**
 * Containers, whose push servers are what `answer` does, and the real autoscaler's slots; without the
 * runtime's objects, which Node does not have.
 */
export function containers(
  answer: (container: string, url: string, init: RequestInit) => Promise<Response>,
  most: number,
  each: number,
) {
  const slots = new Slots(most, each);
  const woken: string[] = [];
  const autoscaler = {
    acquire: async (age: number, seconds: number) => {
      const taken = await slots.acquire(age, seconds);
      const slot = {
        learn: async (told: number) => slots.learn(told),
        refuse: async (pause: number) => taken!.refuse(pause),
      };
      const end = { [Symbol.dispose]: () => taken!.release() };
      return taken && { container: nameOf(taken.container), slots: each, slot, ...end };
    },
    wake: async (messages: number) => {
      woken.push(...namesOf(slots.needed(messages)));
    },
  };
  const CONTAINER = {
    getByName: (name: string) => ({
      fetch: (url: string, init: RequestInit) => answer(name, url, init),
    }),
  };
  const AUTOSCALER = { getByName: () => autoscaler };
  return { env: { CONTAINER, AUTOSCALER, INGRESS_URL: "" }, slots, woken };
}

/** A context that runs in the background what it is given. */
export const context = { waitUntil: () => undefined } as unknown as ExecutionContext;
