// The page: what to make on the left, the picture in the middle, the layers on the right.

import { address, ask, listen, openTab, picture, Refused, upload } from "./link.js";
import { Canvas, prepared } from "./canvas.js";

const at = (id) => document.getElementById(id);
const EYE = '<svg viewBox="0 0 20 20" fill="none" stroke="currentColor" stroke-width="1.5" aria-hidden="true"><path d="M2 10s3-5 8-5 8 5 8 5-3 5-8 5-8-5-8-5z"/><circle cx="10" cy="10" r="2.3"/></svg>';
const SHUT = '<svg viewBox="0 0 20 20" fill="none" stroke="currentColor" stroke-width="1.5" aria-hidden="true"><path d="M2 9c2 3 5 4 8 4s6-1 8-4M5 12.3 3.6 14.5M10 13.2v2.5M15 12.3l1.4 2.2"/></svg>';

let state = { version: -1, scene: null, busy: null, message: "", undo: false, redo: false };
let photo = null; // a picture to take apart
let shown = 0; // the version whose pictures are on screen
let own = "";

const canvas = new Canvas((number) => choose(number), (edits) => act("edit", { edits }));

// ---- talking to the server

async function attempt(what) {
  try {
    own = "";
    return await what();
  } catch (error) {
    own = error instanceof Refused ? error.message : "the studio's server does not answer";
    canvas.change = null;
    canvas.draw();
    showStatus();
    return null;
  }
}

const act = (what, body) => attempt(async () => show(await ask(what, body)));

let showing = Promise.resolve();
function show(next) {
  showing = showing.then(() => become(next)).catch(() => {});
  return showing;
}

async function become(next) {
  if (next.version < state.version) return;
  const changed = next.version !== state.version;
  state = next;
  showStatus();
  if (!changed) return;
  const scene = next.scene;
  if (!scene) { canvas.setScene([64, 64], [], null); showLayers(); return; }
  const suffix = `?v=${next.version}`;
  const wanted = scene.layers.map((layer, i) => layer.made ? picture(`layers/${i}.png${suffix}`).then(prepared) : Promise.resolve({}));
  const whole = scene.composite ? picture(`composite.png${suffix}`) : Promise.resolve(null);
  let parts;
  try { parts = await Promise.all([...wanted, whole]); } catch { return; } // a newer state is under way
  const layers = scene.layers.map((layer, i) => ({ ...layer, ...parts[i] }));
  if (canvas.chosen !== null && canvas.chosen >= layers.length) canvas.chosen = null;
  canvas.setScene(scene.size, layers, parts.at(-1));
  shown = next.version;
  showLayers();
  showReady();
}

// For programs that drive the page: the version whose pictures are on screen, and whether nothing is to come.
function showReady() {
  document.body.dataset.shown = shown;
  document.body.dataset.ready = String(shown === state.version && Boolean(state.scene?.composite) && !state.busy);
}

// ---- what is shown

function showStatus() {
  const { busy, scene } = state;
  at("bar").classList.toggle("idle", !busy);
  at("stop").classList.toggle("idle", !busy);
  if (busy) at("bar").value = busy.share;
  const plain = busy
    ? `${busy.what} … ${busy.before ? `after ${busy.before} other` : `${Math.round(100 * busy.share)}%`}`
    : scene ? (scene.composite ? "" : "not harmonised") : "";
  const message = own || state.message;
  at("said").textContent = message || plain;
  at("said").classList.toggle("bad", Boolean(message));
  at("harmonize").classList.toggle("idle", Boolean(busy) || !scene || scene.composite);
  at("undo").disabled = !state.undo;
  at("redo").disabled = !state.redo;
  at("empty").hidden = Boolean(scene);
  showReady();
  for (const form of ["png", "psd", "ora", "scene"]) {
    const link = at(`save-${form}`), ready = scene && !busy;
    link.toggleAttribute("aria-disabled", !ready);
    if (!ready) link.setAttribute("aria-disabled", "true");
    link.href = ready ? address(`download/${form}`) : "#";
  }
}

function showLayers() {
  const stack = at("stack"), layers = canvas.layers;
  const focused = document.activeElement?.dataset?.focus;
  stack.replaceChildren(...layers.map((layer, i) => row(layer, i, layers.length)).reverse());
  if (focused) stack.querySelector(`[data-focus="${focused}"]`)?.focus();
  choose(canvas.chosen);
}

function row(layer, i, count) {
  const item = document.createElement("li");
  item.dataset.number = i;
  item.classList.toggle("off", !layer.visible);
  const eye = button(layer.visible ? EYE : SHUT, `${layer.visible ? "Hide" : "Show"} ${layer.name}`, () => look(i, { visible: !layer.visible }));
  eye.className = "eye";
  eye.dataset.focus = `eye-${i}`;
  if (!i) eye.style.visibility = "hidden";
  const thumb = document.createElement("canvas");
  thumb.width = thumb.height = 44;
  thumb.setAttribute("role", "img");
  thumb.setAttribute("aria-label", layer.made ? `Layer ${i}: ${layer.name}` : `Layer ${i}: ${layer.name}, being made`);
  if (layer.pixels) {
    const context = thumb.getContext("2d"), [left, top, right, bottom] = i ? layer.bounds : [0, 0, layer.pixels.width, layer.pixels.height];
    const scale = Math.min(40 / (right - left), 40 / (bottom - top)), w = (right - left) * scale, h = (bottom - top) * scale;
    context.imageSmoothingEnabled = scale < 1;
    context.drawImage(layer.pixels, left, top, right - left, bottom - top, 22 - w / 2, 22 - h / 2, w, h);
  }
  const name = document.createElement("input");
  name.value = layer.name;
  name.maxLength = 200;
  name.title = layer.prompt;
  name.dataset.focus = `name-${i}`;
  name.setAttribute("aria-label", `Name of layer ${i}`);
  name.addEventListener("change", () => name.value.trim() ? look(i, { name: name.value.trim() }) : (name.value = layer.name));
  const nearer = button("▲", `${layer.name} nearer`, () => reorder(i, i + 1));
  nearer.disabled = !i || i === count - 1;
  const farther = button("▼", `${layer.name} farther`, () => reorder(i, i - 1));
  farther.disabled = i < 2;
  const opacity = document.createElement("div");
  opacity.className = "opacity";
  if (i) {
    const slider = document.createElement("input"), shown = document.createElement("output");
    Object.assign(slider, { type: "range", min: 0, max: 100, value: Math.round(layer.opacity * 100) });
    slider.setAttribute("aria-label", `Opacity of ${layer.name}`);
    slider.dataset.focus = `opacity-${i}`;
    shown.textContent = `${slider.value}%`;
    slider.addEventListener("input", () => {
      shown.textContent = `${slider.value}%`;
      layer.opacity = slider.value / 100;
      canvas.composite = null;
      canvas.draw();
    });
    slider.addEventListener("change", () => look(i, { opacity: slider.value / 100 }));
    opacity.append(slider, shown);
  } else {
    opacity.textContent = "background";
  }
  if (!i) nearer.style.visibility = farther.style.visibility = "hidden";
  item.append(eye, thumb, name, nearer, opacity, farther);
  item.addEventListener("pointerdown", () => { if (canvas.chosen !== i) { canvas.send(); choose(i); } });
  return item;
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

function choose(number) {
  canvas.chosen = number;
  for (const item of at("stack").children) item.classList.toggle("chosen", Number(item.dataset.number) === number);
  const foreground = Boolean(number);
  for (const id of ["flip", "smaller", "larger"]) at(id).disabled = !foreground;
  at("remove").disabled = !foreground || canvas.layers.length < 3;
  at("replace").disabled = number === null;
  at("add").disabled = !state.scene;
  canvas.draw();
}

// ---- edits

const look = (i, change) => act("look", {
  looks: state.scene.layers.map(({ name, opacity, visible }, n) => ({ name, opacity, visible, ...(n === i ? change : {}) })),
});

function reorder(i, to) {
  const order = state.scene.layers.map((_, n) => n).slice(1);
  if (to < 1 || to > order.length) return;
  [order[i - 1], order[to - 1]] = [order[to - 1], order[i - 1]];
  if (canvas.chosen === i) canvas.chosen = to;
  act("edit", { edits: [{ edit: "order", layers: order }] });
}

let later = 0;
function nudge(...change) {
  if (!canvas.chosen || canvas.change?.sent) return;
  canvas.nudge(...change);
  clearTimeout(later);
  later = setTimeout(() => canvas.send(), 350); // several presses are one edit
}

function remove() {
  if (!canvas.chosen || canvas.layers.length < 3) return;
  const layer = canvas.chosen;
  canvas.chosen = null;
  act("edit", { edits: [{ edit: "remove", layer }] });
}

function words(edit) {
  const prompt = at("words").value.trim();
  if (!prompt) { at("words").focus(); return; }
  at("words").value = "";
  act("edit", { edits: [edit === "add" ? { edit, prompt } : { edit, layer: canvas.chosen, prompt }] });
}

// ---- making a scene

function foregroundFields(prompts) {
  const list = at("foregrounds");
  list.replaceChildren(...prompts.map((prompt, i) => {
    const field = document.createElement("input");
    Object.assign(field, { value: prompt, maxLength: 200, placeholder: i ? "" : "a red apple" });
    field.setAttribute("list", "objects");
    field.setAttribute("aria-label", `Foreground ${i + 1}`);
    return field;
  }));
}

const foregrounds = () => [...at("foregrounds").children].map((field) => field.value.trim());

async function split() {
  const sentence = at("sentence").value.trim();
  if (!sentence) { at("sentence").focus(); return false; }
  const plan = await attempt(() => ask("plan", { sentence }));
  showStatus();
  if (!plan) return false;
  at("background").value = plan.background;
  foregroundFields(plan.foregrounds);
  return true;
}

async function make(event) {
  event.preventDefault();
  if (!at("background").value.trim() && at("sentence").value.trim() && !(await split())) return;
  const number = (id) => (at(id).value === "" ? null : Number(at(id).value));
  const asked = {
    background: at("background").value.trim(), foregrounds: foregrounds().filter(Boolean), seed: number("seed") ?? 0,
    steps: number("steps"), sampler: at("sampler").value || null,
  };
  canvas.chosen = null;
  if (!photo) { act("generate", asked); return; }
  await attempt(async () => show(await ask("decompose", { ...asked, upload: await upload(photo) })));
}

function takePhoto(file) {
  photo = file;
  const shown = at("picture-shown");
  if (shown.src) URL.revokeObjectURL(shown.src);
  shown.hidden = at("forget").hidden = !file;
  at("choose").textContent = file ? "Another…" : "Take a picture apart…";
  at("go").textContent = file ? "Take it apart" : "Generate";
  if (!file) { shown.removeAttribute("src"); return; }
  shown.src = URL.createObjectURL(file);
  shown.alt = `The picture to take apart: ${file.name}`;
}

const openFiles = (files) => attempt(async () => {
  const uploads = [];
  for (const file of files) uploads.push(await upload(file));
  canvas.chosen = null;
  await show(await ask("open", { uploads }));
});

// ---- wiring

at("make").addEventListener("submit", make);
at("split").addEventListener("click", split);
at("more").addEventListener("click", () => { foregroundFields([...foregrounds(), ""]); at("foregrounds").lastElementChild.focus(); });
at("choose").addEventListener("click", () => at("photo").click());
at("forget").addEventListener("click", () => takePhoto(null));
at("photo").addEventListener("change", () => { if (at("photo").files[0]) takePhoto(at("photo").files[0]); at("photo").value = ""; });
at("open").addEventListener("click", () => at("files").click());
at("files").addEventListener("change", () => { const files = [...at("files").files]; at("files").value = ""; if (files.length) openFiles(files); });
for (const name of ["undo", "redo", "harmonize"]) at(name).addEventListener("click", () => act(name));
at("stop").addEventListener("click", () => act("cancel"));
at("flip").addEventListener("click", () => nudge(0, 0, 1, true));
at("smaller").addEventListener("click", () => nudge(0, 0, 1 / 1.1));
at("larger").addEventListener("click", () => nudge(0, 0, 1.1));
at("remove").addEventListener("click", remove);
at("add").addEventListener("click", () => words("add"));
at("replace").addEventListener("click", () => words("replace"));
for (const [id, wants] of [["show-composite", true], ["show-blend", false]]) {
  at(id).addEventListener("click", () => {
    canvas.wantsComposite = wants;
    at("show-composite").setAttribute("aria-checked", String(wants));
    at("show-blend").setAttribute("aria-checked", String(!wants));
    canvas.draw();
  });
}
for (const link of document.querySelectorAll("nav a")) {
  link.addEventListener("click", (event) => { if (link.hasAttribute("aria-disabled")) event.preventDefault(); });
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input, textarea, select");
  if (event.key === "Escape" && state.busy) { act("cancel"); return; }
  if (typing) return;
  const control = event.ctrlKey || event.metaKey, key = event.key.toLowerCase();
  let done = true;
  if (control && (key === "y" || (key === "z" && event.shiftKey))) act("redo");
  else if (control && key === "z") act("undo");
  else if (control || event.altKey) done = false;
  else if (ARROWS[event.key] && canvas.chosen) nudge(...ARROWS[event.key].map((step) => step * (event.shiftKey ? 8 : 1)));
  else if (event.key === "Delete" || event.key === "Backspace") remove();
  else if (key === "f") nudge(0, 0, 1, true);
  else if (key === "+" || key === "=") nudge(0, 0, 1.1);
  else if (key === "-") nudge(0, 0, 1 / 1.1);
  else done = false;
  if (done) event.preventDefault();
});

document.addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("dropping"); });
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) document.body.classList.remove("dropping"); });
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  const files = [...event.dataTransfer.files];
  if (files.length === 1 && files[0].type.startsWith("image/") && !/\.(psd|ora)$/i.test(files[0].name)) takePhoto(files[0]);
  else if (files.length) openFiles(files);
});

foregroundFields(["", ""]);
showLayers();
try {
  const about = await openTab();
  at("steps").placeholder = about.steps;
  for (const [name, usual] of Object.entries(about.samplers)) {
    at("sampler").append(new Option(name === about.sampler ? `${name} (the model's)` : `${name}, ${usual} steps`, name === about.sampler ? "" : name));
  }
  at("sampler").value = "";
  for (const [list, names] of [["backgrounds", about.words.backgrounds], ["objects", about.words.foregrounds]]) {
    at(list).append(...(names ?? []).map((name) => new Option(name)));
  }
  listen(show, (gone) => {
    at("gone").hidden = !gone;
    if (gone) at("gone").textContent = "The studio's server has stopped, so what is not downloaded is lost. Start it again, then reload this page.";
  });
} catch (error) {
  at("gone").hidden = false;
  at("gone").textContent = error instanceof Refused ? error.message : "The studio's server does not answer. Start it, then reload this page.";
}
