/**
 * Which container takes the next message, and which messages wait for room.
 *
 * A slot is one task that a worker can run. The container of the lowest number that has a free slot
 * takes a message, so that the last containers run empty first, and sleep. Where none has one,
 * messages wait in line, the oldest first. A container that refused is left alone for a time that
 * grows with each refusal.
 */

import { MAX_REFUSED_S, SLOT_KEEP_S } from "./limits.ts";

/** A slot that a message has. */
export interface Taken {
  container: number;
  /** Give the slot back. Once is enough. */
  release(): void;
  /** Give it back, and leave its container alone for a while: it has not taken the message. */
  refuse(seconds: number): void;
}

interface Waiting {
  /** When its message was published, in milliseconds since 1970. */
  age: number;
  take(taken: Taken | null): void;
}

interface Container {
  held: Set<Taken>;
  refusals: number;
  refusedUntil: number;
}

export class Slots {
  private readonly containers: Container[];
  private readonly line: Waiting[] = [];
  private slots: number;

  /** `most` containers, each with as many `slots` as workers told, or as long as none did: one. */
  constructor(most: number, slots = 1) {
    this.containers = Array.from({ length: most }, () => ({
      held: new Set(),
      refusals: 0,
      refusedUntil: 0,
    }));
    this.slots = slots;
  }

  /** Return a slot, after at most `seconds` of waiting, or null. The oldest message has the next. */
  acquire(age: number, seconds: number): Promise<Taken | null> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => waiting.take(null), seconds * 1000);
      const waiting: Waiting = {
        age,
        take: (taken) => {
          clearTimeout(timer);
          const place = this.line.indexOf(waiting);
          if (place >= 0) this.line.splice(place, 1);
          resolve(taken);
        },
      };
      const after = this.line.findIndex((other) => other.age > age);
      this.line.splice(after < 0 ? this.line.length : after, 0, waiting);
      this.fill();
    });
  }

  /** Note how many slots a worker said that it has. Return whether that is news. */
  learn(slots: number): boolean {
    if (slots === this.slots || !Number.isInteger(slots) || slots < 1) return false;
    this.slots = slots;
    this.fill();
    return true;
  }

  /** Return how many containers so many messages need. */
  needed(messages: number): number {
    return Math.min(this.containers.length, Math.ceil(messages / this.slots));
  }

  /** Return how many messages run in each container, and how many wait. */
  stats() {
    return {
      slots: this.slots,
      running: this.containers.map(({ held }) => held.size),
      waiting: this.line.length,
    };
  }

  private fill(): void {
    for (;;) {
      const number = this.free();
      const first = this.line[0];
      if (number < 0 || !first) return;
      first.take(this.taken(number));
    }
  }

  private free(): number {
    const now = Date.now();
    return this.containers.findIndex(
      ({ held, refusedUntil }) => held.size < this.slots && refusedUntil <= now,
    );
  }

  private taken(number: number): Taken {
    const container = this.containers[number]!;
    const end = (): boolean => {
      clearTimeout(timer);
      return container.held.delete(taken);
    };
    const taken: Taken = {
      container: number,
      release: () => {
        if (!end()) return;
        container.refusals = 0;
        this.fill();
      },
      refuse: (seconds) => {
        if (!end()) return;
        container.refusals += 1;
        const pause = Math.min(MAX_REFUSED_S, Math.max(seconds, 2 ** container.refusals / 2));
        container.refusedUntil = Date.now() + pause * 1000;
        setTimeout(() => this.fill(), pause * 1000 + 1);
        this.fill();
      },
    };
    // No invocation lives longer: who holds it still has died without a word.
    const timer = setTimeout(() => taken.release(), SLOT_KEEP_S * 1000);
    container.held.add(taken);
    return taken;
  }
}
