// The Quality page: which queue and what was judged, the disputes (disputes.js) and the reports (quality-reports.js) of it.
// Reports over a large queue are computed in the background: what is shown is dated, and asked for again until it is fresh.

import { me } from "./account.js";
import { get, poll } from "./api.js";
import { Disputes } from "./disputes.js";
import { $, h, notice, param, setParams, when } from "./dom.js";
import { failures } from "./failures.js";
import { DIMENSIONS } from "./judged-values.js";
import { Reports } from "./quality-reports.js";

const REFRESH_MS = 5000;

export async function mount(root) {
  const at = (id) => $(`[data-id="${id}"]`, root);
  const notices = at("notices");
  const tell = failures(notices);
  const failed = (error) => tell("quality", error);
  const queues = await get("/api/queues?archived=true"); // ratings that came from elsewhere are in closed ones
  at("queue").replaceChildren(...queues.map((q) => h("option", { value: q.queue_id }, `${q.title || q.queue_id}${q.archived ? " (closed)" : ""}`)));
  if (queues.some((q) => q.queue_id === param("queue"))) at("queue").value = param("queue");
  const unit = () => queues.find((q) => q.queue_id === at("queue").value)?.unit ?? "trace";
  const chosen = () => ({ queue: at("queue").value, dimension: at("dimension").value });

  function drawDimensions() {
    const fitting = DIMENSIONS.filter(([name]) => (name === "preference") === (unit() === "pair"));
    at("dimension").replaceChildren(...fitting.map(([name, words]) => h("option", { value: name }, words)));
    if (fitting.some(([name]) => name === param("dimension"))) at("dimension").value = param("dimension");
  }

  const disputes = new Disputes(at, root, { chosen, failed });
  const mayReports = ["researcher", "admin"].includes(me.role);
  const reports = mayReports ? new Reports(at, { chosen, failed, mayPause: me.role === "admin" }) : null;
  at("reports").hidden = !mayReports;

  async function load() {
    const dated = await disputes.load();
    await reports?.load();
    notice(notices, "quality", "error", null);
    at("dated").textContent = !dated.computed_at ? "Being computed …" : dated.fresh ? `As of ${when(dated.computed_at)}` : `As of ${when(dated.computed_at)}; newer judgements are being counted`;
  }

  function changed() {
    setParams({ queue: at("queue").value, dimension: at("dimension").value });
    disputes.forget();
    load().catch(failed);
  }
  at("queue").addEventListener("change", () => {
    drawDimensions();
    changed();
  });
  at("dimension").addEventListener("change", changed);
  drawDimensions();
  await load().catch(failed);
  poll(load, REFRESH_MS, failed);
}
