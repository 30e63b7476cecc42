// A preview of crops on the video: a frame for each shape, with one middle, which can be moved.

/** Parts of the picture that an arrow key moves the middle, with and without Shift. */
const KEY_STEP = 0.01;
const KEY_LEAP = 0.1;

const within = (value, least, most) => Math.min(most, Math.max(least, value));

export class Crop {
  #root;
  #handle;
  #player;
  #known;
  #shapes = [];
  #centre = [0.5, 0.5];

  /** `moved(centre)` is called with the new middle, in parts of the picture from its left and top. */
  constructor(root, player, moved) {
    this.#root = root;
    this.#player = player;
    this.#handle = root.querySelector(".centre");
    this.#known = JSON.parse(root.dataset.shapes);
    this.moved = moved;
    new ResizeObserver(() => this.#draw()).observe(player);
    player.addEventListener("loadedmetadata", () => this.#draw());
    this.#drag();
  }

  /** Show the crops of a clip, by its `own` wishes and by what is wanted of all; none of no clip. */
  show(own, of_all) {
    const others = own?.aspects || own?.presets ? { aspects: [], presets: [], canvas: null } : {};
    const wanted = { ...of_all, ...others, ...own };
    this.#shapes = own ? cropped(wanted, this.#known) : [];
    this.#centre = wanted.centre.length === 2 ? wanted.centre : [0.5, 0.5];
    this.#draw();
  }

  /** Where the picture is on the player, in pixels: all of it is seen, so there may be bars. */
  #picture() {
    const { videoWidth: wide, videoHeight: high, clientWidth, clientHeight } = this.#player;
    const scale = Math.min(clientWidth / wide, clientHeight / high);
    const [width, height] = [wide * scale, high * scale];
    return { left: (clientWidth - width) / 2, top: (clientHeight - height) / 2, width, height };
  }

  #draw() {
    const { videoWidth: wide, videoHeight: high } = this.#player;
    this.#root.hidden = !this.#shapes.length || !wide || !high;
    for (const frame of this.#root.querySelectorAll(".frame")) frame.remove();
    if (this.#root.hidden) return;
    const { left, top, width, height } = this.#picture();
    for (const shape of this.#shapes) {
      const scale = Math.min(width / shape.width, height / shape.height);
      const [w, h] = [shape.width * scale, shape.height * scale];
      const frame = Object.assign(document.createElement("div"), { className: "frame", textContent: shape.name });
      frame.dataset.testid = "crop-frame";
      Object.assign(frame.style, {
        left: `${left + within(this.#centre[0] * width - w / 2, 0, width - w)}px`,
        top: `${top + within(this.#centre[1] * height - h / 2, 0, height - h)}px`,
        width: `${w}px`,
        height: `${h}px`,
      });
      this.#root.prepend(frame);
    }
    this.#root.classList.toggle("single", this.#shapes.length === 1);
    this.#handle.style.left = `${left + this.#centre[0] * width}px`;
    this.#handle.style.top = `${top + this.#centre[1] * height}px`;
    const [x, y] = this.#centre.map((part) => Math.round(part * 100));
    this.#handle.setAttribute("aria-valuenow", String(x));
    this.#handle.setAttribute("aria-valuetext", `${x} % from the left, ${y} % from the top`);
  }

  #move(x, y) {
    this.moved([x, y].map((part) => Math.round(within(part, 0, 1) * 1000) / 1000));
  }

  #drag() {
    const handle = this.#handle;
    handle.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      handle.setPointerCapture(event.pointerId);
      handle.focus({ preventScroll: true });
    });
    handle.addEventListener("pointermove", (event) => {
      if (!handle.hasPointerCapture(event.pointerId)) return;
      const box = this.#player.getBoundingClientRect();
      const { left, top, width, height } = this.#picture();
      this.#move((event.clientX - box.left - left) / width, (event.clientY - box.top - top) / height);
    });
    handle.addEventListener("keydown", (event) => {
      const step = event.shiftKey ? KEY_LEAP : KEY_STEP;
      const [x, y] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
      if (!x && !y) return;
      event.preventDefault();
      this.#move(this.#centre[0] + x * step, this.#centre[1] + y * step);
    });
  }
}

/** The shapes to which a clip's picture is cropped, by what is wanted of it; `known` are sizes by their names. */
function cropped({ aspects, presets, canvas, fit }, known) {
  const fits = (usual) => (fit ?? usual) === "crop";
  const sized = (name, [width, height]) => ({ name, width, height });
  return [
    ...aspects.filter((name) => known.aspects[name] && fits("crop")).map((name) => sized(name, known.aspects[name])),
    ...presets.filter((name) => known.presets[name] && fits(known.presets[name].fit)).map((name) => sized(name, known.presets[name].size)),
    ...(canvas && fits("crop") ? [sized("canvas", known.aspects["9:16"])] : []),
  ];
}
