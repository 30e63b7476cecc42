// How much is used of what one may have stored; nothing is told where there is no bound.

import * as api from "./api.js";
import { formatBytes } from "./times.js";

/** Tell in an element what is used now. */
export async function showUsage(element) {
  const { used, most } = (await api.account().catch(() => null))?.usage.stored_bytes ?? {};
  element.hidden = !Number.isFinite(most);
  if (!element.hidden) element.textContent = `You use ${formatBytes(used)} of ${formatBytes(most)}.`;
}
