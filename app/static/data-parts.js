// What the cards of the Data page share: counts, bars, warnings, tables. Knows no card.

import { h, number } from "./dom.js";

const LABELS = [["good", "✓"], ["neutral", "○"], ["bad", "✗"], ["unsure", "?"]];

export function counter(label, value) {
  return h("div", {}, h("dt", {}, label), h("dd", {}, typeof value === "number" ? number(value) : value));
}

export function words(name) {
  const text = name.replaceAll("_", " ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}

export function warnings(list, fine) {
  return h("ul", { class: "warnings" }, list.length ? list.map((w) => h("li", {}, `! ${w}`)) : h("li", { class: "fine" }, `✓ ${fine}`));
}

export function histogram(counts, empty) {
  const total = Object.values(counts).reduce((a, b) => a + b, 0);
  if (!total) return h("p", { class: "muted" }, empty || "No steps.");
  const names = [...LABELS, ...(counts.unrated === undefined ? [] : [["unrated", "–"]])];
  return bars(names.map(([name, glyph]) => [`${glyph} ${name}`, counts[name] ?? 0, name]), total);
}

/** Counts as bars: [words, how many, the class of its colour]. */
export function bars(rows, total) {
  return h("div", { class: "bars" }, rows.map(([shown, n, name]) => h("div", { class: "bar" }, h("span", {}, shown),
    h("span", { class: "track", "aria-hidden": "true" }, h("span", { class: `fill strip ${name}`, style: `width:${(100 * n) / (total || 1)}%` })),
    h("span", { class: "count" }, `${number(n)} (${Math.round((100 * n) / (total || 1))} %)`))));
}

export function table(heads, rows, empty) {
  if (!rows.length) return h("p", { class: "muted" }, empty);
  const numeric = heads.map((t) => t.startsWith("n:"));
  return h("div", { class: "table", tabindex: "0", role: "group", "aria-label": `${heads[0].replace(/^n:/, "")} and more, scrolls` }, h("table", {},
    h("thead", {}, h("tr", {}, heads.map((t, i) => h("th", { class: numeric[i] ? "n" : null, scope: "col" }, t.replace(/^n:/, ""))))),
    h("tbody", {}, rows.map((cells) => h("tr", {}, cells.map((c, i) => h("td", { class: numeric[i] ? "n" : null }, c)))))));
}
