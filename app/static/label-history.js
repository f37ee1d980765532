// Everything that was ever done to one label, as a table: on Quality, Rate and Solve. Names or letters, as the server tells them.

import { get } from "./api.js";
import { duration, h, when } from "./dom.js";
import { shownValue } from "./judged-values.js";

const SAID_CHARS = 60; // a longer text is no chip

/** item: a trace's or pair's id; step: its place, null for the whole; queue: null for all of them. */
export function readHistory(item, step, queue = null) {
  return get(`/api/quality/history?${new URLSearchParams({ item, ...(queue === null ? {} : { queue }), ...(step === null ? {} : { step }) })}`);
}

export function historyTable(events) {
  const queues = new Set(events.map((e) => e.queue_id)).size > 1;
  const heads = ["When", "Who", ...(queues ? ["Queue"] : []), "What", "Value", "How", "After", "Scores in sight"];
  if (!events.length) return h("p", { class: "muted" }, "Nothing was ever said of it.");
  const line = (e) => h("tr", {}, h("td", {}, when(e.at)), h("td", {}, e.rater), queues ? h("td", {}, e.queue_id) : null, h("td", {}, e.dimension ? `${e.action} ${e.dimension.replaceAll("_", " ")}` : e.action), h("td", {}, e.action === "set" && (e.value_text ?? "").length <= SAID_CHARS ? valueChip(e.dimension, e.value, e.value_text) : e.value_text ?? ""),
    h("td", {}, e.input_method || "–"), h("td", { class: "n" }, e.dwell_ms === null ? "–" : duration(e.dwell_ms / 1000)), h("td", {}, e.prelabel_visible ? "yes" : "no"));
  return h("div", { class: "table label-history", tabindex: "0", role: "region", "aria-label": "History of this label" }, h("table", {}, h("thead", {}, h("tr", {}, heads.map((t) => h("th", { scope: "col" }, t)))), h("tbody", {}, events.map(line))));
}

export function valueChip(dimension, value, text, before = "") {
  const [glyph, word, tone] = shownValue(dimension, value, text);
  return h("span", { class: `wl-chip ${tone}`, title: word }, `${before}${glyph} ${word.length > SAID_CHARS ? `${word.slice(0, SAID_CHARS)}…` : word}`);
}
