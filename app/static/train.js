// The Train page: start a job from a snapshot, watch its own metrics and log, stop, resume, put the result to use.

import { get, poll, post } from "./api.js";
import { lineChart } from "./chart.js";
import { checkpointTable } from "./checkpoints.js";
import { $, duration, h, interval, notice, number, param, say, setParams, when } from "./dom.js";
import { failures } from "./failures.js";
import { drawRuns, once, stateChip } from "./runs.js";
import { comparison } from "./train-compare.js";
import { startForm } from "./train-form.js";
import { figureWord, placeOf } from "./train-figures.js";
import { guardCharts } from "./train-guards.js";

const JOBS_EVERY_MS = 2500;
const METRICS_EVERY_MS = 1000;
const LOG_KEPT = 200_000; // characters

export async function mount(root) {
  const at = (id) => $(`[data-id="${id}"]`, root);
  const notices = at("notices");
  let current = null; // {id, rows, log, next, status, last}
  let jobs = [];
  const failed = failures(notices);
  let kinds = new Map();
  const title = (job) => kinds.get(job.kind)?.title ?? job.kind;
  const compared = new Set((param("compare") ?? "").split(",").filter(Boolean));
  const refreshComparison = comparison(at("compare"), (job) => `${title(job)} …${job.job_id.slice(-5)}`);

  // ---------------------------------------------------------------- the list

  async function loadJobs() {
    jobs = await get("/api/jobs");
    drawRuns(at("jobs"), JSON.stringify([current?.id, [...compared], jobs.map((j) => [j.job_id, j.state, j.step, j.in_use])]), jobs.map(jobRow), "No job has run yet.");
    const chosen = jobs.filter((j) => compared.has(j.job_id));
    at("compare").hidden = chosen.length < 2;
    if (chosen.length >= 2) await refreshComparison(chosen);
    await checkpointTable(at("checkpoints"), kinds, show);
    notice(notices, "jobs", "error", null);
    if (!current && (param("job") || jobs[0])) show(param("job") ?? jobs[0].job_id, false);
    if (!current) at("job").replaceChildren(h("p", { class: "muted pad" }, "A job's loss, log and figures appear here."));
  }

  function jobRow(job) {
    const where = job.state === "queued" && job.phase ? job.phase : `step ${number(job.step)} of ${number(job.total_steps)}`;
    return h("li", {}, h("button", { type: "button", dataset: { key: job.job_id }, "aria-current": current?.id === job.job_id ? "true" : null, onclick: () => show(job.job_id) },
      stateChip(job.state), h("span", { class: "grow" }, title(job), h("small", {}, `${when(job.started_at ?? job.created_at)} · ${where}`)),
      job.in_use ? h("span", { class: "wl-chip good" }, "in use") : null),
      h("label", { class: "tick", title: "Compare in one chart" }, h("input", { type: "checkbox", dataset: { key: `tick-${job.job_id}` }, checked: compared.has(job.job_id), "aria-label": `Compare ${title(job)} of ${when(job.created_at)}`, onchange: (e) => compare(job.job_id, e.target.checked) })));
  }

  function compare(id, wanted) {
    if (wanted) compared.add(id);
    else compared.delete(id);
    setParams({ compare: [...compared].join(",") || null });
    loadJobs().catch((e) => failed("jobs", e));
  }

  // ---------------------------------------------------------------- one job

  function show(id, push = true) {
    if (current?.id === id) return;
    current = { id, rows: [], log: "", next: 0, status: null, drawn: "" };
    setParams({ job: id }, { push });
    at("job").replaceChildren(
      h("div", { class: "job-head", dataset: { id: "head" } }), h("div", { dataset: { id: "sub" } }), h("div", { class: "job-meter", role: "progressbar", "aria-label": "Progress", dataset: { id: "bar" } }, h("span", {})),
      h("div", { class: "figures", dataset: { id: "figures" } }), h("div", { dataset: { id: "chart" } }, h("p", { class: "muted" }, "Waiting for the first step …")), h("div", { class: "small-charts", dataset: { id: "guards" } }),
      h("h2", {}, "Log"), h("pre", { class: "log", tabindex: 0, "aria-label": "Log of the job", dataset: { id: "log" } }, ""));
    loadJobs().catch((e) => failed("jobs", e));
    follow().catch((e) => failed("job", e));
  }

  async function follow() {
    const job = current;
    if (!job || (job.status && job.settled)) return;
    const from = job.next;
    const [metrics, log] = await Promise.all([
      get(`/api/jobs/${encodeURIComponent(job.id)}/metrics?after=${job.rows.at(-1)?.step ?? -1}`),
      get(`/api/jobs/${encodeURIComponent(job.id)}/log?after=${from}`),
    ]);
    if (current !== job) return;
    if (job.status?.state !== metrics.status.state) loadJobs().catch((e) => failed("jobs", e)); // the list says the same as the card
    job.status = metrics.status;
    const known = job.rows.at(-1)?.step ?? -1;
    job.rows.push(...metrics.rows.filter((r) => r.step > known));
    if (job.next === from) { // else the clock's own call was answered first, with the same lines
      job.log = (job.log + log.text).slice(-LOG_KEPT);
      job.next = log.next;
    }
    // Once more after the end, so that the last lines are there too.
    job.settled = job.ended && !log.text && !metrics.rows.length;
    job.ended = !["queued", "running", "stopping"].includes(job.status.state);
    draw(job, metrics.rows.length > 0);
    notice(notices, "job", "error", null);
  }

  function draw(job, moved) {
    const { status } = job;
    const act = (path, words, kindOf = "secondary") => h("button", { type: "button", class: kindOf, onclick: (e) => command(path, e.target) }, words);
    const actions = [];
    if (["queued", "running"].includes(status.state)) actions.push(act("stop", "Stop", "danger"));
    if (["stopped", "failed"].includes(status.state) && status.resumable !== false) actions.push(act("resume", "Resume"));
    if (status.state === "done" && kinds.get(status.kind)?.used_as !== "file") {
      if (status.in_use) actions.push(h("span", { class: "wl-chip good" }, "✓ in use"));
      if (!status.in_use) actions.push(act("use", "Use in workbench", "primary"));
      else if (status.again) actions.push(act("use", "Put to use again")); // the server may have other weights by now
    }
    // Buttons are remade only when something changed: a button that is replaced under the finger loses the click.
    const key = `${status.state} ${status.in_use} ${status.again} ${status.resumable}`;
    if (job.drawn !== key) {
      job.drawn = key;
      at("head").replaceChildren(h("h2", {}, title(status)), stateChip(status.state), h("span", { class: "muted" }, status.snapshot_id ? `from snapshot ${status.snapshot_id}` : "without a snapshot"), h("div", { class: "actions" }, actions));
    }
    const left = status.state === "running" && status.eta_s !== null && status.eta_s !== undefined ? ` · ${duration(status.eta_s)} left` : "";
    at("sub").replaceChildren(h("span", {}, `Step ${number(status.step)} of ${number(status.total_steps)} · ${duration(status.seconds)}${left}${["running", "queued"].includes(status.state) && status.phase ? ` · ${status.phase}` : ""}`),
      status.error ? h("p", { class: "wl-notice error", role: "alert" }, h("span", { class: "text" }, status.error)) : "");
    const share = status.total_steps ? Math.min(1, status.step / status.total_steps) : 0;
    at("bar").setAttribute("aria-valuenow", Math.round(share * 100));
    at("bar").firstChild.style.width = `${share * 100}%`;
    at("figures").replaceChildren(...figures(status.figures ?? {}));
    if (moved || (job.rows.length && !at("chart").querySelector("svg"))) lineChart(at("chart"), job.rows, { total: status.total_steps });
    else if (!job.rows.length && job.ended) at("chart").replaceChildren(h("p", { class: "muted" }, "This job has written no step."));
    if (moved || !at("guards").childElementCount) guardCharts(at("guards"), job.rows, status.total_steps);
    const box = at("log");
    const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 30;
    if (box.textContent !== job.log) {
      box.textContent = job.log || "(nothing yet)";
      if (atEnd) box.scrollTop = box.scrollHeight;
    }
  }

  const command = (path, button) => once(button, failed, async () => {
    const answer = await post(`/api/jobs/${encodeURIComponent(current.id)}/${path}`);
    if (path === "use") {
      notice(notices, "use", "good", answer.scorer ? "This reward model is in use now: its scores appear on traces on the Solve page, and on the Rate page after a trace is submitted." : `The fine-tuned model can be chosen on the Solve page now. ${answer.note}`,
        h("a", { class: "button secondary", href: answer.model ? `/ui/?model=${encodeURIComponent(answer.model)}` : "/ui/" }, "Go to Solve"));
    }
    current.settled = false;
    current.ended = false;
    await follow();
    await loadJobs();
  });

  addEventListener("popstate", () => param("job") && show(param("job"), false));
  addEventListener("resize", () => current?.rows.length && lineChart(at("chart"), current.rows, { total: current.status?.total_steps }));
  kinds = await startForm(root, async (job) => {
    say(job.state === "queued" ? "The job waits for its turn" : "The job has started");
    await loadJobs();
    show(job.job_id);
  });
  poll(loadJobs, JOBS_EVERY_MS, (e) => failed("jobs", e));
  poll(follow, METRICS_EVERY_MS, (e) => failed("job", e));
}

/** Numbers large, sentences as they are, an interval as "0.81 to 0.94", warnings as warnings. */
function figures(found) {
  const numbers = [];
  const lines = [];
  for (const [name, value] of Object.entries(found).sort((a, b) => placeOf(a[0]) - placeOf(b[0]))) {
    const label = figureWord(name);
    if (typeof value === "number") numbers.push(h("div", {}, h("b", {}, Number.isInteger(value) ? number(value) : value.toFixed(3)), h("span", {}, label)));
    else if (interval(value)) numbers.push(h("div", {}, h("b", {}, interval(value)), h("span", {}, label)));
    else if (Array.isArray(value)) lines.push(...value.map((v) => h("li", {}, `! ${v}`)));
    else if (typeof value === "string") lines.push(h("li", {}, `${label}: ${value}`));
  }
  return [...numbers, lines.length ? h("ul", { class: "warnings full" }, lines) : null].filter(Boolean);
}
