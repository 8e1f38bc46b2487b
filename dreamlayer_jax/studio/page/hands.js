// What the keyboard does anywhere on the page, and files that are dropped on it.

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const FAR = 8; // pixels, with Shift

// `does`: undo, redo, stop, remove, nudge(dx, dy, scale, flip). Each gives false where there is nothing to do.
export function listenToKeys(does) {
  document.addEventListener("keydown", (event) => {
    const control = event.ctrlKey || event.metaKey, key = event.key.toLowerCase();
    if (event.key === "Escape") { does.stop(); return; }
    if (event.target.matches("input, textarea, select")) return;
    let done = true;
    if (control && (key === "y" || (key === "z" && event.shiftKey))) does.redo();
    else if (control && key === "z") does.undo();
    else if (control || event.altKey) done = false;
    else if (ARROWS[event.key]) done = does.nudge(...ARROWS[event.key].map((step) => step * (event.shiftKey ? FAR : 1)));
    else if (event.key === "Delete" || event.key === "Backspace") does.remove();
    else if (key === "f") does.nudge(0, 0, 1, true);
    else if (key === "+" || key === "=") does.nudge(0, 0, 1.1);
    else if (key === "-") does.nudge(0, 0, 1 / 1.1);
    else done = false;
    if (done) event.preventDefault();
  });
}

// `onPhoto(file)` for one picture, which is to be taken apart; `onFiles(files)` for a scene, a PSD, an ORA, or several cut-outs.
export function listenToDrops(onPhoto, onFiles) {
  document.addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("dropping"); });
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) document.body.classList.remove("dropping"); });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dropping");
    const files = [...event.dataTransfer.files];
    if (files.length === 1 && files[0].type.startsWith("image/") && !/\.(psd|ora)$/i.test(files[0].name)) onPhoto(files[0]);
    else if (files.length) onFiles(files);
  });
}
