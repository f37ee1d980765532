// The registry of checkpoints as a table: what made each model, from what, with which figures, and what it is used for.

import { get } from "./api.js";
import { h, number, when } from "./dom.js";
import { figureWord } from "./train-figures.js";

const FIRST = ["auc", "base_rate", "first_error_f1", "loss_before", "loss_after", "solved_before", "solved_after", "score_before", "score_after", "pairs_right"]; // the rest is on the job

export async function checkpointTable(host, kinds, open) {
  const found = await get("/api/checkpoints");
  const figure = (c) => FIRST.filter((k) => typeof c.figures[k] === "number").map((k) => `${figureWord(k)} ${number(c.figures[k], 3)}`).join(" · ") || "–";
  const key = JSON.stringify(found.map((c) => [c.job_id, c.in_use]));
  if (host.dataset.key === key) return; // a button that is replaced under the finger loses the click
  host.dataset.key = key;
  host.replaceChildren(found.length === 0 ? h("p", { class: "muted" }, "A finished job's model is listed here.") : h("div", { class: "table-scroll", tabindex: 0, role: "region", "aria-label": "Checkpoints" }, h("table", { class: "plain" },
    h("thead", {}, h("tr", {}, ["model", "made", "from", "base", "figures"].map((t) => h("th", { scope: "col" }, t)))),
    h("tbody", {}, found.map((c) => h("tr", {},
      h("th", { scope: "row" }, h("button", { type: "button", class: "linklike", onclick: () => open(c.job_id) }, kinds.get(c.kind)?.title ?? c.kind), h("small", { class: "muted" }, c.job_id), c.in_use ? h("span", { class: "wl-chip good" }, "✓ in use") : null),
      h("td", {}, when(c.made_at)), h("td", {}, ...(c.snapshot_id ? ["snapshot", h("small", { class: "muted" }, c.snapshot_id)] : [Object.keys(c.data).join(", ") || "questions of the game"])), h("td", {}, c.parent ?? c.base), h("td", { class: "figures" }, figure(c))))))));
}
