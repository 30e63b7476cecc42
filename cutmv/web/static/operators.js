/** Brings the parts of the operators' page up to date, but none in which somebody is busy. */

import { $ } from "./elements.js";

/** Milliseconds between two looks, and after one that failed. */
const PAUSE_MS = 3000;
const AWAY_MS = 10000;

const parts = $("parts");

/** Whether somebody is about to do something here, or reads what was unfolded. */
function isBusy(section) {
  return section.contains(document.activeElement) || section.querySelector("details[open]") !== null;
}

async function refresh() {
  const answer = await fetch(parts.dataset.url);
  if (!answer.ok || answer.redirected) throw new Error(`HTTP ${answer.status}`);
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const section of fresh.querySelectorAll("section")) {
    const shown = document.getElementById(section.id);
    if (shown && !isBusy(shown) && shown.innerHTML !== section.innerHTML) shown.replaceWith(section);
  }
}

async function follow() {
  let pause = PAUSE_MS;
  if (!document.hidden) {
    try {
      await refresh();
    } catch {
      pause = AWAY_MS;
    }
  }
  setTimeout(follow, pause);
}

setTimeout(follow, PAUSE_MS);
