// Every problem of an evaluation with what came of it in each cell, and from there to the searches. Knows no figures.

import { get } from "./api.js";
import { h, number, plural } from "./dom.js";
import { link, shortLabel, table } from "./evaluate-parts.js";

const SHOWN = 50; // rows at first: a hundred problems of twenty cells are two thousand links
const VIEWS = [["all", "all problems"], ["differ", "where cells differ"], ["right", "that the chosen cell solved"], ["wrong", "that the chosen cell did not solve"]];

export class ProblemTable {
  constructor(host, { id, failed }) {
    Object.assign(this, { host, id, failed, rows: [], total: 0, cells: [], cell: null, view: "all", most: SHOWN });
  }

  async load(cells, cell) {
    Object.assign(this, { cells, cell });
    const found = await get(`/api/evals/${this.id}/problems`);
    const rows = found.problems;
    this.total = found.total;
    while (rows.length < Math.min(found.total, this.rows.length)) rows.push(...(await get(`/api/evals/${this.id}/problems?after=${rows.length}`)).problems);
    this.rows = rows;
    this.#draw();
  }

  /** Only this cell's searches; null: all cells. */
  choose(cell) {
    this.cell = cell;
    this.#draw();
  }

  async #more() {
    try {
      this.most += SHOWN;
      if (this.most > this.rows.length && this.rows.length < this.total) this.rows.push(...(await get(`/api/evals/${this.id}/problems?after=${this.rows.length}`)).problems);
      this.#draw();
    } catch (error) {
      this.failed("problems", error);
    }
  }

  #draw() {
    const cells = this.cell ? this.cells.filter((c) => c.cell_id === this.cell) : this.cells;
    const views = this.cell ? VIEWS : VIEWS.slice(0, 2);
    if (!views.some(([name]) => name === this.view)) this.view = "all";
    const rows = this.rows.filter((row) => this.#wanted(row));
    const pick = (words, options, value, changed) => {
      const select = h("select", { onchange: (e) => changed(e.target.value) }, options.map(([v, w]) => h("option", { value: v }, w)));
      select.value = value;
      return h("label", { class: "wide" }, words, select);
    };
    this.host.replaceChildren(h("h2", { tabindex: "-1" }, "Problems and the searches behind them"),
      h("div", { class: "fields" }, pick("Cell", [["", "all cells"], ...this.cells.map((c) => [c.cell_id, shortLabel(c, this.cells)])], this.cell ?? "", (v) => this.choose(v || null)), pick("Show", views, this.view, (v) => { this.view = v; this.most = SHOWN; this.#draw(); })),
      rows.length ? table("Problems", ["n:#", "Question", "Reference", ...cells.map((c) => shortLabel(c, this.cells))], rows.slice(0, this.most).map((row) => h("tr", {}, h("td", { class: "n" }, number(row.index + 1)), h("td", { class: "prompt", title: row.prompt }, row.prompt.slice(0, 300)), h("td", { class: "prompt" }, (row.reference ?? "–").slice(0, 100)), cells.map((c) => h("td", {}, outcome(row.cells[c.cell_id])))))) : h("p", { class: "muted" }, "There is none."),
      h("div", {}, rows.length > this.most || (this.rows.length < this.total && this.view === "all") ? h("button", { type: "button", class: "secondary", onclick: () => this.#more() }, `More of ${plural(this.total, "problem")}`) : null));
  }

  #wanted(row) {
    const shares = (cells) => cells.map((c) => row.cells[c.cell_id]).filter((o) => o && o.right !== null).map((o) => o.right / o.tries);
    if (this.view === "differ") return new Set(shares(this.cells)).size > 1;
    if (this.view === "all") return true;
    const [share] = shares(this.cells.filter((c) => c.cell_id === this.cell));
    return share !== undefined && (this.view === "right") === share > 0.5;
  }
}

/** ✓, ✗ or "2 of 3"; each try leads to its search. */
function outcome(o) {
  if (!o) return h("span", { class: "muted" }, "–");
  const [tone, words] = o.right === null ? ["none", "? not known"] : o.tries > 1 ? [o.right > o.tries / 2 ? "good" : "bad", `${o.right} of ${o.tries}`] : o.right ? ["good", "✓ right"] : ["bad", "✗ wrong"];
  const links = o.searches.length === 1 ? link(o.searches[0], words) : [h("span", {}, `${words} `), ...o.searches.map((s, i) => link(s, `${i + 1}`))];
  return h("span", { class: `mark eval-outcome ${tone}`, title: o.answer ? `Answered: ${o.answer.slice(0, 200)}` : "It answered nothing." }, links);
}
