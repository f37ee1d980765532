// The Data page: counts, import, freeze, export. Everything it shows comes from /api and is asked for again when it may have
// changed.

import { get, poll, post } from "./api.js";
import { counter, histogram, table, warnings } from "./data-parts.js";
import { openExport } from "./export-card.js";
import { failures } from "./failures.js";
import { mountImport } from "./import-card.js";
import { mountLineage } from "./lineage-card.js";
import { mountSql } from "./sql-card.js";
import { $, h, notice, number, plural, say, setParams, param, when } from "./dom.js";

const REFRESH_MS = 5000;

export async function mount(root) {
  const at = (id) => $(`[data-id="${id}"]`, root);
  const notices = at("notices");
  const failed = failures(notices);

  // ---------------------------------------------------------------- counts

  async function loadStats() {
    const stats = await get("/api/stats");
    const tile = (value, words) => h("div", { class: "tile" }, h("b", {}, number(value)), h("span", {}, words));
    at("tiles").replaceChildren(tile(stats.traces, "traces"), tile(stats.steps, "steps"), tile(stats.ratings, "step ratings"), tile(stats.submitted, "submitted by raters"));
    at("labels").replaceChildren(histogram(stats.rating_histogram, stats.ratings ? "" : "Nothing is rated yet. The Rate page hands out traces."));
    at("by-rater").replaceChildren(table(["Rater", "n:Step ratings", "n:Submitted"], stats.by_rater.map((r) => [r.rater_id, number(r.ratings), number(r.submitted)]), "Nobody has rated yet."));
    at("by-model").replaceChildren(table(["Model", "n:Traces", "n:Steps", "n:Solved"], stats.by_model.map((m) => [m.model || "(not named)", number(m.traces), number(m.steps), m.checked ? `${number(m.solved)} of ${number(m.checked)}` : "–"]), "There are no traces yet: run one on the Solve page, or import some."));
    choices(at("freeze-rater"), stats.by_rater.map((r) => r.rater_id));
    choices(at("freeze-model"), stats.by_model.map((m) => m.model).filter(Boolean));
    notice(notices, "stats", "error", null);
  }

  function choices(select, names) {
    const now = select.value;
    if (select.options.length === names.length + 1) return;
    select.replaceChildren(h("option", { value: "" }, "all"), ...names.map((n) => h("option", { value: n }, n)));
    select.value = names.includes(now) ? now : "";
  }

  mountImport(at, () => {
    refresh();
    loadTraces(true);
  });

  // ---------------------------------------------------------------- freeze

  const spec = () => ({ ...(at("freeze-rater").value ? { raters: [at("freeze-rater").value] } : {}), ...(at("freeze-model").value ? { models: [at("freeze-model").value] } : {}) });

  async function loadPreview() {
    const found = await post("/api/snapshots/preview", { spec: spec() });
    if (!found.computed_at) {
      at("preview").replaceChildren(h("p", { class: "muted" }, "Being counted …"));
      return;
    }
    at("preview").replaceChildren(h("div", { class: "preview" },
      found.fresh ? null : h("p", { class: "muted" }, `As of ${when(found.computed_at)}; something was rated since, and is counted with the next look. What is frozen is what there is then.`),
      h("dl", { class: "counters" }, counter("Traces", found.n_traces), counter("Rows (trace × rater)", found.n_rows), counter("Steps", found.n_steps), found.n_pairs ? counter("Comparisons", found.n_pairs) : null),
      found.n_rows ? histogram(found.histogram, "") : null,
      warnings(found.warnings, "Nothing to warn of.")));
    at("freeze-go").disabled = found.n_rows + found.n_pairs === 0;
    at("freeze-go").title = found.n_rows + found.n_pairs === 0 ? "There is nothing submitted to freeze." : "";
  }

  at("freeze").addEventListener("change", () => loadPreview().catch((e) => failed("preview", e)));
  at("freeze").addEventListener("submit", async (event) => {
    event.preventDefault();
    at("freeze-go").disabled = true;
    try {
      const made = await post("/api/snapshots", { spec: spec(), name: at("freeze-name").value });
      notice(notices, "freeze", "good", `Frozen: ${made.name || made.snapshot_id}, ${plural(made.n_rows, "row")}, ${plural(made.n_steps, "step")}.`);
      at("freeze-name").value = "";
      await loadSnapshots();
    } catch (error) {
      failed("freeze", error);
    } finally {
      at("freeze-go").disabled = false;
    }
  });

  // ---------------------------------------------------------------- snapshots and exports

  let formats = [];
  let shown = null;
  const sql = mountSql(at);
  const lineage = mountLineage(at);

  async function loadSnapshots() {
    const found = await get("/api/snapshots");
    const ids = found.map((s) => s.snapshot_id).join();
    if (ids === shown) return;
    const open = new Map([...at("snapshots").querySelectorAll(".snapshot")].map((e) => [e.dataset.snapshot, e.querySelector(".export")]));
    shown = ids;
    sql.snapshots(found.filter((s) => !s.error));
    at("snapshots").replaceChildren(...(found.length ? found.map((s) => snapshotRow(s, open.get(s.snapshot_id))) : [h("p", { class: "muted" }, "Nothing is frozen yet.")]));
  }

  function snapshotRow(info, panel) {
    const row = h("div", { class: "snapshot", dataset: { snapshot: info.snapshot_id } },
      h("div", { class: "head" },
        h("b", {}, info.name || "(no name)"), h("span", { class: "muted" }, when(info.created_at)),
        info.error ? h("span", { class: "wl-chip bad" }, "✗ cannot be read") : h("span", {}, `${plural(info.n_rows, "row")} · ${plural(info.n_steps, "step")}${info.n_pairs ? ` · ${plural(info.n_pairs, "comparison")}` : ""}`),
        info.error ? null : h("span", { class: "hash", title: `id ${info.snapshot_id}, sha256 ${info.sha256}` }, `sha256 ${info.sha256.slice(0, 12)}`),
        info.error ? null : h("div", { class: "actions" },
          h("button", { type: "button", class: "secondary", onclick: () => openExport(row, info, formats) }, "Export …"),
          h("button", { type: "button", class: "secondary", onclick: () => sql.open(info.snapshot_id) }, "Ask in SQL"),
          h("button", { type: "button", class: "secondary", onclick: () => lineage.show(info.snapshot_id) }, "Lineage"),
          h("a", { class: "button secondary", href: `/ui/train?snapshot=${encodeURIComponent(info.snapshot_id)}` }, "Train on it"))),
      info.error ? h("p", { class: "muted" }, info.error) : null);
    if (panel) row.append(panel);
    return row;
  }

  // ---------------------------------------------------------------- traces

  let nextPage = null;
  async function loadTraces(fresh) {
    const query = new URLSearchParams({ limit: "20" });
    if (param("q")) query.set("q", param("q"));
    if (!fresh && nextPage) query.set("after", nextPage);
    try {
      const page = await get(`/api/traces?${query}`);
      nextPage = page.next;
      const rows = page.traces.map((t) => [
        h("a", { href: `/ui/?trace=${encodeURIComponent(t.trace_id)}`, title: t.prompt }, t.prompt), number(t.n_steps), number(t.n_backtracks), h("span", { class: "nowrap" }, t.solved === true ? "✓ solved" : t.solved === false ? "✗ not solved" : "–"), number(t.n_submitted),
        t.model || "–", when(t.created_at), h("a", { href: `/ui/rate?trace=${encodeURIComponent(t.trace_id)}` }, "rate"),
      ]);
      const old = fresh ? null : at("traces").querySelector("tbody");
      const made = table(["Question", "n:Steps", "n:Backtracks", "Checked", "n:Raters", "Model", "n:When", "Open"], rows, param("q") ? "No question contains this text." : "There are no traces yet.");
      made.classList.add("wide");
      made.querySelectorAll("tr td:first-child").forEach((cell) => cell.classList.add("prompt"));
      if (old) old.append(...made.querySelectorAll("tbody tr"));
      else at("traces").replaceChildren(made);
      at("traces").querySelector(".more")?.remove();
      if (nextPage) at("traces").append(h("button", { type: "button", class: "secondary more", onclick: () => loadTraces(false) }, "More"));
    } catch (error) {
      failed("traces", error);
    }
  }

  at("search").addEventListener("submit", (event) => {
    event.preventDefault();
    setParams({ q: at("q").value.trim() });
    loadTraces(true);
  });

  // ---------------------------------------------------------------- start

  async function refresh() {
    try {
      await loadStats();
      await Promise.all([loadPreview(), loadSnapshots()]);
    } catch (error) {
      failed("stats", error);
    }
  }
  at("q").value = param("q") ?? "";
  formats = await get("/api/export-formats").catch((error) => (failed("formats", error), []));
  await loadTraces(true);
  poll(refresh, REFRESH_MS);
}
