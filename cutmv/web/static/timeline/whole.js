// The timeline of all its parts, on the elements of the page.

import { $ } from "../elements.js";
import { Timeline } from "../timeline.js";
import { Drawing } from "./drawing.js";
import { Overview } from "./overview.js";
import { Snapping } from "./snapping.js";
import { View } from "./view.js";
import { Zooming } from "./zooming.js";

export class WholeTimeline {
  #overview = new Overview();
  #snapping = new Snapping();
  #timeline;
  /** What keys do, by their names. */
  keys;

  /** For `clips` of what a `player` plays; `seen()` is called when there is more to know of it. */
  constructor(clips, player, seen) {
    const view = new View();
    const drawing = new Drawing($("overview"), view, this.#overview);
    const controls = { zoomIn: $("zoom-in"), zoomOut: $("zoom-out"), all: $("zoom-all"), bar: $("scroll") };
    const zooming = new Zooming($("timeline"), view, controls, () => player.currentTime);
    this.#timeline = new Timeline($("timeline"), $("playhead"), {
      clips,
      view,
      snapping: this.#snapping,
      seek: (seconds) => (player.currentTime = seconds),
      busy: () => zooming.pinching,
    });
    this.keys = zooming.keys;
    this.#overview.addEventListener("change", () => {
      const { keys, problem } = this.#overview;
      this.#snapping.set("keys", keys);
      seen();
      $("overview-problem").textContent = problem && `Not all of the video is shown here: ${problem}`;
    });
    clips.addEventListener("change", () => (drawing.frameRate = clips.frameRate));
    $("snap").addEventListener("change", () => (this.#snapping.enabled = $("snap").checked));
  }

  /** Show an upload, by its id, or none yet. */
  watch(id) {
    this.#overview.watch(id);
    if (!id) this.suggested({ scenes: [], beats: [] });
  }

  /** Snap to what was seen and heard, too. */
  suggested({ scenes, beats }) {
    this.#snapping.set("scenes", scenes);
    this.#snapping.set("beats", beats);
  }

  /** Show what of each clip is copied, by what is told of its `outputs`. */
  estimated(outputs) {
    this.#timeline.estimated(outputs);
  }

  /** Show where the player is, and have that in view. */
  showTime(seconds) {
    this.#timeline.showTime(seconds);
  }
}
