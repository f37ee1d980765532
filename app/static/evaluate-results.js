// What came of an evaluation: a row a cell, plots, curves over k, bins of difficulty, two cells against each other, every problem with
// the searches behind it. Model text goes in as text nodes.

import { get } from "./api.js";
import { h, number, plural } from "./dom.js";
import { link, percent, shortLabel, table } from "./evaluate-parts.js";
import { plot, short } from "./evaluate-plot.js";
import { ProblemTable } from "./evaluate-problems.js";

const METHODS = { pass: "pass@k", majority: "majority@k", weighted: "weighted@k", best: "best@k" };

export class Results {
  constructor(host, { id, evals, failed }) {
    Object.assign(this, { host, id, evals, failed, figures: null, comparable: [], cell: null, pool: null, by: null });
    this.parts = Object.fromEntries(["cells", "plots", "curves", "bins", "compare", "problems"].map((name) => [name, h("section", { class: `wl-card eval-${name}`, hidden: true })]));
    host.replaceChildren(...Object.values(this.parts));
    this.problems = new ProblemTable(this.parts.problems, { id, failed });
  }

  inUse() {
    const at = document.activeElement;
    return this.host.contains(at) && at !== document.body;
  }

  async load(evaluation) {
    this.evaluation = evaluation;
    [this.figures, this.comparable] = await Promise.all([get(`/api/evals/${this.id}/figures`), get(`/api/evals/${this.id}/comparable`)]);
    const cells = this.figures.cells.filter((c) => c.searches);
    if (!cells.some((c) => c.cell_id === this.cell)) this.cell = null;
    for (const part of Object.values(this.parts)) part.hidden = !cells.length;
    if (!cells.length) {
      this.parts.cells.hidden = false;
      this.parts.cells.replaceChildren(h("p", { class: "muted" }, evaluation.state === "running" ? "Figures appear here as soon as a search is finished, and grow with every one." : "No search was finished."));
      return;
    }
    this.#cells(cells);
    this.#plots(cells);
    this.#curves();
    this.#bins(cells);
    this.#compare(cells);
    await this.problems.load(cells, this.cell);
  }

  resize() {
    if (!this.figures || this.parts.plots.hidden) return;
    const cells = this.figures.cells.filter((c) => c.searches);
    this.#plots(cells);
    this.#curves();
    this.#bins(cells);
  }

  /** A point or a row was chosen: its searches are listed below. */
  #pick(cell) {
    this.cell = cell;
    for (const one of this.host.querySelectorAll("[data-pick]")) {
      one.classList.toggle("chosen", one.dataset.pick === cell);
      if (one.tagName === "BUTTON") one.setAttribute("aria-pressed", String(one.dataset.pick === cell));
    }
    this.problems.choose(cell);
    this.parts.problems.scrollIntoView({ block: "start", behavior: "smooth" });
    this.parts.problems.querySelector("h2")?.focus();
  }

  #cells(cells) {
    const n = (...content) => h("td", { class: "n" }, ...content);
    const rows = cells.map((c) => h("tr", {},
      h("th", { scope: "row" }, h("button", { type: "button", class: "link", "aria-pressed": String(c.cell_id === this.cell), dataset: { pick: c.cell_id }, title: "The searches behind it", onclick: () => this.#pick(c.cell_id) }, shortLabel(c, cells))),
      n(h("b", {}, percent(c.accuracy)), c.ci ? h("span", { class: "interval" }, ` ${number(100 * c.ci[0])} – ${number(100 * c.ci[1])}`) : null),
      n(number(c.tokens)), n(number(c.scorer_tokens)), n(c.flops === null ? "–" : short(c.flops)), n(c.scorer_flops === null ? "–" : short(c.scorer_flops)), n(number(c.seconds, 1)), n(`${number(c.searches)} of ${number(c.expected)}`), n(c.over_budget ? percent(c.over_budget) : "–")));
    this.parts.cells.replaceChildren(h("h2", {}, "Accuracy and cost"), table("Accuracy and cost", ["Cell", "n:Solved, 95 %", "n:Tokens", "n:of the scorer", "n:FLOPs", "n:of the scorer", "n:Seconds", "n:Searches", "n:Cut by budget"], rows),
      h("p", { class: "muted" }, "Intervals over problems. Costs are means a search, the scorer's included; seconds are waits for models in the company of all other searches."),
      h("ul", { class: "sentences" }, this.figures.notes.map((s) => h("li", {}, s))));
  }

  #plots(cells) {
    const against = (cost) => {
      const lines = new Map();
      for (const c of cells.filter((one) => one.accuracy !== null && one[cost])) {
        const name = c.pool ? shortLabel(c, cells) : [cells.some((o) => o.model !== c.model) ? c.model : null, c.strategy, c.scorer === "none" ? null : c.scorer].filter(Boolean).join(" · ");
        if (!lines.has(name)) lines.set(name, []);
        lines.get(name).push({ x: c[cost], y: c.accuracy, low: c.ci?.[0], high: c.ci?.[1], pick: c.cell_id, words: `${percent(c.accuracy)} solved${c.ci ? ` (${number(100 * c.ci[0])} to ${number(100 * c.ci[1])})` : ""} at ${short(c[cost])} ${cost === "flops" ? "FLOPs" : cost} a problem` });
      }
      return [...lines].map(([name, points]) => ({ name, points }));
    };
    const figures = [["tokens", "tokens a problem, the scorer's included"], ["flops", "FLOPs a problem, the scorer's included"]].map(([cost, xWords]) => {
      const box = h("div", {});
      return [h("figure", {}, h("figcaption", {}, `Accuracy against ${cost === "flops" ? "FLOPs" : cost}`), box), () => plot(box, against(cost), { label: `Accuracy against ${cost}`, xWords, onpick: (cell) => this.#pick(cell), chosen: this.cell })];
    });
    this.#draw(this.parts.plots, [h("h2", {}, "What a token buys"), h("div", { class: "eval-figures" }, figures.map(([figure]) => figure))], figures);
  }

  #curves() {
    const pools = this.figures.curves.filter((c) => c.n > 1 && Object.keys(c.methods).length);
    this.parts.curves.hidden = !pools.length;
    if (!pools.length) return;
    if (!pools.some((p) => p.cell_id === this.pool)) this.pool = pools.at(-1).cell_id;
    const pool = pools.find((p) => p.cell_id === this.pool);
    const lines = Object.entries(pool.methods).map(([method, points]) => ({ name: METHODS[method], points: points.map((p) => ({ x: p.k, y: p.value, low: p.ci?.[0], high: p.ci?.[1], words: `${percent(p.value)} at k = ${p.k}, ${number(p.tokens)} tokens${p.exact ? "" : ", scores in thousandths"}` })) }));
    const box = h("div", {});
    this.#draw(this.parts.curves, [h("h2", {}, `From one pool of ${pool.n} answers a problem`), pools.length > 1 ? choose("Pool", pools.map((p) => [p.cell_id, p.label]), this.pool, (id) => { this.pool = id; this.#curves(); }) : null, box,
      h("p", { class: "muted" }, "The expectation over all k-subsets of the pool, ties included.")], [[null, () => plot(box, lines, { label: "Curves over k", xWords: "k", ticks: lines[0].points.map((p) => p.x) })]]);
  }

  #bins(cells) {
    const all = this.figures.difficulty;
    this.parts.bins.hidden = !all.length;
    if (!all.length) return;
    const key = (d) => `${d.by} ${d.cell_id}`;
    if (!all.some((d) => key(d) === this.by)) this.by = key(all[0]);
    const d = all.find((one) => key(one) === this.by);
    const names = d.bins.map((b) => `${b.level}`);
    const lines = cells.filter((c) => !c.pool).map((c) => ({ name: shortLabel(c, cells), points: d.bins.filter((b) => b.accuracy[c.cell_id]).map((b) => ({ x: b.level - 1, y: b.accuracy[c.cell_id][0], pick: c.cell_id, words: `${percent(b.accuracy[c.cell_id][0])} of ${plural(b.accuracy[c.cell_id][1], "problem")} of level ${b.level} (${number(b.low, 2)} to ${number(b.high, 2)})` })) }));
    const shown = lines.length ? lines : cells.map((c) => ({ name: shortLabel(c, cells), points: d.bins.filter((b) => b.accuracy[c.cell_id]).map((b) => ({ x: b.level - 1, y: b.accuracy[c.cell_id][0], words: percent(b.accuracy[c.cell_id][0]) })) }));
    const box = h("div", {});
    const words = (one) => `${one.by === "oracle" ? "by the share of right answers" : "by the mean score"}, ${one.label}`;
    this.#draw(this.parts.bins, [h("h2", {}, "By difficulty"), choose("Levels", all.map((one) => [key(one), words(one)]), this.by, (by) => { this.by = by; this.#bins(cells); }), box,
      h("p", { class: "muted" }, `Five bins of equally many problems (${d.bins.map((b) => b.problems).join(", ")}), made of the pool; 1 is the easiest.`)], [[null, () => plot(box, shown, { label: "Accuracy by difficulty", xWords: "level of difficulty", x: "even", names })]]);
  }

  #compare(cells) {
    const others = this.evals().filter((e) => this.comparable.includes(e.eval_id));
    this.parts.compare.hidden = cells.length + others.length < 2;
    if (this.parts.compare.hidden || this.parts.compare.contains(document.activeElement)) return;
    const mine = cells.map((c) => [`${this.id} ${c.cell_id}`, shortLabel(c, cells)]);
    const theirs = others.flatMap((e) => e.cells.map((c) => [`${e.eval_id} ${c.cell_id}`, `${e.name}: ${c.label}`]));
    const old = this.pair ?? [mine[0][0], (mine[1] ?? theirs[0])[0]];
    const a = h("select", { "aria-label": "A" }, mine.map(([v, w]) => h("option", { value: v }, w)));
    const b = h("select", { "aria-label": "B" }, [...mine, ...theirs].map(([v, w]) => h("option", { value: v }, w)));
    [a.value, b.value] = old;
    const out = this.parts.compare.querySelector(".eval-compared") ?? h("div", { class: "eval-compared", "aria-live": "polite" });
    const go = async () => {
      this.pair = [a.value, b.value];
      const [[, first], [other, second]] = this.pair.map((v) => v.split(" "));
      try {
        const found = await get(`/api/evals/${this.id}/comparison?${new URLSearchParams({ a: first, b: second, other })}`);
        out.replaceChildren(compared(found));
      } catch (error) {
        out.replaceChildren(h("p", { class: "said bad" }, error.message));
      }
    };
    this.parts.compare.replaceChildren(h("h2", {}, "Two cells problem by problem"), h("form", { class: "fields", onsubmit: (e) => { e.preventDefault(); go(); } }, h("label", { class: "wide" }, "A", a), h("label", { class: "wide" }, "B", b), h("button", { type: "submit", class: "secondary" }, "Compare")), out);
  }

  /** Into the page first: a plot is as wide as its box. */
  #draw(part, children, figures) {
    part.replaceChildren(...children.filter(Boolean));
    for (const [, paint] of figures) paint();
  }
}

function compared(c) {
  const sign = (x) => `${x < 0 ? "−" : "+"}${number(Math.abs(100 * x), 1)}`;
  const only = c.pairs.filter((p) => (p.a > 0.5) !== (p.b > 0.5));
  const cell = (n, words) => h("td", { class: "n" }, h("b", {}, number(n)), h("span", { class: "wl-visually-hidden" }, ` ${words}`));
  return h("div", {}, h("div", { class: "table", tabindex: "0", role: "group", "aria-label": "The four outcomes, scrolls" }, h("table", { class: "eval-four" },
    h("thead", {}, h("tr", {}, h("td", {}), h("th", { scope: "col" }, "B solved"), h("th", { scope: "col" }, "B not"))),
    h("tbody", {}, h("tr", {}, h("th", { scope: "row" }, "A solved"), cell(c.both, "both"), cell(c.only_a, "only A")), h("tr", {}, h("th", { scope: "row" }, "A not"), cell(c.only_b, "only B"), cell(c.neither, "neither"))))),
  h("p", {}, `B less A: ${sign(c.difference)} points${c.ci ? ` (95 %: ${sign(c.ci[0])} to ${sign(c.ci[1])})` : ""} over ${plural(c.problems, "problem")}${c.p === null ? "" : `; p = ${c.p.toPrecision(2)} (McNemar, exact)`}.`),
  c.notes.length ? h("ul", { class: "sentences" }, c.notes.map((s) => h("li", {}, s))) : null,
  only.length ? h("details", {}, h("summary", {}, `${plural(only.length, "problem")} that one side alone solved`), h("ul", { class: "plainlist" }, only.map((p) => h("li", {}, p.a > p.b ? "only A: " : "only B: ", p.prompt.slice(0, 200), " ", p.a_searches.map((s) => link(s, "A")), " ", p.b_searches.map((s) => link(s, "B")))))) : null);
}

function choose(words, options, value, changed) {
  const select = h("select", { onchange: (e) => { e.target.blur(); changed(e.target.value); } }, options.map(([v, w]) => h("option", { value: v }, w)));
  select.value = value;
  return h("div", { class: "fields" }, h("label", { class: "wide" }, words, select));
}
