// What a row of the step list is put together from: its line of text, its chips, the button of a straight run. Knows no list.

import { h } from "./dom.js";
import { stepWord } from "./trace-model.js";

export function oneLine(step) {
  if (step.writing) return step[step.field === "name" ? "thought" : (step.field ?? "thought")] ?? "";
  return [step.summary || step.thought, step.reflection].filter(Boolean).join(" · ");
}

export function foldButton({ first, last }, open) {
  return h("button", {
    type: "button", class: "quiet fold", tabindex: -1, dataset: { fold: open ? "yes" : "no" },
    "aria-label": `${open ? "Fold" : "Unfold"} steps ${first + 1} to ${last + 1}`, title: `${open ? "Fold" : "Unfold"} steps ${first + 1} to ${last + 1} (${open ? "←" : "→"})`,
  }, open ? "▾" : "▸");
}

export function backChip(step) {
  if (!step.is_backtrack) return null;
  const target = step.resumes ?? step.parent;
  return h("span", { class: "wl-chip back", title: `Goes back to ${stepWord(target)}` }, `↩ ${shortWord(target)}`);
}

function shortWord(index) {
  return index === null || index === undefined ? "Q" : String(index + 1);
}

/** What an unmarked step does, where it is not plain deriving. */
const KINDS = { plan: "plan", verify: "verify", explore: "explore", backtrack: "turns back", conclude: "concludes", setup: "setup", aside: "aside" };
export function kindChip(step) {
  return KINDS[step.kind] && !step.writing ? h("span", { class: `wl-chip kind ${step.kind}` }, KINDS[step.kind]) : null;
}

/** What a folded run does beside deriving, with how often; the two most frequent. */
export function kindCounts(steps) {
  const counts = new Map();
  for (const { kind } of steps) if (KINDS[kind]) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1]).slice(0, 2).map(([kind, count]) => h("span", { class: `wl-chip kind ${kind}` }, count > 1 ? `${count} × ${KINDS[kind]}` : KINDS[kind]));
}

export function decisionChip(step) {
  if (step.writing) return h("span", { class: "wl-chip quiet" }, "writing");
  if (step.decision === "finish") return h("span", { class: "wl-chip finish" }, "■ finish");
  if (step.complete === false) return h("span", { class: "wl-chip warn" }, "cut off");
  return null;
}
