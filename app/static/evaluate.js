// The Evaluate page: start an evaluation, watch it, stop it, go on with it, delete it, and read what came of it. It belongs to the
// server. Below is the linear probe (probes.js).

import { me } from "./account.js";
import { get, poll, post } from "./api.js";
import { $, duration, h, notice, number, param, plural, say, setParams, when } from "./dom.js";
import { evaluationForm } from "./evaluate-form.js";
import { Results } from "./evaluate-results.js";
import { failures } from "./failures.js";
import { mountProbes } from "./probes.js";
import { drawRuns, dropRun, newest, once, stateChip } from "./runs.js";

const EVERY_MS = 2000;
const FIGURES_EVERY_MS = 4000; // figures of large pools take a second to make

export async function mount(root) {
  const at = (id) => $(`[data-id="${id}"]`, root);
  const notices = at("notices");
  let evals = [];
  let current = null; // {id, key, results, shownAt, shownDone}
  const failed = failures(notices);
  const asked = newest(() => get("/api/evals"));

  async function load() {
    const found = await asked();
    if (!found) return;
    evals = found;
    notice(notices, "list", "error", null);
    if (current && !evals.some((e) => e.eval_id === current.id)) {
      notice(notices, "gone", "warn", "The evaluation that was shown has been deleted.");
      forget();
    }
    drawRuns(at("list"), JSON.stringify([current?.id, evals.map((e) => [e.eval_id, e.state, e.done])]), evals.map(row), "Nothing has been evaluated yet.");
    if (!current) {
      const wanted = evals.find((e) => e.eval_id === param("eval")) ?? evals[0];
      if (param("eval") && !evals.some((e) => e.eval_id === param("eval"))) notice(notices, "gone", "warn", `There is no evaluation ${param("eval").slice(0, 40)} here.`);
      if (wanted) await show(wanted.eval_id, false);
      else nothing();
    }
    await draw();
  }

  function forget() {
    current = null;
    setParams({ eval: null });
  }

  function row(e) {
    const where = e.state === "running" ? `${number(e.done)} of ${number(e.total)}` : plural(e.problems, "problem");
    return h("li", {}, h("button", { type: "button", dataset: { key: e.eval_id }, "aria-current": current?.id === e.eval_id ? "true" : null, onclick: () => show(e.eval_id) },
      stateChip(e.state), h("span", { class: "grow" }, e.name, h("small", {}, `${when(e.created_at)} · ${where} · ${plural(e.cells.length, "cell")}`))));
  }

  function nothing() {
    at("new").open = true;
    at("right").replaceChildren(h("section", { class: "wl-card wl-empty" }, h("p", {}, "Choose problems, strategies and budgets, and see what each token buys: accuracy against cost, with intervals."),
      h("p", { class: "muted" }, "What is evaluated in the terminal (worldline eval) appears here as well.")));
  }

  /** Resolves when it is drawn. */
  function show(id, push = true) {
    if (current?.id === id) return;
    // A probe in the address stays there until the reader chooses an evaluation.
    if (push || !param("probe")) setParams({ eval: id, probe: null }, { push });
    const host = h("div", { class: "eval-results" });
    current = { id, key: "", results: new Results(host, { id, evals: () => evals, failed }), shownAt: 0, shownDone: -1 };
    at("right").replaceChildren(h("section", { class: "wl-card", "aria-label": "Evaluation" }, h("div", { class: "job-head", dataset: { id: "head" } }), h("p", { class: "muted", dataset: { id: "sub" } }),
      h("div", { class: "job-meter", role: "progressbar", "aria-label": "Progress", dataset: { id: "bar" } }, h("span", {})), h("div", { dataset: { id: "error" } })), host);
    return Promise.all([draw().catch((e) => failed("eval", e)), load().catch((e) => failed("list", e))]);
  }

  async function draw() {
    const mine = current;
    const e = evals.find((one) => one.eval_id === mine?.id);
    if (!e) return;
    const key = `${e.state} ${e.resumable}`;
    if (mine.key !== key) {
      mine.key = key;
      const act = (path, words, kind) => h("button", { type: "button", class: kind, onclick: (event) => command(path, event.target) }, words);
      const file = (name, words) => h("a", { class: "button secondary", href: `/api/evals/${e.eval_id}/files/${name}`, download: "" }, words);
      at("head").replaceChildren(h("h2", {}, e.name), stateChip(e.state), h("div", { class: "actions" },
        e.state === "running" ? act("stop", "Stop", "danger") : null, e.resumable ? act("resume", "Go on", "primary") : null,
        e.state !== "running" && (me.role === "admin" || e.created_by === me.rater_id) ? h("button", { type: "button", class: "secondary", onclick: (event) => drop(e, event.target) }, "Delete") : null, file("results.parquet", "Parquet"), file("report.md", "Report")));
    }
    const left = e.state === "running" ? (e.left_s === null ? " · time left not known yet" : ` · about ${duration(e.left_s)} left`) : "";
    at("sub").textContent = `${plural(e.problems, "problem")} of ${e.plan.problems} · ${number(e.done)} of ${plural(e.total, "search", "searches")} done · ${duration(e.seconds)}${left}${e.failed ? ` · ${number(e.failed)} broken off` : ""}`;
    const share = e.total ? e.done / e.total : 0;
    at("bar").setAttribute("aria-valuenow", Math.round(100 * share));
    at("bar").firstChild.style.width = `${100 * share}%`;
    if (at("error").textContent !== e.error) at("error").replaceChildren(e.error ? h("div", { class: `wl-notice ${e.state === "failed" ? "error" : "warn"}`, role: e.state === "failed" ? "alert" : null }, h("span", { class: "text" }, e.error)) : "");
    const ended = e.state !== "running";
    // What is being read is not taken from under the eyes, except for the last word.
    const due = e.done !== mine.shownDone && (ended || (Date.now() - mine.shownAt > FIGURES_EVERY_MS && !mine.results.inUse()));
    if (due || mine.shownDone < 0) {
      mine.shownAt = Date.now();
      mine.shownDone = e.done;
      await mine.results.load(e);
    }
  }

  const command = (path, button) => once(button, failed, async () => {
    await post(`/api/evals/${current.id}/${path}`);
    say(path === "stop" ? "The evaluation was stopped" : "The evaluation goes on");
    await load();
  });

  const drop = (e, button) => dropRun(button, failed, {
    what: "evaluation", words: `${e.name}: its results and its ${plural(e.done, "search", "searches")} go, for good. Traces that were kept from it stay.`, path: `/api/evals/${e.eval_id}`,
    gone: async () => {
      forget();
      await load();
      (at("list").querySelector("button") ?? $("summary", at("new"))).focus();
    },
  });

  addEventListener("popstate", () => param("eval") && show(param("eval"), false));
  addEventListener("resize", () => current?.results.resize());
  const probes = mountProbes(root, { evaluations: () => evals.filter((e) => e.state === "running").length });
  await evaluationForm(root, async (made) => {
    say("The evaluation has started");
    at("new").open = false;
    evals = [made, ...evals];
    show(made.eval_id);
    await load();
  });
  let arrive = await probes;
  poll(async () => {
    await load();
    arrive?.(); // once what stands above has its height
    arrive = null;
  }, EVERY_MS, (e) => failed("list", e));
}
