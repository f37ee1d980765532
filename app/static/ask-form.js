// The form of the Solve page: the question, the model, sampling and limits, remembered for the tab. Knows no run: `run(prompt)` is
// called when a question is to be asked, and `settings()` is what it is to be asked with.

import { get } from "./api.js";
import { $, h, notice, number, param } from "./dom.js";
import { ordered, slider } from "./sliders.js";

const NUMBERS = ["temperature", "top_p", "seed", "min_steps", "max_steps", "thinking_budget", "max_tokens", "waits"];
const CHOICES = ["model", "format"];
// Stops of the sliders: fine where a step or a token more makes a difference, coarse where it does not.
const STEPS = [0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 60, 80, 100, 150, 200];
const SLIDERS = {
  min_steps: { stops: STEPS, unit: "steps" },
  max_steps: { stops: STEPS.slice(1), unit: "steps" },
  thinking_budget: { stops: [50, 100, 150, 200, 300, 400, 600, 800, 1000, 1500, 2000, 3000, 4000, 6000, 8000, 12000, 16000, 24000, 32000], unit: "tokens", open: "no limit" },
  max_tokens: { stops: [250, 500, 1000, 1500, 2000, 3500, 5000, 8000, 12000, 16000, 24000, 32768, 48000, 64000, 100000], unit: "tokens" },
  waits: { stops: [0, 1, 2, 3, 4, 5, 6, 8, 10, 15, 20], unit: "times" },
};
const WORDS = {
  model: (name) => name, temperature: (n) => `temperature ${n}`, top_p: (n) => `top-p ${n}`, seed: (n) => `seed ${n}`, min_steps: (n) => `at least ${n} steps`,
  max_steps: (n) => `at most ${n} steps`, thinking_budget: (n) => (n === "0" ? "no thinking budget" : `${n} thinking tokens`), waits: (n) => `${n} waits`, max_tokens: (n) => `at most ${n} tokens`,
};
const PLAIN = new Set(["temperature", "top_p", "seed"]); // said as they were typed
const SETTINGS = "worldline.solve";
const EXAMPLES = 5;
const TALLEST_PX = 200; // of the question's box; a longer question scrolls

export class AskForm {
  /** root: the page; run(prompt): ask it; failed(error); changed(): a setting was changed by hand. */
  constructor(root, { notices, run, failed, changed }) {
    this.at = (id) => $(`[data-id="${id}"]`, root);
    Object.assign(this, { notices, run, failed, changed });
    this.touched = new Set(); // settings changed by hand since the last question: a fork takes these and leaves the rest as it was
    this.sliders = Object.entries(SLIDERS).map(([name, how]) => slider($(`[data-hand="${name}"]`, root), this.at(name), how));
    ordered(this.at("min_steps"), this.at("max_steps"));
    this.at("ask").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    this.at("question").addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      if (!this.at("run").hidden) this.#submit();
    });
    this.at("question").addEventListener("input", () => this.#fit());
    for (const count of [3, 4]) this.at(`dice${count}`).addEventListener("click", () => this.#roll(count));
    this.at("model").addEventListener("change", () => this.#drawModel());
    this.at("controls").addEventListener("change", ({ target }) => {
      this.#remember();
      if (!target.dataset.id || target.dataset.id === "format") return;
      this.touched.add(target.dataset.id);
      this.changed();
    });
  }

  /** The fields of a run, the question apart. */
  settings() {
    // What the model has for most tokens is left to the server, which takes off what the question needs.
    const filled = NUMBERS.filter((name) => this.at(name).value !== "" && !(name === "max_tokens" && this.#asTheModel())).map((name) => [name, Number(this.at(name).value)]);
    return { model: this.at("model").value || "pocket", ...(this.at("format").value ? { format: this.at("format").value } : {}), ...Object.fromEntries(filled) };
  }

  /**
   * What was changed by hand, for a fork of what the model `made` has written: {fields, words, touched}. An empty budget is none,
   * whatever the trace had. A model that is not here cannot write on: the chosen one does, and is named.
   */
  byHand(made) {
    const fields = {};
    const words = [];
    const here = [...this.at("model").options].some((option) => option.value === made);
    for (const name of ["model", ...NUMBERS].filter((n) => this.touched.has(n) || (n === "model" && !here))) {
      const value = this.at(name).value;
      if (value === "" && name !== "thinking_budget") continue;
      fields[name] = name === "model" ? value : Number(value);
      words.push(WORDS[name](name === "model" ? this.at("model").selectedOptions[0].textContent : PLAIN.has(name) ? value : number(fields[name])));
    }
    return { fields, words, touched: this.touched.size > 0 };
  }

  /** Forget what was changed by hand: forks are as their traces were. */
  untouch() {
    this.touched.clear();
    this.changed();
  }

  /** [[id, name]] of the models that can be asked. */
  models() {
    return [...this.at("model").options].filter((o) => !o.disabled).map((o) => [o.value, o.textContent]);
  }

  /** Put a question into the box; the reader's own, under way, stays unless `instead`. */
  put(text, { instead = false } = {}) {
    if (!instead && this.at("question").value) return;
    this.at("question").value = text;
    this.#fit();
  }

  /** What this tab had set, the models there are, examples. */
  async load() {
    try {
      const old = JSON.parse(sessionStorage.getItem(SETTINGS) ?? "{}");
      for (const name of [...NUMBERS, "format"]) if (old[name]) this.at(name).value = old[name];
      for (const draw of this.sliders) draw();
      await this.#loadModels(old.model);
    } catch (error) {
      this.failed(error);
    }
    try {
      const examples = await get("/api/problems/examples");
      this.at("examples").replaceChildren(...examples.slice(0, EXAMPLES).map((text) => h("button", { type: "button", class: "example", onclick: () => this.#take(text) }, text)));
    } catch (error) {
      this.failed(error);
    }
    this.#remember();
  }

  #submit() {
    const prompt = this.at("question").value.trim();
    if (prompt) return this.run(prompt);
    notice(this.notices, "form", "warn", "Write a question first, take an example, or roll the dice.");
    this.at("question").focus();
  }

  #remember() {
    const value = (name) => this.at(name).value;
    try {
      sessionStorage.setItem(SETTINGS, JSON.stringify(Object.fromEntries([...CHOICES, ...NUMBERS].map((name) => [name, name === "max_tokens" && this.#asTheModel() ? "" : value(name)]))));
    } catch { /* only the memory of the settings is lost */ }
    const steps = `${value("min_steps") > 0 ? `${value("min_steps")} to` : "up to"} ${value("max_steps") || 60} steps`;
    const budget = value("thinking_budget") ? ` · ${number(value("thinking_budget"))} thinking tokens` : "";
    this.at("controls-now").textContent = `${this.at("model").selectedOptions[0]?.textContent ?? ""} · temperature ${value("temperature") || 1} · ${steps}${budget} · at most ${number(value("max_tokens") || this.at("max_tokens").defaultValue)} tokens`;
  }

  async #loadModels(wanted) {
    const models = await get("/api/models");
    this.at("model").replaceChildren(...models.map((m) => h("option", { value: m.id, disabled: m.ready === false, dataset: { note: m.note ?? "", most: m.max_tokens } }, m.name + (m.ready === false ? " (loading)" : ""))));
    const asked = param("model") ?? wanted;
    if (models.some((m) => m.id === asked && m.ready !== false)) this.at("model").value = asked;
    this.#drawModel();
    this.changed();
  }

  /** What the chosen model is, and how much it may write where nobody has said otherwise. */
  #drawModel() {
    const { note = "", most } = this.at("model").selectedOptions[0]?.dataset ?? {};
    this.at("model-note").textContent = note;
    const field = this.at("max_tokens");
    if (!most) return;
    const untouched = this.#asTheModel();
    field.defaultValue = most;
    if (untouched) field.value = most;
    for (const draw of this.sliders) draw();
  }

  #asTheModel() {
    const { value, defaultValue } = this.at("max_tokens");
    return value === "" || value === defaultValue;
  }

  #take(text) {
    this.put(text, { instead: true });
    this.#fit();
    this.at("question").focus();
  }

  async #roll(count) {
    try {
      this.#take((await get(`/api/problems/random?count=${count}`)).prompt);
      notice(this.notices, "form", "error", null);
    } catch (error) {
      this.failed(error);
    }
  }

  #fit() {
    const box = this.at("question");
    box.style.height = "auto";
    if (box.scrollHeight) box.style.height = `${Math.min(TALLEST_PX, box.scrollHeight + 2)}px`;
  }
}
