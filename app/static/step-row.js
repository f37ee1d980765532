// One row of the step list: gutter, name, texts, chips; row 0 is the question, and in the compact look one row may stand for a
// straight run. Builds elements from what the list shows (its model, lanes, folds, selection); moves and keeps nothing.

import { h, plural } from "./dom.js";
import { gutterRow } from "./gutter.js";
import { backChip, decisionChip, foldButton, kindChip, kindCounts, oneLine } from "./row-parts.js";
import { stepWord } from "./trace-model.js";

const COMPACT_DOT_Y = 16;
const FULL_DOT_Y = 20;
// As much of a step's text as is read out at once; all of it is in the row.
const SPOKEN = 1200;

/** list: a StepList; row: 0 is the question, i + 1 is step i. */
export function buildRow(list, row) {
  const index = row - 1;
  const { model, lanes, folds } = list;
  const compact = list.look === "compact";
  const dotY = compact ? COMPACT_DOT_Y : FULL_DOT_Y;
  const selected = list.selected !== null && folds.head(list.selected) === index;
  const common = {
    role: "treeitem", id: `${list.host.id}-row-${row}`, "aria-selected": selected, "aria-description": selected ? spoken(list, index) : null, "aria-posinset": list.place(index) + 1,
    "aria-setsize": model.state === "running" ? -1 : list.count, hidden: row < list.hidden, dataset: { row },
  };
  if (index < 0) {
    return h(
      "div",
      { ...common, class: `wl-row question${selected ? " selected" : ""}${list.marked.has(-1) ? " match" : ""}`, "aria-level": 1 },
      gutterRow(lanes.rows[0], lanes.width, dotY, { kind: "question" }),
      h("div", { class: "wl-cells" },
        h("div", { class: "wl-line" }, h("span", { class: "num" }, "Q"), h("div", { class: "text prompt" }, list.asked(model.prompt)))),
    );
  }
  const step = model.steps[index];
  if (folds.lastOf(index) > index) return foldedRow(list, step, common, selected);
  const extra = list.decorate(step);
  const run = compact && folds.first[index] === index ? folds.run(index) : null;
  if (run && run.last !== growing(model)) common["aria-expanded"] = true;
  const classes = ["wl-row", extra.classes ?? "", selected ? "selected" : "", list.marked.has(index) ? "match" : "", step.writing ? "writing" : "", step.complete === false && !step.writing ? "cut" : ""];
  const line = h("div", { class: "wl-line" },
    h("span", { class: "num" }, index + 1),
    h("span", { class: "turn" }, backChip(step)),
    common["aria-expanded"] ? foldButton(run, true) : null,
    h("span", { class: "name" }, step.name || (step.writing ? "…" : "(no name)")),
    compact ? h("span", { class: "text" }, oneLine(step)) : null,
    h("span", { class: "wl-chips" }, kindChip(step), extra.chips ?? [], decisionChip(step)),
  );
  const body = compact ? null : h("div", { class: "wl-fields" },
    extra.fields ?? ["thought", "summary", "reflection"].filter((f) => step[f]).map((f) => h("p", { class: f }, step[f])), extra.body ?? null);
  return h(
    "div",
    { ...common, class: classes.filter(Boolean).join(" "), "aria-level": model.depth(index) + 2, "aria-label": compact ? null : [`Step ${index + 1}: ${step.name}`, step.is_backtrack ? `goes back to ${stepWord(step.resumes ?? step.parent)}` : null, extra.said].filter(Boolean).join(", ") },
    gutterRow(lanes.rows[row], lanes.width, dotY, { kind: step.writing ? "writing" : "step", tone: extra.tone }),
    h("div", { class: "wl-cells" }, line, body),
  );
}

/** What a screen reader hears of the selected step after its name: the label of a full row stands for all that is in it. */
export function spoken(list, index) {
  const step = list.model.steps[index];
  return list.look === "full" && step ? [step.thought, step.summary, step.reflection].filter(Boolean).join(" ").slice(0, SPOKEN) : null;
}

/** The last step while it is being written; its run is not folded. */
function growing(model) {
  return model.state === "running" ? model.steps.length - 1 : -1;
}

/** One row for a straight run: how many steps, where it begins and ends, what it does beside deriving, what was found in it. */
function foldedRow(list, step, common, selected) {
  const { model, lanes } = list;
  const { first, last } = list.folds.run(step.index);
  const steps = model.steps.slice(first, last + 1);
  const found = list.found(first);
  const extra = list.decorate(steps.at(-1));
  const names = `${step.name} … ${steps.at(-1).name}`;
  common.dataset.last = last;
  return h("div", { ...common, class: `wl-row folded${selected ? " selected" : ""}${found ? " match" : ""}`, "aria-level": model.depth(first) + 2, "aria-expanded": false },
    gutterRow(lanes.span(first + 1, last + 1), lanes.width, COMPACT_DOT_Y, { kind: "folded", tone: step.is_backtrack ? "back" : extra.tone }),
    h("div", { class: "wl-cells" }, h("div", { class: "wl-line" },
      h("span", { class: "num" }, first + 1),
      h("span", { class: "turn" }, backChip(step)),
      foldButton({ first, last }, false),
      h("span", { class: "name" }, plural(last - first + 1, "step")),
      h("span", { class: "text" }, names),
      h("span", { class: "wl-chips" }, kindCounts(steps), list.runChips(steps), found ? h("span", { class: "wl-chip back" }, `${found} found`) : null, decisionChip(steps.at(-1))))));
}
