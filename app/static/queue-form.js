// The settings of a queue as a form, and what of it was changed. Knows no request.

import { h } from "./dom.js";

const SOLVED = [["any", "whatever the answer"], ["solved", "only right answers"], ["wrong", "only wrong answers"], ["unchecked", "only answers nobody could check"]];
const REFERENCES = [["shown", "shown while rating"], ["after", "shown after submitting"], ["hidden", "never shown"]];
const STRATA = [["length", "length"], ["backtracks", "backtracks"], ["model", "model"]];
const TRACES_ONLY = new Set(["verify_mode", "config.model", "config.source", "config.solved", "config.text"]);
const STANDARD = {
  title: "", unit: "trace", overlap: null, lease_minutes: 60, verify_mode: false, blind: true, sampling: "least_rated", gold_share: 0, archived: false,
  config: { model: "", source: "", solved: "any", text: "", reference: "after", random_share: 0.1, strata: ["length", "backtracks", "model"], pause_below: 0, pause_after: 5 },
};

/** queue: its settings, null: a new one; strategies: of /api/sampling. Returns {nodes, read(): what was changed, or Error}. */
export function queueForm(queue, strategies) {
  const now = queue ?? STANDARD;
  const fields = new Map(); // name -> {of(): value}
  const keep = (name, element, of) => {
    fields.set(name, of);
    return element;
  };
  const text = (name, value, words, { wide = false, ...more } = {}) => {
    const input = h("input", { type: "text", name, maxlength: 300, ...more, value });
    return keep(name, h("label", { class: wide ? "wide" : null }, words, input), () => input.value.trim());
  };
  const figure = (name, value, words, { percent = false, empty = null, ...more } = {}) => {
    const input = h("input", { type: "number", name, ...more, value: value === null ? "" : percent ? Math.round(value * 1000) / 10 : value });
    return keep(name, h("label", {}, words, input), () => {
      if (input.value === "" && !input.validity.badInput && empty !== null) return empty.value;
      const read = Number(input.value);
      if (input.value === "" || !Number.isFinite(read)) throw new Error(`“${words}” needs a number.`);
      return percent ? read / 100 : read;
    });
  };
  const choice = (name, value, words, options, more = {}) => {
    const select = h("select", { name, ...more }, options.map(([v, shown]) => h("option", { value: v, selected: v === value }, shown)));
    return keep(name, h("label", { class: "wide" }, words, select), () => select.value);
  };
  const check = (name, value, words) => {
    const box = h("input", { type: "checkbox", name });
    box.checked = value;
    return keep(name, h("label", { class: "check" }, box, ` ${words}`), () => box.checked);
  };

  const strata = STRATA.map(([name, words]) => {
    const box = h("input", { type: "checkbox", value: name });
    box.checked = now.config.strata.includes(name);
    return h("label", { class: "check" }, box, ` ${words}`);
  });
  fields.set("config.strata", () => strata.map((label) => label.firstElementChild).filter((box) => box.checked).map((box) => box.value));
  const balance = h("div", { class: "checks", role: "group", "aria-label": "In balance" }, strata);
  const about = h("p", { class: "muted about" });
  const sampling = choice("sampling", now.sampling, "Order", strategies.map((s) => [s.name, s.title]));
  const random = figure("config.random_share", now.config.random_share, "Random slice, %", { percent: true, min: 0, max: 100, step: 1 });
  const pairs = () => (fields.get("unit")?.() ?? now.unit) === "pair";
  const drawOrder = () => {
    const chosen = strategies.find((s) => s.name === fields.get("sampling")());
    about.textContent = chosen?.[pairs() ? "about_pairs" : "about"] ?? "";
    random.hidden = !chosen?.ranks;
    balance.hidden = chosen?.name !== "stratified";
  };
  sampling.addEventListener("change", drawOrder);

  const traces =
    h("div", { class: "fields" },
      text("config.model", now.config.model, "Model", { placeholder: "any" }),
      choice("config.solved", now.config.solved, "Answer", SOLVED),
      choice("config.source", now.config.source, "Came by", [["", "any way"], ["run", "a run here"], ["search", "a search here"], ["import", "import"], ...(["", "run", "search", "import"].includes(now.config.source) ? [] : [[now.config.source, now.config.source]])]),
      text("config.text", now.config.text, "Text in the question", { wide: true, placeholder: "any" }));
  const group = (words, ...children) => h("fieldset", {}, h("legend", {}, words), ...children);
  const which = group("Which traces", traces); // pairs are made on the Compare page: no filter chooses them
  const verify = check("verify_mode", now.verify_mode, "verify: model scores are shown from the start");
  const drawUnit = () => {
    which.hidden = verify.hidden = pairs();
    drawOrder();
  };
  const nodes = [
    h("div", { class: "fields" }, text("title", now.title, "Title", { wide: true, placeholder: "what raters see" }),
      queue ? "" : choice("unit", now.unit, "What is rated", [["trace", "single traces, step by step"], ["pair", "pairs of traces, compared"]])),
    which,
    group("In which order", h("div", { class: "fields" }, sampling, random), balance, about),
    group("Who and how",
      h("div", { class: "fields" },
        figure("overlap", now.overlap, "Raters an item", { min: 1, max: 100, placeholder: "any number", empty: { value: null } }),
        figure("lease_minutes", now.lease_minutes, "Held for, minutes", { min: 1, max: 10080 }),
        choice("config.reference", now.config.reference, "Reference answer", REFERENCES)),
      h("div", { class: "checks" }, check("blind", now.blind, "blind: whose trace it is, and what others judged, stays hidden"), verify)),
    group("Gold items", h("div", { class: "fields" },
      figure("gold_share", now.gold_share, "Share, %", { percent: true, min: 0, max: 100, step: 1 }),
      figure("config.pause_below", now.config.pause_below, "Pause below, % right", { percent: true, min: 0, max: 100, step: 1 }),
      figure("config.pause_after", now.config.pause_after, "… after, items", { min: 1, max: 1000 }))),
    queue ? check("archived", now.archived, "closed: nothing more is handed out, what was rated stays") : "",
  ];

  drawUnit();
  nodes[0].addEventListener("change", drawUnit);

  /** What differs from the queue as it was; Error with a sentence when a field cannot be read. */
  function read() {
    const changed = {};
    for (const [name, of] of fields) {
      if (pairs() && TRACES_ONLY.has(name)) continue;
      const [first, second] = name.split(".");
      const value = of();
      if (queue && JSON.stringify(value) === JSON.stringify(second ? now.config[second] : now[first])) continue;
      if (second) (changed.config ??= {})[second] = value;
      else changed[first] = value;
    }
    return changed;
  }
  return { nodes, read };
}
