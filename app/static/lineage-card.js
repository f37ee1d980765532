// The lineage card: what a thing was made from and what became of it; every id leads one step on. The address keeps which.

import { ApiError, get } from "./api.js";
import { words } from "./data-parts.js";
import { h, number, param, setParams, when } from "./dom.js";

const GLYPHS = { job: "⚙", export: "↓", snapshot: "❄", trace: "≡", assignment: "✎", rating: "•" };
const SHOWN = 12; // of one direction, before "show more"
const AT_ONCE = 500;
const TIME = /^\d{4}-\d\d-\d\dT/;

export function mountLineage(at) {
  const out = at("lineage-result");
  const input = at("lineage-id");
  let turn = 0;

  at("lineage").addEventListener("submit", (event) => {
    event.preventDefault();
    if (input.value.trim()) show(input.value.trim(), false);
  });

  async function show(id, scroll = true) {
    const mine = ++turn;
    at("lineage-card").open = true;
    input.value = id;
    out.setAttribute("aria-busy", "true");
    if (scroll) at("lineage-card").scrollIntoView({ block: "start" });
    try {
      const found = await get(`/api/lineage/${encodeURIComponent(id.split("/").filter(Boolean).at(-1) ?? id)}`);
      if (mine !== turn) return;
      setParams({ lineage: found.node.id });
      out.replaceChildren(
        h("div", { class: "thing" }, line(found.node, false)),
        direction(`Made from ${number(found.n_made_from)}`, found.made_from, found.n_made_from, "Nothing that is kept here.",
          async (after) => (await get(`/api/lineage/${encodeURIComponent(found.node.id)}?after=${after}`)).made_from),
        direction("Became", found.became, found.became.length, "Nothing in this data folder has been made of it yet."));
    } catch (error) {
      if (!(error instanceof ApiError)) console.error(error);
      if (mine === turn) out.replaceChildren(h("p", { class: "wl-notice error", role: "alert" }, error.message));
    } finally {
      if (mine === turn) out.removeAttribute("aria-busy");
    }
  }

  /** One way: some nodes, and a button for more, of which the server is asked where there are more than it told (`ask`). */
  function direction(title, nodes, n, empty, ask = null) {
    const list = h("ul", { class: "lineage" });
    let shown = 0;
    const more = h("button", { type: "button", class: "secondary", onclick: () => further().catch((error) => more.replaceWith(h("p", { class: "wl-notice error", role: "alert" }, error.message))) });
    const put = (upTo) => {
      list.append(...nodes.slice(shown, upTo).map((node) => h("li", {}, line(node))));
      shown = Math.min(upTo, nodes.length);
      more.textContent = `Show ${number(Math.min(AT_ONCE, n - shown))} more`;
      more.hidden = shown >= n;
    };
    const further = async () => {
      more.disabled = true;
      if (shown === nodes.length) nodes.push(...(await ask(shown)));
      if (shown === nodes.length) n = shown; // it became less meanwhile
      put(shown + AT_ONCE);
      more.disabled = false;
    };
    put(SHOWN);
    return h("div", { class: "direction" }, h("h3", {}, title), nodes.length ? list : h("p", { class: "muted" }, empty), more);
  }

  function line(node, leads = true) {
    const facts = Object.entries(node.facts).filter(([, v]) => v !== null && v !== "" && !node.title.includes(String(v))).map(fact);
    const name = h("span", {}, `${GLYPHS[node.kind] ?? "•"} ${node.kind} `, h("b", {}, node.title));
    const linked = leads && node.kind !== "export";
    return h("div", { class: "node" }, linked ? h("button", { type: "button", class: "quiet", onclick: () => show(node.id, false) }, name) : name,
      node.kind === "trace" ? h("a", { href: `/ui/?trace=${encodeURIComponent(node.id)}` }, "open") : null,
      node.kind === "job" ? h("a", { href: `/ui/train?job=${encodeURIComponent(node.id)}` }, "open") : null,
      h("small", { class: "muted" }, [node.id, ...facts].join(" · ")));
  }

  function fact([name, value]) {
    if (typeof value === "number") return `${words(name)} ${number(value)}`;
    if (TIME.test(value)) return `${words(name.replace(/_?at$/, ""))} ${when(value)}`.trim();
    return `${words(name)} ${/^[0-9a-f]{40,}\+?$/.test(value) ? value.slice(0, 12) : value}`;
  }

  if (param("lineage")) show(param("lineage"), false);
  return { show };
}
