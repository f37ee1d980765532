// The choice of a strategy on the Solve page: its parameters as the server describes them, what judges, what it may cost. Remembered
// for the tab. Knows no search: `chosen()` is what one is to be started with, null for a plain run.

import { get } from "./api.js";
import { $, h } from "./dom.js";

const SETTINGS = "worldline.strategy";
const SCORED = "reward-model";
const BUDGET = [
  ["budget_tokens", "Most tokens", "Written by the model and read by the scorer, in all", 1, 1],
  ["budget_flops", "Most FLOPs", "Of solver and scorer together, such as 5e12", 0, "any"],
  ["budget_seconds", "Most seconds", "Then it decides with what it has", 0, "any"],
];

export class StrategyForm {
  /** root: the page; models(): [[id, name]] to choose an executor from; failed(error). */
  constructor(root, { models, failed }) {
    this.at = (id) => $(`[data-id="${id}"]`, root);
    Object.assign(this, { models, failed, known: new Map(), scorers: [], aggregations: [], old: {} });
    this.at("strategy").addEventListener("change", () => this.#draw());
    this.at("strategy-fields").addEventListener("change", () => this.#remember());
  }

  async load() {
    try {
      this.old = JSON.parse(sessionStorage.getItem(SETTINGS) ?? "{}");
    } catch { /* only the memory of the settings is lost */ }
    try {
      const { strategies, scorers, aggregations } = await get("/api/strategies");
      Object.assign(this, { scorers, aggregations, known: new Map(strategies.map((s) => [s.name, s])) });
      this.at("strategy").append(...strategies.map((s) => h("option", { value: s.name, title: s.help }, s.name === "linear" ? `${s.title}, as a search` : s.title)));
      if (this.known.has(this.old.strategy)) this.at("strategy").value = this.old.strategy;
      this.#draw();
    } catch (error) {
      this.failed(error);
    }
  }

  /** The fields of a search, question and sampling apart; null: a plain run. */
  chosen() {
    const strategy = this.known.get(this.at("strategy").value);
    if (!strategy) return null;
    const value = (name) => this.#field(name)?.value ?? "";
    const params = Object.fromEntries(strategy.parameters.map((p) => [p.name, this.#read(p)]).filter(([, v]) => v !== undefined));
    const budget = BUDGET.map(([name]) => [name, value(name)]).filter(([, v]) => v !== "").map(([name, v]) => [name, Number(v)]);
    return { strategy: strategy.name, params, scorer: value("scorer") || "none", aggregation: value("aggregation") || "last", executor: value("executor"), ...Object.fromEntries(budget) };
  }

  #field(name) {
    return this.at("strategy-fields").querySelector(`[name="${name}"]`);
  }

  #read(parameter) {
    const field = this.#field(`param.${parameter.name}`);
    if (parameter.kind === "bool") return field.checked;
    if (parameter.kind === "text" || parameter.kind === "choice") return parameter.one_of?.find((v) => String(v) === field.value) ?? field.value;
    return field.value === "" ? undefined : Number(field.value);
  }

  #draw() {
    const strategy = this.known.get(this.at("strategy").value);
    const host = this.at("strategy-fields");
    host.hidden = !strategy;
    if (strategy) {
      const old = this.old[strategy.name] ?? {};
      const scorer = this.#select("scorer", "Scorer", "What judges every step", this.scorers.filter((s) => !strategy.needs_scorer || s.name !== "none").map((s) => [s.name, s.title, !s.ready, s.help]), old.scorer ?? this.#usualScorer(strategy));
      const models = this.models();
      host.replaceChildren(
        h("p", { class: "muted note" }, strategy.help),
        h("div", { class: "fields" }, strategy.parameters.map((p) => this.#parameter(p, old.params?.[p.name]))),
        h("div", { class: "fields" }, scorer, this.#select("aggregation", "Scores of steps", "How the scores of all steps become one", this.aggregations.map((a) => [a, a]), old.aggregation ?? "last"),
          models.length > 1 ? this.#select("executor", "Executor", "Another model, for strategies in which one plans and one writes", [["", "the same model"], ...models], old.executor ?? "") : null,
          BUDGET.map(([name, label, help, least, step]) => h("label", { title: help }, label, h("input", { type: "number", name, min: least, step, placeholder: "no limit", value: old[name] ?? "" })))),
        h("p", { class: "muted note" }, "Model, temperature, top-p, seed and most steps are those below; least steps, thinking budget and waits belong to the plain run."),
      );
    }
    this.#remember();
  }

  /** A reward model where one is in use; where a score is needed, whatever there is. */
  #usualScorer(strategy) {
    const ready = this.scorers.filter((s) => s.ready && s.name !== "none").map((s) => s.name);
    return ready.includes(SCORED) ? SCORED : strategy.needs_scorer ? ready[0] : "none";
  }

  #select(name, label, title, options, value) {
    const field = h("select", { name }, options.map(([v, words, disabled, help]) => h("option", { value: v, disabled, title: help }, disabled ? `${words} (not there)` : words)));
    if (options.some(([v, , disabled]) => v === value && !disabled)) field.value = value;
    return h("label", { title, class: "choice" }, label, field);
  }

  #parameter(p, old) {
    const name = `param.${p.name}`;
    const label = p.name.replaceAll("_", " ");
    const value = old ?? p.default;
    if (p.kind === "bool") return h("label", { class: "check", title: p.help }, h("input", { type: "checkbox", name, checked: Boolean(value) }), label);
    if (p.kind === "choice") return this.#select(name, label, p.help, p.one_of.map((v) => [String(v), String(v)]), String(value));
    if (p.kind === "text") return h("label", { title: p.help }, label, h("input", { type: "text", name, value }));
    return h("label", { title: p.help }, label, h("input", { type: "number", name, value, min: p.least, max: p.most, step: p.kind === "int" ? 1 : "any", placeholder: String(p.default) }));
  }

  #remember() {
    const now = this.chosen();
    this.old.strategy = now?.strategy ?? "";
    if (now) this.old[now.strategy] = now;
    try {
      sessionStorage.setItem(SETTINGS, JSON.stringify(this.old));
    } catch { /* as above */ }
  }
}
