// What the parts of the Evaluate page share: links to searches, shares as words, tables. Knows no part.

import { h, number } from "./dom.js";

/** A search's tree on the Solve page. */
export function link(search, words) {
  return h("a", { href: `/ui/?search=${encodeURIComponent(search)}`, target: "_blank", rel: "noopener" }, words);
}

export function percent(value) {
  return value === null || value === undefined ? "–" : `${number(100 * value, 1)} %`;
}

/** Without the model where there is one alone. */
export function shortLabel(cell, cells) {
  return cells.every((c) => c.model === cell.model) ? cell.label.slice(cell.model.length + 3) : cell.label;
}

export function table(label, heads, rows) {
  return h("div", { class: "table wide", tabindex: "0", role: "region", "aria-label": `${label}, scrolls` }, h("table", {}, h("thead", {}, h("tr", {}, heads.map((t) => h(t ? "th" : "td", { class: t.startsWith("n:") ? "n" : null, scope: t ? "col" : null }, t.replace(/^n:/, ""))))), h("tbody", {}, rows)));
}
