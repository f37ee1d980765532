// The list of recent runs, searches and traces. Knows no run in detail: `open(link)` shows one, `current()` tells which is on screen.

import { get } from "./api.js";
import { h, plural, when } from "./dom.js";
import { outcomeMark } from "./worldlines.js";

const SHOWN = 12;

/** Returns load(): ask the server and draw. */
export function recentRuns(host, { open, current }) {
  let drawn = null; // what the list was made of: asked for all the time, it is made anew only when something has changed
  const row = (item) => {
    const query = item.link.search ? `?search=${encodeURIComponent(item.link.search)}` : item.link.run ? `?run=${encodeURIComponent(item.link.run)}` : `?trace=${encodeURIComponent(item.link.trace)}`;
    const clicked = (event) => {
      event.preventDefault();
      open(item.link);
    };
    return h("li", {}, h("a", { href: query, onclick: clicked, "aria-current": item.trace_id === current() ? "true" : null },
      outcomeMark(item), h("span", { class: "prompt" }, item.prompt),
      h("span", { class: "muted count" }, item.nodes === undefined ? `${plural(item.steps ?? 0, "step")}, ${plural(item.backtracks ?? 0, "backtrack")}` : `${item.strategy}, ${plural(item.nodes, "node")}`),
      h("span", { class: "muted" }, item.model), h("span", { class: "muted time" }, when(item.started_at))));
  };
  return async () => {
    const [runs, kept, searches] = await Promise.all([get("/api/runs"), get(`/api/traces?limit=${SHOWN}`), get(`/api/searches?limit=${SHOWN}`)]);
    const rows = new Map();
    for (const r of runs) rows.set(r.trace_id, { ...r, link: { run: r.run_id } });
    for (const t of kept.traces) {
      if (rows.has(t.trace_id)) rows.get(t.trace_id).solved = t.solved;
      else rows.set(t.trace_id, { trace_id: t.trace_id, prompt: t.prompt, model: t.model, state: "done", steps: t.n_steps, backtracks: t.n_backtracks, solved: t.solved, started_at: t.created_at, link: { trace: t.trace_id } });
    }
    // A search stands for the trace that it chose.
    for (const s of searches) {
      rows.delete(s.trace_id);
      rows.set(s.search_id, { trace_id: s.search_id, prompt: s.prompt, model: s.model, state: s.state, strategy: s.strategy, nodes: s.nodes, solved: s.right, started_at: s.created_at, link: { search: s.search_id } });
    }
    const newest = [...rows.values()].sort((a, b) => (a.started_at < b.started_at ? 1 : -1)).slice(0, SHOWN);
    const now = JSON.stringify([newest, current()]);
    if (now === drawn) return;
    drawn = now;
    const focused = host.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    host.replaceChildren(newest.length ? h("ul", { class: "recent" }, newest.map(row)) : h("p", { class: "muted" }, "Nothing has run yet."));
    if (focused) [...host.querySelectorAll("a")].find((a) => a.getAttribute("href") === focused)?.focus({ preventScroll: true });
  };
}
