// Several jobs in one chart: a line each, told apart by colour, dash and name. Takes jobs and their rows; knows no list and no form.

import { get } from "./api.js";
import { linesChart } from "./chart.js";
import { h, interval } from "./dom.js";
import { figureWord, placeOf } from "./train-figures.js";

const WHAT = { loss: "Loss", grad_norm: "Norm of the gradient", lr: "Learning rate", tokens_per_s: "Tokens a second" };

/** Draws into `host`; `refresh(jobs)` fetches what is new of each job, `names(job)` says how to call it. */
export function comparison(host, name) {
  const rows = new Map(); // job id -> rows
  let what = "loss";
  let shown = [];
  const chart = h("div", { class: "compare-chart" });
  const table = h("div", { class: "table-scroll", tabindex: 0, role: "region", "aria-label": "Figures of the compared jobs" });
  const select = h("select", { "aria-label": "What the chart shows", onchange: (e) => { what = e.target.value; draw(); } }, Object.entries(WHAT).map(([key, words]) => h("option", { value: key }, words)));
  host.replaceChildren(h("div", { class: "job-head" }, h("h2", {}, "Compared jobs"), h("div", { class: "actions" }, select)), chart, table);

  function draw() {
    linesChart(chart, shown.map((job) => ({ name: name(job), rows: rows.get(job.job_id) ?? [] })), { y: what, label: WHAT[what] });
    const keys = [...new Set(shown.flatMap((job) => Object.entries(job.figures).filter(([, v]) => typeof v === "number" || interval(v)).map(([k]) => k)))].sort((a, b) => placeOf(a) - placeOf(b));
    table.replaceChildren(h("table", { class: "plain" },
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "figure"), shown.map((job) => h("th", { scope: "col" }, name(job))))),
      h("tbody", {}, keys.map((key) => h("tr", {}, h("th", { scope: "row" }, figureWord(key)), shown.map((job) => h("td", {}, job.figures[key] === undefined ? "–" : interval(job.figures[key]) ?? String(job.figures[key]))))))));
  }

  return async function refresh(jobs) {
    shown = jobs;
    await Promise.all(jobs.map(async (job) => {
      const known = rows.get(job.job_id) ?? [];
      const found = await get(`/api/jobs/${encodeURIComponent(job.job_id)}/metrics?after=${known.at(-1)?.step ?? -1}`);
      rows.set(job.job_id, [...known, ...found.rows.filter((r) => r.step > (known.at(-1)?.step ?? -1))]);
    }));
    draw();
  };
}
