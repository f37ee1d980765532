// Rows as a model would read them, each piece marked by what is done with it. Model text goes in as text nodes alone.

import { h, number, plural } from "./dom.js";

const GLYPHS = { good: " ✓", bad: " ✗", soft: " ~" };
const WORDS = { read: "read only: no loss", learned: "learned: the model is taught to write it", good: "scored good here", bad: "scored bad here", soft: "scored by the share who said good" };

export function maskedRows(host, found) {
  const labels = new Set(found.rows.flatMap((row) => row.pieces.map((p) => p.label)));
  const counts = Object.entries(found.counts).filter(([, n]) => n).map(([name, n]) => `${number(n)} ${name.replaceAll("_", " ")}`);
  const close = h("button", { type: "button", class: "secondary", onclick: () => (host.hidden = true) }, "Close");
  host.hidden = false;
  host.replaceChildren(
    h("div", { class: "job-head" }, h("h2", { tabindex: -1 }, "What is learned"), h("div", { class: "actions" }, close)),
    h("p", { class: "muted small" }, `Of the first ${number(found.examined)} rows: ${plural(found.n_train, "row")} to train on, ${number(found.n_test)} held out (${counts.join(", ")}).`),
    h("ul", { class: "mask-legend", "aria-label": "Legend" }, Object.keys(WORDS).filter((l) => labels.has(l)).map((l) => h("li", {}, piece({ text: WORDS[l], label: l, value: null })))),
    ...found.rows.flatMap((row, i) => [
      h("p", { class: "muted small" }, `${row.split === "test" ? "Held out" : "Trained on"} · ${plural(row.n_tokens, "token")}, ${number(row.n_labels)} with a loss · ${row.trace_id}`),
      h("pre", { class: "mask", tabindex: 0, role: "region", "aria-label": `Row ${i + 1}` }, row.pieces.map(piece)),
    ]));
  host.querySelector("h2").focus({ preventScroll: true });
  host.scrollIntoView({ block: "nearest" });
}

function piece({ text, label, value }) {
  if (label === "read") return document.createTextNode(text);
  const glyph = GLYPHS[label] ? h("b", {}, GLYPHS[label] + (label === "soft" && value !== null ? value.toFixed(2) : "")) : null;
  return h("span", { class: `m ${label}`, title: WORDS[label] }, text, glyph);
}
