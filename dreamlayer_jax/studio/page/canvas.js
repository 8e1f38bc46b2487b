// The picture: layers drawn over each other at once (Eq. 1), the composite over them when it is there, and a box around the chosen layer.

const frame = document.getElementById("frame");
const stage = document.getElementById("stage");
const blend = document.getElementById("blend");
const composite = document.getElementById("composite");
const box = document.getElementById("box");
const CUT = 8; // alpha from which a pixel counts

export class Canvas {
  // `onChoose(number)`, `onEdits(edits)`: what the person did.
  constructor(onChoose, onEdits) {
    this.layers = []; // {pixels: canvas, alpha, bounds: [left, top, right, bottom], opacity, visible}
    this.size = [64, 64];
    this.chosen = null;
    this.change = null; // of the chosen layer, not sent or not answered yet: {dx, dy, scale, flipped}
    this.composite = null;
    this.wantsComposite = true;
    this.onChoose = onChoose;
    this.onEdits = onEdits;
    stage.addEventListener("pointerdown", (event) => this.#press(event));
    stage.addEventListener("pointermove", (event) => this.#drag(event));
    stage.addEventListener("pointerup", () => this.#drop());
    stage.addEventListener("pointercancel", () => this.#drop());
    // What is selected on the page would else be dragged by the browser, in the layer's place, from the second drag on.
    stage.addEventListener("dragstart", (event) => event.preventDefault());
    new ResizeObserver(() => this.#fit()).observe(stage);
  }

  setScene(size, layers, picture) {
    this.size = size;
    this.layers = layers;
    this.change = null;
    this.composite = picture;
    for (const canvas of [blend, composite]) {
      if (canvas.width !== size[1] || canvas.height !== size[0]) [canvas.height, canvas.width] = size;
    }
    if (picture) composite.getContext("2d").drawImage(picture, 0, 0);
    this.#fit();
    this.draw();
  }

  // The chosen layer changed by so many pixels, by a factor, or mirrored; shown, not sent.
  nudge(dx, dy, scale = 1, flip = false) {
    const now = this.change ?? { dx: 0, dy: 0, scale: 1, flipped: false };
    this.change = { dx: now.dx + dx, dy: now.dy + dy, scale: now.scale * scale, flipped: now.flipped !== flip };
    this.draw();
  }

  // Sends what `nudge` and dragging have done; it stays shown until the new scene comes.
  send() {
    const change = this.change;
    if (!change || change.sent || this.chosen === null) return;
    const edits = [], layer = this.chosen;
    if (change.flipped) edits.push({ edit: "flip", layer });
    if (change.scale !== 1) edits.push({ edit: "resize", layer, scale: change.scale });
    const dx = change.dx / this.size[1], dy = change.dy / this.size[0];
    if (dx || dy) edits.push({ edit: "move", layer, dx: Math.max(-1, Math.min(1, dx)), dy: Math.max(-1, Math.min(1, dy)) });
    if (!edits.length) { this.change = null; this.draw(); return; }
    change.sent = true;
    this.onEdits(edits);
  }

  draw() {
    const context = blend.getContext("2d");
    context.clearRect(0, 0, blend.width, blend.height);
    this.layers.forEach((layer, number) => {
      if (!layer.pixels || (number && !layer.visible)) return;
      context.save();
      context.globalAlpha = number ? layer.opacity : 1;
      if (number === this.chosen && this.change) this.#place(context, layer.bounds);
      context.drawImage(layer.pixels, 0, 0);
      context.restore();
    });
    const shown = Boolean(this.composite) && this.wantsComposite && !this.change;
    composite.classList.toggle("at-once", !shown);
    composite.classList.toggle("shown", shown);
    this.#drawBox();
  }

  // As the server does it: flipped in place, scaled about the middle of the lower edge, shifted.
  #place(context, [left, , right, bottom]) {
    const { dx, dy, scale, flipped } = this.change, middle = (left + right) / 2;
    context.translate(middle + dx, bottom + dy);
    context.scale(flipped ? -scale : scale, scale);
    context.translate(-middle, -bottom);
  }

  #drawBox() {
    const layer = this.chosen ? this.layers[this.chosen] : null;
    box.hidden = !layer?.pixels;
    if (box.hidden) return;
    let [left, top, right, bottom] = layer.bounds;
    if (this.change) {
      const { dx, dy, scale } = this.change, middle = (left + right) / 2;
      [left, right] = [middle + (left - middle) * scale + dx, middle + (right - middle) * scale + dx];
      [top, bottom] = [bottom + (top - bottom) * scale + dy, bottom + dy];
    }
    const percent = (part, whole) => `${(100 * part) / whole}%`;
    box.style.left = percent(left, this.size[1]);
    box.style.top = percent(top, this.size[0]);
    box.style.width = percent(right - left, this.size[1]);
    box.style.height = percent(bottom - top, this.size[0]);
  }

  // The largest whole multiple of the picture that fits, or, of a large picture, what fits.
  #fit() {
    const room = Math.min((stage.clientWidth - 48) / this.size[1], (stage.clientHeight - 48) / this.size[0]);
    const factor = Math.max(room >= 1 ? Math.floor(room) : room, 0.01);
    frame.style.width = `${this.size[1] * factor}px`;
    frame.style.height = `${this.size[0] * factor}px`;
  }

  #at(event) {
    const area = blend.getBoundingClientRect();
    return [((event.clientX - area.left) / area.width) * this.size[1], ((event.clientY - area.top) / area.height) * this.size[0]];
  }

  #under([x, y]) {
    for (let number = this.layers.length - 1; number > 0; number--) {
      const layer = this.layers[number];
      if (!layer.pixels || !layer.visible || x < 0 || y < 0 || x >= this.size[1] || y >= this.size[0]) continue;
      if (layer.alpha[Math.floor(y) * this.size[1] + Math.floor(x)] >= CUT) return number;
    }
    return null;
  }

  #press(event) {
    if (event.button !== 0 || this.change?.sent) return;
    const at = this.#at(event), corner = event.target.dataset?.corner;
    if (!corner && !(event.target === box && this.#under(at) === null)) {
      const under = this.#under(at);
      if (under !== this.chosen) { this.send(); this.chosen = under; this.onChoose(under); this.draw(); }
    }
    if (this.chosen === null) return;
    const [left, top, right, bottom] = this.layers[this.chosen].bounds;
    const begun = this.change ?? { dx: 0, dy: 0, scale: 1, flipped: false };
    this.hold = { at, corner, begun, anchor: [(left + right) / 2 + begun.dx, bottom + begun.dy], reach: [left, top, right, bottom] };
    stage.setPointerCapture(event.pointerId);
  }

  #drag(event) {
    if (!this.hold) return;
    const { at, corner, begun, anchor } = this.hold, [x, y] = this.#at(event);
    if (corner) {
      // lower corners hardly leave the ground that a layer is scaled from: sideways alone counts there
      const distance = (px, py) => corner[0] === "s" ? Math.abs(px - anchor[0]) : Math.hypot(px - anchor[0], py - anchor[1]);
      const factor = Math.max(0.05, Math.min(20, begun.scale * distance(x, y) / Math.max(distance(...at), 0.5)));
      this.change = { ...begun, scale: factor };
    } else {
      this.change = { ...begun, dx: begun.dx + Math.round(x - at[0]), dy: begun.dy + Math.round(y - at[1]) };
    }
    this.draw();
  }

  #drop() {
    if (!this.hold) return;
    this.hold = null;
    this.send();
  }
}

// A layer's picture as the canvas needs it.
export function prepared(image) {
  const pixels = document.createElement("canvas");
  pixels.width = image.naturalWidth;
  pixels.height = image.naturalHeight;
  const context = pixels.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  const { data, width, height } = context.getImageData(0, 0, pixels.width, pixels.height);
  const alpha = new Uint8Array(width * height);
  let [left, top, right, bottom] = [width, height, 0, 0];
  for (let i = 0; i < alpha.length; i++) {
    alpha[i] = data[4 * i + 3];
    if (alpha[i] < CUT) continue;
    const x = i % width, y = (i - x) / width;
    left = Math.min(left, x); right = Math.max(right, x + 1);
    top = Math.min(top, y); bottom = Math.max(bottom, y + 1);
  }
  return { pixels, alpha, bounds: right ? [left, top, right, bottom] : [0, 0, width, height] };
}
