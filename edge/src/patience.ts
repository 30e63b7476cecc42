/** How long the Worker waits: variables in place of the values of limits.ts, which tests make small. */

export interface Patience {
  HUB_GRACE_S?: string;
  LEDGER_KEEP_S?: string;
  RESULTS_SWEEP_S?: string;
  PUSH_IDLE_S?: string;
  PUSH_WALL_S?: string;
  PUSH_AWAY_S?: string;
  PUSH_ANEW_AFTER?: string;
}

/** Return the number that a variable holds, or the fallback where it holds none above 0. */
export function numberOf<T>(given: T, name: keyof T, fallback: number): number {
  const value = Number(given[name]);
  return given[name] && Number.isFinite(value) && value > 0 ? value : fallback;
}
