// The page: what the server says is shown, what the person does is sent.

import { Canvas, prepared } from "./canvas.js";
import { Form } from "./form.js";
import { listenToDrops, listenToKeys } from "./hands.js";
import { Refused, address, ask, listen, openTab, picture, upload } from "./link.js";
import { Stack } from "./stack.js";

const at = (id) => document.getElementById(id);
const PAUSE = 350; // milliseconds: presses of a key that come sooner are one edit

let state = { version: -1, scene: null, busy: null, message: "", undo: false, redo: false };
let shown = 0; // the version whose pictures are on screen
let own = ""; // what went wrong on this side

const canvas = new Canvas((number) => choose(number), (edits) => act("edit", { edits }));
const stack = new Stack(at("stack"), { look, order, choose: take, opacity: faint });
const form = new Form((sentence) => attempt(() => ask("plan", { sentence })), make);

// ---- talking to the server

async function attempt(what) {
  try {
    own = "";
    return await what();
  } catch (error) {
    own = error instanceof Refused ? error.message : "the studio's server does not answer";
    canvas.change = null;
    canvas.draw();
    return null;
  } finally {
    showStatus();
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

// ---- what is shown

// For programs that drive the page: the version whose pictures are on screen, and whether nothing is to come.
function showReady() {
  document.body.dataset.shown = shown;
  document.body.dataset.ready = String(shown === state.version && Boolean(state.scene?.composite) && !state.busy);
}

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
  stack.show(canvas.layers);
  const words = canvas.layers.filter((layer) => layer.visible).map((layer) => layer.name).reverse().join(", before ");
  at("blend").setAttribute("aria-label", words ? `Layers laid over each other: ${words}` : "No picture yet");
  at("composite").setAttribute("aria-label", words ? `Harmonised picture: ${words}` : "No picture yet");
  choose(canvas.chosen);
}

function choose(number) {
  canvas.chosen = number;
  stack.choose(number);
  for (const id of ["flip", "smaller", "larger"]) at(id).disabled = !number;
  at("remove").disabled = !number || canvas.layers.length < 3;
  at("replace").disabled = number === null;
  at("add").disabled = !state.scene;
  canvas.draw();
}

// ---- edits

// Chosen in the stack; what was done to the one before is sent first.
function take(number) {
  if (canvas.chosen === number) return;
  canvas.send();
  choose(number);
}

function look(i, change) {
  const looks = state.scene.layers.map(({ name, opacity, visible }, n) => ({ name, opacity, visible, ...(n === i ? change : {}) }));
  act("look", { looks });
}

function faint(i, opacity) {
  canvas.layers[i].opacity = opacity;
  canvas.composite = null;
  canvas.draw();
}

function order(i, to) {
  const layers = state.scene.layers.map((_, n) => n).slice(1);
  if (to < 1 || to > layers.length) return;
  [layers[i - 1], layers[to - 1]] = [layers[to - 1], layers[i - 1]];
  canvas.chosen = to;
  act("edit", { edits: [{ edit: "order", layers }] });
}

let later = 0;
function nudge(...change) {
  if (!canvas.chosen || canvas.change?.sent) return false;
  canvas.nudge(...change);
  clearTimeout(later);
  later = setTimeout(() => canvas.send(), PAUSE);
  return true;
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

// ---- new scenes

function make(asked, photo) {
  canvas.chosen = null;
  if (!photo) act("generate", asked);
  else attempt(async () => show(await ask("decompose", { ...asked, upload: await upload(photo) })));
}

const openFiles = (files) => attempt(async () => {
  const uploads = [];
  for (const file of files) uploads.push(await upload(file));
  canvas.chosen = null;
  await show(await ask("open", { uploads }));
});

// ---- wiring

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
listenToKeys({ undo: () => act("undo"), redo: () => act("redo"), stop: () => { if (state.busy) act("cancel"); }, remove, nudge });
listenToDrops((file) => form.takePhoto(file), openFiles);
addEventListener("beforeunload", (event) => { if (state.scene && at("gone").hidden) event.preventDefault(); }); // a scene goes with its tab

function gone(why) {
  at("gone").hidden = !why;
  at("gone").textContent = why;
  document.querySelector("main").inert = Boolean(why);
}

showLayers();
try {
  form.describe(await openTab());
  listen(show, (stopped) => gone(stopped ? "The studio's server has stopped, so what is not downloaded is lost. Start it again, then reload this page." : ""));
} catch (error) {
  gone(error instanceof Refused ? error.message : "The studio's server does not answer. Start it, then reload this page.");
}
