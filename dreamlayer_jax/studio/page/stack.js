// The layers at the right, nearest first: a row for each, with its eye, its name, its opacity and its place in the order.

const EYE = '<svg viewBox="0 0 20 20" fill="none" stroke="currentColor" stroke-width="1.5" aria-hidden="true"><path d="M2 10s3-5 8-5 8 5 8 5-3 5-8 5-8-5-8-5z"/><circle cx="10" cy="10" r="2.3"/></svg>';
const SHUT = '<svg viewBox="0 0 20 20" fill="none" stroke="currentColor" stroke-width="1.5" aria-hidden="true"><path d="M2 9c2 3 5 4 8 4s6-1 8-4M5 12.3 3.6 14.5M10 13.2v2.5M15 12.3l1.4 2.2"/></svg>';
const SIDE = 44; // of a thumbnail

export class Stack {
  // `onLook(number, change)`, `onOpacity(number, opacity)` while it is dragged, `onOrder(number, to)`, `onChoose(number)`: what the person did.
  constructor(list, on) {
    this.list = list;
    this.on = on;
  }

  show(layers) {
    const focused = document.activeElement?.dataset?.focus;
    this.list.replaceChildren(...layers.map((layer, i) => this.#row(layer, i, layers.length)).reverse());
    if (focused) this.list.querySelector(`[data-focus="${focused}"]`)?.focus();
  }

  choose(number) {
    for (const item of this.list.children) {
      const chosen = Number(item.dataset.number) === number;
      item.classList.toggle("chosen", chosen);
      item.setAttribute("aria-current", String(chosen));
    }
  }

  #row(layer, i, count) {
    const item = document.createElement("li");
    item.dataset.number = i;
    item.classList.toggle("off", !layer.visible);
    const eye = button(layer.visible ? EYE : SHUT, `${layer.visible ? "Hide" : "Show"} ${layer.name}`, () => this.on.look(i, { visible: !layer.visible }));
    eye.className = "eye";
    eye.dataset.focus = `eye-${i}`;
    const nearer = this.#mover("▲", "nearer", layer, i, i + 1);
    nearer.disabled = !i || i === count - 1;
    const farther = this.#mover("▼", "farther", layer, i, i - 1);
    farther.disabled = i < 2;
    if (!i) for (const one of [eye, nearer, farther]) one.style.visibility = "hidden";
    item.append(eye, thumbnail(layer, i), this.#name(layer, i), nearer, this.#opacity(layer, i), farther);
    for (const event of ["pointerdown", "focusin"]) item.addEventListener(event, () => this.on.choose(i));
    return item;
  }

  // The focus goes with the layer, to press it again.
  #mover(sign, way, layer, i, to) {
    const made = button(sign, `${layer.name} ${way}`, () => { made.dataset.focus = `${way}-${to}`; this.on.order(i, to); });
    made.dataset.focus = `${way}-${i}`;
    return made;
  }

  #name(layer, i) {
    const name = document.createElement("input");
    Object.assign(name, { value: layer.name, maxLength: 200, title: layer.prompt });
    name.dataset.focus = `name-${i}`;
    name.setAttribute("aria-label", `Name of layer ${i}`);
    name.addEventListener("change", () => name.value.trim() ? this.on.look(i, { name: name.value.trim() }) : (name.value = layer.name));
    return name;
  }

  #opacity(layer, i) {
    const opacity = document.createElement("div");
    opacity.className = "opacity";
    if (!i) { opacity.textContent = "background"; return opacity; }
    const slider = document.createElement("input"), shown = document.createElement("output");
    Object.assign(slider, { type: "range", min: 0, max: 100, value: Math.round(layer.opacity * 100) });
    slider.setAttribute("aria-label", `Opacity of ${layer.name}`);
    slider.dataset.focus = `opacity-${i}`;
    shown.textContent = `${slider.value}%`;
    slider.addEventListener("input", () => { shown.textContent = `${slider.value}%`; this.on.opacity(i, slider.value / 100); });
    slider.addEventListener("change", () => this.on.look(i, { opacity: slider.value / 100 }));
    opacity.append(slider, shown);
    return opacity;
  }
}

function thumbnail(layer, i) {
  const thumb = document.createElement("canvas");
  thumb.width = thumb.height = SIDE;
  thumb.setAttribute("role", "img");
  thumb.setAttribute("aria-label", `Layer ${i}: ${layer.name}${layer.made ? "" : ", being made"}`);
  if (!layer.pixels) return thumb;
  const context = thumb.getContext("2d"), [left, top, right, bottom] = i ? layer.bounds : [0, 0, layer.pixels.width, layer.pixels.height];
  const scale = Math.min((SIDE - 4) / (right - left), (SIDE - 4) / (bottom - top)), w = (right - left) * scale, h = (bottom - top) * scale;
  context.drawImage(layer.pixels, left, top, right - left, bottom - top, (SIDE - w) / 2, (SIDE - h) / 2, w, h);
  return thumb;
}

function button(content, label, onClick) {
  const made = document.createElement("button");
  made.type = "button";
  made.innerHTML = content;
  made.title = label;
  made.setAttribute("aria-label", label);
  made.addEventListener("click", onClick);
  return made;
}
