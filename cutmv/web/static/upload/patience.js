// Trying again until it works: after a while, or as soon as the network is back.

/** Milliseconds before the second try, and between later ones at most. */
const FIRST_MS = 500;
const MOST_MS = 30_000;
/** Answers that pass: too slow, too many, no room, a server that starts again. */
const PASSES = [0, 408, 425, 429, 500, 502, 503, 504, 507];

/** Whether the same request may work later. */
export const passes = (error) => PASSES.includes(error.status);

/**
 * Call `attempt` until it succeeds, or fails for good. `waits(error)` is told of each failure that
 * passes, `signal` ends the waiting.
 */
export async function persist(attempt, { waits, signal, again = passes }) {
  for (let tries = 0; ; tries++) {
    signal.throwIfAborted();
    try {
      return await attempt();
    } catch (error) {
      signal.throwIfAborted();
      if (!again(error)) throw error;
      waits(error);
      const pause = Math.min(MOST_MS, FIRST_MS * 2 ** tries) * (0.75 + Math.random() / 2);
      await rest(Math.max(pause, (error.retryAfterS ?? 0) * 1000), signal);
    }
  }
}

/** Wait for a time, or until the network is back, or the page is looked at again. */
function rest(ms, signal) {
  return new Promise((resolve, reject) => {
    const ending = new AbortController();
    const end = (settle) => {
      clearTimeout(timer);
      ending.abort();
      settle();
    };
    const options = { signal: ending.signal };
    const timer = setTimeout(() => end(resolve), ms);
    window.addEventListener("online", () => end(resolve), options);
    document.addEventListener("visibilitychange", () => document.hidden || end(resolve), options);
    signal.addEventListener("abort", () => end(() => reject(signal.reason)), options);
  });
}
