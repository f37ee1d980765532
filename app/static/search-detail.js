// One node of a search in full: its text as the steps it was cut into, what it cost, what became of it, and what can be done with a
// finished answer. Knows no stream; the text of a model reaches the page as text alone.

import { h, number, plural } from "./dom.js";
import { shownText } from "./reading.js";
import { endWords, flops, verdict } from "./search-model.js";
import { scoreBand, stepDetail } from "./step-detail.js";
import { TraceModel } from "./trace-model.js";

const OPEN_STEPS = 3; // of a node of many steps so many stand open; the others open at a click

/**
 * node: as in the events; full: the answer of GET …/nodes/N, null while it is on its way. select(node) follows a link to another;
 * keep() stores this answer; redraw() when the reader switches between rendered and raw.
 */
export function nodeDetail(host, node, full, { select, keep, redraw }) {
  const key = `${node.id}`;
  const open = host.dataset.node === key ? [...host.querySelectorAll("details")].map((d) => d.open) : [];
  host.dataset.node = key;
  host.setAttribute("aria-busy", full === null);
  host.replaceChildren(...[
    h("div", { class: "node-head" }, h("h2", {}, node.id === 0 ? "The question" : `Node ${node.id}`, node.label ? h("span", { class: "muted" }, ` ${node.label}`) : null), node.end === "eos" ? h("span", { class: `verdict ${node.right === true ? "good" : node.right === false ? "bad" : "none"}` }, verdict(node.right)) : null,
      node.end === "eos" ? h("div", { class: "node-actions" }, actions(full, keep)) : null),
    h("dl", { class: "counters" }, facts(node).map(([label, value, title]) => h("div", { title }, h("dt", {}, label), h("dd", {}, value)))),
    node.prompt ? h("details", {}, h("summary", {}, "Asked anew, with another prompt"), shownText(node.prompt)) : null,
    full === null ? h("p", { class: "muted" }, "Reading…") : null,
    ...(full === null ? [] : text(node, full, { select, redraw, open })),
  ].filter(Boolean));
}

function actions(full, keep) {
  if (full?.trace_id) {
    const id = encodeURIComponent(full.trace_id);
    return [h("a", { class: "button secondary", href: `?trace=${id}` }, "Open as trace"), h("a", { class: "button secondary", href: `/ui/rate?trace=${id}` }, "Rate it")];
  }
  return [h("button", { type: "button", class: "secondary", disabled: full === null, onclick: keep, title: "Store this answer too, so that it can be read, rated and exported" }, "Keep as trace")];
}

/** Of requests that ended with the search. */
export const UNCOUNTED = "Requests that failed or were cut off, whose engine cannot say what they cost";

function facts(node) {
  const spent = node.ledger;
  const found = [];
  if (node.score !== null) found.push(["Score", h("span", { class: `wl-chip score s${scoreBand(node.score)}` }, node.score.toFixed(3)), "One number for the response up to here, from those of its steps"]);
  if (node.value !== null) found.push(["Value", node.value.toFixed(3), "What the strategy makes of it"]);
  if (node.visits) found.push(["Visits", number(node.visits)]);
  if (node.id !== 0) found.push(["Ends as", endWords(node).replace(/^an? /, "")]);
  if (node.count > 1) found.push(["Equal ones", number(node.count), "Continuations that were word for word the same"]);
  if (node.pruned) found.push(["Then", "pruned"]);
  if (spent.calls !== undefined) {
    found.push(["Read", `${number(spent.prompt)} (${number(spent.cached)} cached)`, "Tokens of the prompt; shared by what was written in the same request"], ["Written", number(spent.generated), "Tokens, copies included"]);
    if (spent.scorer) found.push(["Scorer", number(spent.scorer), "Tokens that the scorer read"]);
    found.push(["FLOPs", flops(spent.flops), `Solver ${flops(spent.solver_flops)}, scorer ${flops(spent.scorer_flops)}`]);
    found.push(["Seconds", number(spent.seconds, 2), "Of waiting for models; with the first of what was written in the same request"]);
    if (spent.uncounted) found.push(["Not counted", number(spent.uncounted), UNCOUNTED]);
  }
  return found;
}

/** The steps that this node added, and the answer if it ends with one. */
function text(node, full, { select, redraw, open }) {
  const model = TraceModel.fromTrace(full.trace);
  if (node.id === 0) return [h("div", { class: "field-text" }, shownText(full.trace.prompt))];
  const own = model.steps.filter((step) => full.owners[step.index] === node.id);
  const goTo = (index) => select(index === null || index < 0 ? 0 : (full.owners[index] ?? 0));
  const detail = (index) => {
    const place = h("div", { class: "node-step" });
    stepDetail(place, model, index, { goTo, redraw });
    return place;
  };
  const parts = [];
  if (own.length === 1) parts.push(detail(own[0].index));
  else if (own.length) {
    parts.push(h("p", { class: "muted" }, `${plural(own.length, "step")}, of which the last ones stand open.`));
    own.forEach((step, i) => {
      const body = h("div", {});
      const box = h("details", { class: "node-steps" }, h("summary", {}, h("span", { class: "num" }, `Step ${step.index + 1}`), step.name || "(no name)"), body);
      const fill = () => { if (box.open && !body.firstChild) body.append(detail(step.index)); };
      box.addEventListener("toggle", fill);
      box.open = open[i] ?? i >= own.length - OPEN_STEPS;
      fill();
      parts.push(box);
    });
  }
  if (node.end === "eos" && full.trace.answer) parts.push(h("h3", {}, "Answer"), h("div", { class: "node-answer" }, shownText(full.trace.answer)));
  if (!parts.length) parts.push(node.text.trim() ? h("div", {}, shownText(node.text)) : h("p", { class: "muted" }, "It holds no words."));
  return parts;
}
