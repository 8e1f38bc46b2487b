// The left side: what a new scene is made from. Words for each layer, one sentence that is split into them, or a picture to take apart.

const at = (id) => document.getElementById(id);

export class Form {
  // `onSplit(sentence)` gives a promise of prompts, or of null; `onMake(asked, photo)`: a scene is wanted.
  constructor(onSplit, onMake) {
    this.onSplit = onSplit;
    this.onMake = onMake;
    this.photo = null; // a picture to take apart
    this.foregrounds = ["", ""];
    at("make").addEventListener("submit", (event) => { event.preventDefault(); this.#make(); });
    at("split").addEventListener("click", () => this.#split());
    at("more").addEventListener("click", () => { this.foregrounds = [...this.foregrounds, ""]; at("foregrounds").lastElementChild.focus(); });
    at("choose").addEventListener("click", () => at("photo").click());
    at("forget").addEventListener("click", () => this.takePhoto(null));
    at("photo").addEventListener("change", () => { if (at("photo").files[0]) this.takePhoto(at("photo").files[0]); at("photo").value = ""; });
  }

  // What the model is, once it is known: its steps and samplers, and words to propose.
  describe(about) {
    at("steps").placeholder = about.steps;
    for (const [name, usual] of Object.entries(about.samplers)) {
      at("sampler").append(new Option(name === about.sampler ? `${name} (the model's)` : `${name}, ${usual} steps`, name === about.sampler ? "" : name));
    }
    at("sampler").value = "";
    for (const [list, names] of [["backgrounds", about.words.backgrounds], ["objects", about.words.foregrounds]]) {
      at(list).append(...(names ?? []).map((name) => new Option(name)));
    }
    at("go").disabled = at("split").disabled = false;
  }

  takePhoto(file) {
    this.photo = file;
    const shown = at("picture-shown");
    if (shown.src) URL.revokeObjectURL(shown.src);
    shown.hidden = at("forget").hidden = !file;
    at("choose").textContent = file ? "Another…" : "Take a picture apart…";
    at("go").textContent = file ? "Take it apart" : "Generate";
    if (!file) { shown.removeAttribute("src"); return; }
    shown.src = URL.createObjectURL(file);
    shown.alt = `The picture to take apart: ${file.name}`;
  }

  get foregrounds() { return [...at("foregrounds").children].map((field) => field.value.trim()); }

  set foregrounds(prompts) {
    at("foregrounds").replaceChildren(...prompts.map((prompt, i) => {
      const field = document.createElement("input");
      Object.assign(field, { value: prompt, maxLength: 200, placeholder: i ? "" : "a red apple" });
      field.setAttribute("list", "objects");
      field.setAttribute("aria-label", `Foreground ${i + 1}`);
      return field;
    }));
  }

  async #split() {
    const sentence = at("sentence").value.trim();
    if (!sentence) { at("sentence").focus(); return false; }
    const plan = await this.onSplit(sentence);
    if (!plan) return false;
    at("background").value = plan.background;
    this.foregrounds = plan.foregrounds;
    return true;
  }

  async #make() {
    if (!at("background").value.trim() && at("sentence").value.trim() && !(await this.#split())) return;
    const number = (id) => (at(id).value === "" ? null : Number(at(id).value));
    const asked = {
      background: at("background").value.trim(), foregrounds: this.foregrounds.filter(Boolean), seed: number("seed") ?? 0,
      steps: number("steps"), sampler: at("sampler").value || null,
    };
    this.onMake(asked, this.photo);
  }
}
