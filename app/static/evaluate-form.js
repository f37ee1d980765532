// The form of a new evaluation: problems, models, scorers, strategies with their parameters as the server describes them, budgets.
// What it comes to is asked of the server as it is filled in. Knows no evaluation that runs.

import { get, post, remove } from "./api.js";
import { confirmed } from "./confirm.js";
import { $, h, number, plural } from "./dom.js";
import { paramField, paramValues } from "./param-fields.js";

const CHECK_AFTER_MS = 400; // of silence
const LIMITS = ["temperature", "top_p", "max_tokens", "step_tokens", "max_steps"];

export async function evaluationForm(root, started) {
  const at = (id) => $(`[data-id="${id}"]`, root);
  const form = at("form");
  const [{ strategies, scorers, aggregations }, models, sets] = await Promise.all([get("/api/strategies"), get("/api/models"), get("/api/evals/problems")]);
  const known = new Map(strategies.map((s) => [s.name, s]));
  const chosen = []; // {strategy, element}

  offer();
  at("models").replaceChildren(...models.map((m, i) => tick("model", m.id, m.name, m.note, i === 0)));
  at("scorers").replaceChildren(...scorers.flatMap(scorerPick));
  at("add").replaceChildren(...strategies.map((s) => h("option", { value: s.name, title: s.help }, s.title)));
  at("aggregation").replaceChildren(...aggregations.map((a) => h("option", { selected: a === "last" }, a)));
  at("executor").replaceChildren(h("option", { value: "" }, "the same model"), ...models.map((m) => h("option", { value: m.id }, m.name)));

  /** The sets to choose from; and, where an uploaded file is chosen by who may delete it, the way to do so. */
  function offer() {
    const chosen = at("problems").value.trim();
    at("sets").replaceChildren(...[...sets.built_in, ...sets.uploaded].map((s) => h("option", { value: s })));
    at("drop-set").hidden = !(sets.paths && sets.uploaded.includes(chosen));
    at("drop-set-go").textContent = `Delete the file ${chosen}`;
  }

  function tick(name, value, words, title, checked, disabled = false) {
    return h("label", { class: "check", title }, h("input", { type: "checkbox", name, value, checked, disabled }), disabled ? `${words} (not there)` : words);
  }

  /** A scorer to tick, and what it has to be told once it is. */
  function scorerPick(s) {
    const pick = tick("scorer", s.name, s.title, s.help, s.name === "none", !s.ready);
    if (!s.parameters.length) return [pick];
    const fields = h("div", { class: "fields", role: "group", "aria-label": s.title }, s.parameters.map((p) => paramField(p, `scorer.${s.name}.${p.name}`)));
    pick.addEventListener("change", (event) => (event.target.checked ? pick.after(fields) : fields.remove()));
    return [pick];
  }

  function scorersChosen() {
    return ticked("scorer").map((name) => {
      const { parameters } = scorers.find((s) => s.name === name);
      return parameters.length ? { name, params: paramValues(parameters, form, `scorer.${name}.`) } : name;
    });
  }

  function add(name) {
    const strategy = known.get(name);
    if (!strategy) return;
    const one = { strategy };
    one.element = h("li", { class: "eval-strategy" }, h("div", { class: "head" }, h("b", {}, strategy.title), h("button", { type: "button", class: "quiet", "aria-label": `Remove ${strategy.title}`, onclick: () => drop(one) }, "×")),
      h("small", { class: "muted" }, strategy.help), h("div", { class: "fields" }, strategy.parameters.map((p) => paramField(p, p.name))));
    chosen.push(one);
    at("strategies").append(one.element);
  }

  function drop(one) {
    chosen.splice(chosen.indexOf(one), 1);
    one.element.remove();
    at("add").focus();
    checkSoon();
  }

  /** Only what differs from the defaults, so that names stay short. */
  function params({ strategy, element }) {
    const usual = Object.fromEntries(strategy.parameters.map((p) => [p.name, p.default]));
    return Object.fromEntries(Object.entries(paramValues(strategy.parameters, element, "")).filter(([name, value]) => value !== usual[name]));
  }

  /** "1000, 4000" -> [1000, 4000]; what is no number is left for the server to refuse by name. */
  const numbers = (id) => at(id).value.split(",").map((s) => s.trim()).filter(Boolean).map((s) => (Number.isFinite(Number(s)) ? Number(s) : s));
  const ticked = (name) => [...form.querySelectorAll(`[name="${name}"]:checked`)].map((e) => e.value);
  const numeric = (id) => (at(id).value === "" ? "" : Number(at(id).value));

  function plan() {
    const budgets = ["tokens", "flops", "seconds"].flatMap((unit) => numbers(`budget-${unit}`).map((value) => ({ [unit]: value })));
    return {
      problems: at("problems").value.trim(), models: ticked("model"), scorers: scorersChosen(), strategies: chosen.map((one) => ({ name: one.strategy.name, params: params(one) })),
      n: numeric("n"), seeds: numbers("seeds"), budgets: budgets.length ? budgets : [{}], limits: Object.fromEntries(LIMITS.map((name) => [name, numeric(name)])),
      aggregation: at("aggregation").value, executor: at("executor").value,
    };
  }

  function said(kind, text) {
    at("check").className = `said ${kind}`;
    at("check").textContent = text;
  }

  let timer = null;
  let turn = 0;
  function checkSoon() {
    clearTimeout(timer);
    timer = setTimeout(check, CHECK_AFTER_MS);
  }

  async function check() {
    const mine = ++turn;
    try {
      const found = await post("/api/evals/check", { plan: plan() });
      if (mine === turn) said("muted", `${plural(found.problems, "problem")} × ${plural(found.cells.length, "cell")}: ${number(found.searches)} searches. First: ${found.first[0]}`);
    } catch (error) {
      if (mine === turn) said("bad", error.message);
    }
  }

  form.addEventListener("input", (event) => {
    if (!event.target.name?.startsWith("scorer.")) checkSoon(); // half an address is no server to look at
  });
  form.addEventListener("change", checkSoon);
  at("new").addEventListener("toggle", () => at("new").open && checkSoon());
  at("add-go").addEventListener("click", () => {
    add(at("add").value);
    checkSoon();
  });
  at("file").addEventListener("change", async () => {
    const [file] = at("file").files;
    if (!file) return;
    at("upload-said").textContent = `Sending ${file.name} …`;
    try {
      const kept = await post(`/api/evals/problems?${new URLSearchParams({ name: file.name.slice(-200) })}`, file, { raw: true });
      at("upload-said").textContent = `${plural(kept.problems, "problem")} kept as ${kept.name}.`;
      at("problems").value = kept.name;
      sets.uploaded.push(kept.name);
      offer();
      checkSoon();
    } catch (error) {
      at("upload-said").textContent = error.message;
    }
  });
  at("problems").addEventListener("input", offer);
  at("drop-set-go").addEventListener("click", async () => {
    const name = at("problems").value.trim();
    if (!(await confirmed("Delete these problems?", `The file ${name} is deleted for good. Evaluations over it stay: each has a copy of its problems.`))) return;
    try {
      await remove(`/api/evals/problems/${encodeURIComponent(name)}`);
      sets.uploaded = sets.uploaded.filter((s) => s !== name);
      at("upload-said").textContent = `${name} is deleted.`;
      at("file").value = ""; // or the same file could not be chosen again
      [at("problems").value] = sets.built_in;
      offer();
      checkSoon();
      at("problems").focus();
    } catch (error) {
      at("upload-said").textContent = error.message;
    }
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    turn += 1; // a check under way has nothing to say any more
    clearTimeout(timer);
    at("go").disabled = true;
    try {
      const made = await post("/api/evals", { plan: plan(), name: at("name").value.trim() });
      said("muted", "It has started.");
      await started(made);
    } catch (error) {
      said("bad", error.message);
    } finally {
      at("go").disabled = false;
    }
  });
  add("linear");
  if (at("new").open) checkSoon();
}
