// The choice of a strategy on the Solve page: its parameters as the server describes them, what judges and what that needs to be told,
// what it may cost. Remembered for the tab. Knows no search: `chosen()` is what one is to be started with, null for a plain run.

import { get } from "./api.js";
import { $, h } from "./dom.js";
import { paramField, paramValues } from "./param-fields.js";

const SETTINGS = "worldline.strategy";
const SCORED = "reward-model";
const TESTS = "tests"; // of a program: they come with the question
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
    this.at("strategy-fields").addEventListener("change", (event) => {
      if (event.target.name === "scorer") this.#drawScorer();
      this.#remember();
    });
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
    const host = this.at("strategy-fields");
    const params = paramValues(strategy.parameters, host, "param.");
    const scorer = this.#scorer();
    const tests = value(TESTS).trim();
    const budget = BUDGET.map(([name]) => [name, value(name)]).filter(([, v]) => v !== "").map(([name, v]) => [name, Number(v)]);
    return { strategy: strategy.name, params, scorer: scorer.name, scorer_params: paramValues(scorer.parameters, host, "scorer."), ...(tests ? { tests } : {}), aggregation: value("aggregation") || "last", executor: value("executor"), ...Object.fromEntries(budget) };
  }

  #field(name) {
    return this.at("strategy-fields").querySelector(`[name="${name}"]`);
  }

  #draw() {
    const strategy = this.known.get(this.at("strategy").value);
    const host = this.at("strategy-fields");
    host.hidden = !strategy;
    if (strategy) {
      const old = this.#old(strategy);
      const scorer = this.#select("scorer", "Scorer", "What judges every step", this.scorers.filter((s) => !strategy.needs_scorer || s.name !== "none").map((s) => [s.name, s.title, !s.ready, s.help]), old.scorer ?? this.#usualScorer(strategy));
      const models = this.models();
      host.replaceChildren(
        h("p", { class: "muted note" }, strategy.help),
        h("div", { class: "fields" }, strategy.parameters.map((p) => paramField(p, `param.${p.name}`, old.params?.[p.name]))),
        h("div", { class: "fields" }, scorer, this.#select("aggregation", "Scores of steps", "How the scores of all steps become one", this.aggregations.map((a) => [a, a]), old.aggregation ?? "last"),
          models.length > 1 ? this.#select("executor", "Executor", "Another model, for strategies in which one plans and one writes", [["", "the same model"], ...models], old.executor ?? "") : null,
          BUDGET.map(([name, label, help, least, step]) => h("label", { title: help }, label, h("input", { type: "number", name, min: least, step, placeholder: "no limit", value: old[name] ?? "" })))),
        h("div", { dataset: { id: "scorer-fields" }, class: "scorer-fields" }),
        h("p", { class: "muted note" }, "Model, temperature, top-p, seed and most steps are those below; least steps, thinking budget and waits belong to the plain run."),
      );
      this.#drawScorer();
    }
    this.#remember();
  }

  #old(strategy) {
    return this.old[strategy.name] ?? {};
  }

  #scorer() {
    return this.scorers.find((s) => s.name === this.#field("scorer")?.value) ?? this.scorers[0];
  }

  /** What the chosen scorer does, and what it has to be told. */
  #drawScorer() {
    const strategy = this.known.get(this.at("strategy").value);
    const [scorer, old] = [this.#scorer(), this.#old(strategy)];
    const mine = old.scorer === scorer.name ? old.scorer_params ?? {} : {};
    const late = strategy.needs_scorer && scorer.judges === "answers" ? " It judges finished answers alone: this strategy's steps have no score." : "";
    const parts = [
      scorer.name !== "none" && h("p", { class: "muted note" }, scorer.help + late),
      scorer.parameters.length > 0 && h("div", { class: "fields" }, scorer.parameters.map((p) => paramField(p, `scorer.${p.name}`, mine[p.name]))),
      scorer.name === TESTS && h("label", { class: "stack", title: "A list in JSON, or an assertion a line" }, "Public tests of this question",
        h("textarea", { name: TESTS, rows: 4, required: true, spellcheck: "false", placeholder: "assert add(1, 2) == 3", value: old.tests ?? "" })),
    ];
    this.at("scorer-fields").replaceChildren(...parts.filter(Boolean));
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

  #remember() {
    const now = this.chosen();
    this.old.strategy = now?.strategy ?? "";
    if (now) this.old[now.strategy] = now;
    try {
      sessionStorage.setItem(SETTINGS, JSON.stringify(this.old));
    } catch { /* as above */ }
  }
}
