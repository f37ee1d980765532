// The linear probe on the Evaluate page: start one, watch it, stop it, delete it, and what earlier ones found. Probes belong to the server.

import { me } from "./account.js";
import { get, poll, post } from "./api.js";
import { $, h, notice, param, plural, say, setParams, when } from "./dom.js";
import { failures } from "./failures.js";
import { probeForm } from "./probe-form.js";
import { ProbeView, shortWords, titleOf } from "./probe-result.js";
import { drawRuns, dropRun, newest, once, stateChip } from "./runs.js";

const EVERY_MS = 1500;

/** evaluations(): how many are at work, which disturbs the times. Returns arrive(), which brings a probe of the address into sight. */
export async function mountProbes(root, { evaluations }) {
  const at = (id) => $(`[data-id="${id}"]`, root);
  const notices = at("notices");
  const list = at("probe-list");
  let probes = [];
  let current = null; // {id, view, key}
  let wait = () => {};
  const failed = failures(notices, "probe-");
  const asked = newest(() => get("/api/probes"));

  async function load() {
    const found = await asked();
    if (!found) return;
    probes = found;
    notice(notices, "probe-list", "error", null);
    if (current && !probes.some((p) => p.probe_id === current.id)) {
      notice(notices, "probe-gone", "warn", "The probe that was shown has been deleted.");
      forget();
    }
    if (!current && probes.length) show((probes.find((p) => p.probe_id === param("probe")) ?? probes[0]).probe_id);
    drawList(); // marks the one that is shown
    if (!probes.length) nothing();
    const runs = probes.some((p) => p.state === "running");
    const busy = evaluations();
    wait(runs ? "A probe is running; two at once would measure each other." : busy ? `${plural(busy, "evaluation is", "evaluations are")} at work, which disturbs the times.` : "", runs);
    await draw();
  }

  function drawList() {
    const row = (p) => h("li", {}, h("button", { type: "button", dataset: { key: p.probe_id }, "aria-current": current?.id === p.probe_id ? "true" : null, onclick: () => choose(p.probe_id) },
      stateChip(p.state), h("span", { class: "grow" }, titleOf(p), h("small", {}, `${when(p.created_at)} · ${shortWords(p)}`))));
    drawRuns(list, JSON.stringify([current?.id, probes.map((p) => [p.probe_id, p.state, p.done])]), probes.map(row), "Nothing has been probed yet.");
  }

  function nothing() {
    if (at("probe-right").dataset.empty) return;
    at("probe-right").dataset.empty = "yes";
    at("probe-new").open = true;
    at("probe-right").replaceChildren(h("section", { class: "wl-card wl-empty" }, h("p", {}, "A model is asked questions with answers from a word to thousands of tokens long, one at a time: does its time grow as its tokens do?"),
      h("p", { class: "muted" }, "The verdict is linear (one stream), sub-linear (a search in parallel), or that these answers cannot tell.")));
  }

  /** The reader's choice is in the address; what is shown for want of one is not. */
  function choose(id) {
    setParams({ probe: id, eval: null }, { push: true });
    show(id);
    drawList();
    draw().catch((error) => failed("one", error));
  }

  function show(id) {
    if (current?.id === id) return;
    const host = h("div", {});
    current = { id, key: "", view: new ProbeView(host, { actions }) };
    delete at("probe-right").dataset.empty;
    at("probe-right").replaceChildren(host);
  }

  function forget() {
    current = null;
    setParams({ probe: null });
  }

  async function draw() {
    const mine = current;
    const row = probes.find((p) => p.probe_id === mine?.id);
    if (!row) return;
    const key = `${row.state} ${row.done}`;
    if (mine.key === key) {
      mine.view.tick(row);
      return;
    }
    const whole = await get(`/api/probes/${row.probe_id}`);
    if (mine !== current) return;
    if (mine.key && row.state !== "running" && mine.key.startsWith("running")) say(`The probe of ${titleOf(row)}: ${shortWords(row)}`);
    mine.key = `${whole.state} ${whole.points.length}`;
    mine.view.draw(whole);
  }

  function actions(probe) {
    if (probe.state === "running") return [h("button", { type: "button", class: "danger", onclick: (event) => stop(probe, event.target) }, "Stop")];
    if (me.role !== "admin" && probe.created_by !== me.rater_id) return [];
    return [h("button", { type: "button", class: "secondary", onclick: (event) => drop(probe, event.target) }, "Delete")];
  }

  const stop = (probe, button) => once(button, failed, async () => {
    await post(`/api/probes/${probe.probe_id}/stop`);
    await load();
  });

  const drop = (probe, button) => dropRun(button, failed, {
    what: "probe", words: `${titleOf(probe)}, ${when(probe.created_at)}: its ${plural(probe.done, "answer")} and its verdict go, for good.`, path: `/api/probes/${probe.probe_id}`,
    gone: async () => {
      forget();
      await load();
      (list.querySelector("button") ?? $("summary", at("probe-new"))).focus();
    },
  });

  /** A link into the page would be followed by the shell, which draws the page anew. */
  function come() {
    at("probes").scrollIntoView({ block: "start" });
    $("h2", at("probes")).focus({ preventScroll: true });
  }

  at("to-probes").addEventListener("click", come);
  addEventListener("popstate", () => probes.some((p) => p.probe_id === param("probe")) && (show(param("probe")), load().catch((error) => failed("list", error))));
  addEventListener("resize", () => current?.view.resize());
  wait = await probeForm(root, async (made) => {
    say("The probe has started");
    at("probe-new").open = false;
    probes = [made, ...probes];
    choose(made.probe_id);
    await load();
  });
  const wanted = param("probe");
  try {
    await load();
    if (wanted && !probes.some((p) => p.probe_id === wanted)) notice(notices, "probe-gone", "warn", `There is no probe ${wanted.slice(0, 40)} here.`);
  } catch (error) {
    failed("list", error);
  }
  poll(load, EVERY_MS, (error) => failed("list", error));
  return () => wanted && current?.id === wanted && come();
}
