// One step in full: its fields, the decision after it, where it stands in the tree. Knows no run and no rating.

import { ApiError } from "./api.js";
import { h } from "./dom.js";
import { historyTable } from "./label-history.js";
import { copyButton, rawSwitch, shownText } from "./reading.js";
import { refinedWords } from "./refine.js";
import { stepWord } from "./trace-model.js";

const DECISIONS = {
  proceed: ["→", "proceed", "goes on from here"],
  backtrack: ["↩", "backtrack", "gives this up and goes back"],
  finish: ["■", "finish", "ends the search and answers"],
};

/**
 * goTo(index) is called for links to other steps; score: {value, scorer} or null; link: the step's address; redraw() when the
 * reader switches between rendered and raw; after(element) whenever a text has been rendered later than the rest; history():
 * what was ever said of it, or null.
 */
export function stepDetail(host, model, index, { goTo, score = null, link: address = null, redraw = () => {}, after = () => {}, history = null }) {
  if (!model || index === null || (index >= 0 && !model.steps[index])) {
    host.replaceChildren(h("p", { class: "muted" }, "Select a step to read it in full."));
    return;
  }
  const past = pastOf(history);
  if (index < 0) {
    host.replaceChildren(h("div", { class: "detail-head" }, h("h2", {}, "The question"), h("div", { class: "detail-tools" }, rawSwitch([model.prompt], redraw), past.button)), h("div", { class: "field-text prompt" }, shownText(model.prompt, after)), model.model ? h("p", { class: "muted" }, `Asked of ${model.model}.`) : "", past.box);
    return;
  }
  const step = model.steps[index];
  const field = (label, text, writing) => (text || writing ? h("div", { class: "field" }, h("h3", {}, label),
    step.writing ? h("p", { class: "field-text" }, text, writing ? h("span", { class: "caret", "aria-hidden": "true" }) : null) : shownText(text, after)) : null);
  const link = (target) => (target === null || target === undefined
    ? h("button", { type: "button", class: "link", onclick: () => goTo(-1) }, "the question")
    : h("button", { type: "button", class: "link", onclick: () => goTo(target) }, stepWord(target)));
  const facts = [];
  if (step.is_backtrack) {
    facts.push(["Goes on from", [link(step.resumes ?? step.parent), sure(step.confidence)]]);
    if (step.replaces !== null && step.replaces !== undefined) facts.push(["Gives up", [link(step.replaces), replacedSpan(model, step)]]);
  } else facts.push(["Follows", [link(step.parent)]]);
  if (step.kind) facts.push(["Kind", [step.kind]]);
  if (step.refined?.fields.length) facts.push([`≠ Refined`, [h("ul", { class: "refined" }, refinedWords(step.refined).map(([what, old, now]) => h("li", {}, `${what}: `, h("span", { class: "muted" }, old), " → ", now))), h("span", { class: "muted" }, `by ${step.refined.by}`)]]);
  const decision = DECISIONS[step.decision];
  facts.push(["Then", [decision ? h("span", { class: `decision ${step.decision}` }, `${decision[0]} ${decision[1]}`) : h("span", { class: "muted" }, step.writing ? "still writing" : model.state === "running" ? "not decided yet" : "the trace ends here"),
    decision ? h("span", { class: "muted" }, ` ${decision[2]}`) : null]]);
  const branches = model.childrenOf(index);
  if (branches.length > 1) facts.push(["Branches", branches.flatMap((b, i) => [i ? ", " : "", link(b)])]);
  if (score) facts.push(["PRM score", [h("span", { class: `wl-chip score s${scoreBand(score.value)}` }, score.value.toFixed(2)), h("span", { class: "muted" }, " chance that the step is good, by "), h("span", { class: "muted", title: score.scorer }, shortId(score.scorer))]]);
  host.replaceChildren(
    h("div", { class: "detail-head" }, h("h2", {}, h("span", { class: "num" }, `Step ${index + 1}`), step.name || (step.writing ? "…" : "(no name)")),
      h("div", { class: "detail-tools" }, step.writing ? null : rawSwitch([step.thought, step.summary, step.reflection], redraw), address ? copyButton(address, `step ${index + 1}`) : null, past.button)),
    field("Thought", step.thought, step.writing && step.field === "thought") ?? "",
    field("Summary", step.summary, step.writing && step.field === "summary") ?? "",
    field("Reflection", step.reflection, step.writing && step.field === "reflection") ?? "",
    h("dl", { class: "facts" }, facts.map(([label, value]) => h("div", {}, h("dt", {}, label), h("dd", {}, value)))),
    step.complete === false && !step.writing ? h("p", { class: "muted" }, "The text of this step was cut off.") : "",
    past.box,
  );
}

/** A button, and the box in which it shows what was said of a step, or of the trace where the question is looked at. */
function pastOf(history) {
  const box = h("div", { class: "history", "aria-live": "polite" });
  const button = history && h("button", { type: "button", class: "secondary", onclick: async () => {
    try {
      box.replaceChildren(h("h3", {}, "What raters said"), historyTable(await history()));
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      box.replaceChildren(h("p", { class: "muted" }, error.message));
    }
  } }, "History");
  return { box, button };
}

function sure(confidence) {
  if (confidence === null || confidence === undefined) return null;
  return h("span", { class: "muted" }, ` inferred, ${Math.round(confidence * 100)} % sure`);
}

function replacedSpan(model, step) {
  const last = step.index - 1;
  return last > step.replaces ? h("span", { class: "muted" }, ` and what came of it, up to step ${last + 1}`) : null;
}

/** "prm-01m7xef7df23f3sgfekayqfy1b" -> "prm-…ayqfy1b": ids begin with the time, their ends tell them apart. */
export function shortId(id) {
  return id.length > 20 ? `${id.slice(0, 4)}…${id.slice(-7)}` : id;
}

/** 0 … 4: five bands of one blue ramp. */
export function scoreBand(value) {
  return Math.max(0, Math.min(4, Math.floor(value * 5)));
}

/** rated: the rater's own choice, where the score stands beside it; the two are at odds when the score lies on the other side. */
export function scoreChip(value, scorer = "the reward model", rated = null) {
  const odds = (rated === "good" && value < 0.5) || (rated === "bad" && value >= 0.5);
  return h("span", { class: `wl-chip score s${scoreBand(value)}${odds ? " odds" : ""}`, title: `Score by ${scorer}: ${value.toFixed(3)}${odds ? ", at odds with your rating" : ""}` }, `PRM ${value.toFixed(2)}${odds ? " ≠" : ""}`);
}
