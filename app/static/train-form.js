// The form that starts a job: kind, snapshot, size, changes; the resolved recipe before anything runs. Knows no job that runs.

import { get, post } from "./api.js";
import { $, h, param, plural, when } from "./dom.js";
import { maskedRows } from "./train-masks.js";

export async function startForm(root, started) {
  const at = (id) => $(`[data-id="${id}"]`, root);
  const { kinds, sizes } = await get("/api/jobs/kinds");
  const kind = () => kinds.find((k) => k.name === root.querySelector("[name=kind]:checked")?.value) ?? kinds[0];
  at("kinds").append(...kinds.map((k, i) => h("label", { class: "pick" }, h("input", { type: "radio", name: "kind", value: k.name, checked: i === 0 }), h("span", {}, h("b", {}, `${k.title} (${k.name})`), h("small", {}, k.does)))));
  at("size").append(...sizes.map((s) => h("option", { value: s }, s)));

  async function loadSnapshots() {
    const found = (await get("/api/snapshots")).filter((s) => !s.error);
    const select = at("snapshot");
    const now = select.value || param("snapshot");
    select.replaceChildren(...(found.length ? found.map((s) => h("option", { value: s.snapshot_id }, `${s.name || s.snapshot_id} · ${plural(s.n_rows, "row")} · ${when(s.created_at)}`)) : [h("option", { value: "" }, "Nothing is frozen yet: see the Data page")]));
    if (found.some((s) => s.snapshot_id === now)) select.value = now;
  }

  const asked = () => ({
    kind: kind().name, snapshot_id: at("snapshot").value, size: at("size").value,
    set: at("overrides").value.split("\n").map((l) => l.trim()).filter((l) => l && !l.startsWith("#")),
  });
  const refuse = (error) => at("start-result").replaceChildren(h("p", { class: "wl-notice error", role: "alert" }, h("span", { class: "text" }, error.message)));
  const hint = () => (at("overrides").placeholder = kind().hint);

  root.addEventListener("change", (event) => {
    if (event.target.name === "kind") hint();
  });
  at("snapshot").addEventListener("focus", () => loadSnapshots().catch(() => {}));
  at("preview").addEventListener("click", async () => {
    try {
      const { toml } = await post("/api/jobs/recipe", asked());
      at("start-result").replaceChildren(h("pre", { class: "log recipe", tabindex: 0, "aria-label": "The resolved recipe" }, toml));
    } catch (error) {
      refuse(error);
    }
  });
  at("look").addEventListener("click", async () => {
    at("look").disabled = true;
    at("start-result").replaceChildren();
    try {
      maskedRows(at("rows"), await post("/api/jobs/rows", asked()));
    } catch (error) {
      refuse(error);
    } finally {
      at("look").disabled = false;
    }
  });
  at("start").addEventListener("submit", async (event) => {
    event.preventDefault();
    at("go").disabled = true;
    at("start-result").replaceChildren();
    try {
      await started(await post("/api/jobs", asked()));
    } catch (error) {
      refuse(error);
    } finally {
      at("go").disabled = false;
    }
  });
  hint();
  await loadSnapshots();
  return new Map(kinds.map((k) => [k.name, k]));
}
