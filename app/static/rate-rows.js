// What a rating adds to a row of the step list: radiogroups, the questions at a backtrack, first error, comment, "saved".
// Builds elements and names the act of every button in data attributes; rate.js does the acting.

import { h } from "./dom.js";
import { CHOICES, QUESTIONS } from "./judgements.js";
import { show } from "./keys.js";
import { scoreChip } from "./step-detail.js";
import { stepWord } from "./trace-model.js";

/** A radiogroup bad/neutral/good/unsure. act: what a click means; keyOf(name) -> key shown, or null. */
export function choiceGroup({ label, act, step = "", checked, tabbable, keyOf = () => null, choices = CHOICES, disabled = false }) {
  const stop = checked ?? choices[0].name;
  return h("span", { class: "verdicts", role: "radiogroup", "aria-label": label, dataset: { act, step } },
    choices.map((c) => h("button", {
      type: "button", role: "radio", class: c.name, "aria-checked": checked === c.name, "aria-label": `${label}: ${c.word}`, disabled,
      tabindex: tabbable && c.name === stop ? 0 : -1, dataset: { choice: c.name, focusKey: `${act}-${step}-${c.name}` },
    }, h("span", { class: "glyph", "aria-hidden": "true" }, c.glyph), h("span", { class: "word" }, c.word), keyOf(c.name) ? h("kbd", { "aria-hidden": "true" }, show(keyOf(c.name))) : null)));
}

const KINDS = ["setup", "plan", "derive", "verify", "explore", "backtrack", "conclude", "aside"];

/** What the rater may mend of the tree: the step this one follows from, and what it does. Shown for the selected step. */
function mending(step, model, view) {
  const parent = view.judgements.get("step", step.index, "parent");
  const kind = view.judgements.get("step", step.index, "kind")?.text ?? null;
  if (view.selected !== step.index || view.readOnly) {
    if (!parent && !kind) return null;
    return h("p", { class: "mended" }, "✎ ", parent ? `follows ${stepWord(parent.value < 0 ? null : parent.value)}` : "", parent && kind ? ", " : "", kind ? `is “${kind}”` : "");
  }
  const follows = h("input", {
    type: "number", min: 0, max: step.index, value: (step.parent ?? -1) + 1, "aria-label": `Step that step ${step.index + 1} follows from; 0 is the question`,
    dataset: { mend: "parent", step: step.index, focusKey: `parent-${step.index}` },
  });
  const kinds = step.kind || kind ? h("select", { "aria-label": `What step ${step.index + 1} does`, dataset: { mend: "kind", step: step.index, focusKey: `kind-${step.index}` } },
    KINDS.map((k) => h("option", { value: k, selected: k === (kind ?? step.kind) }, k))) : null;
  return h("div", { class: "mending" },
    h("label", { title: "Change it when the tree is wrong here; 0 is the question" }, "follows step", follows),
    kinds ? h("label", {}, "kind", kinds) : null,
    parent || kind ? h("button", { type: "button", class: "quiet", dataset: { mend: "none", step: step.index } }, "as inferred") : null);
}

const YES_NO = [
  { name: "yes", glyph: "✓", word: "yes" },
  { name: "no", glyph: "✗", word: "no" },
  { name: "unsure", glyph: "?", word: "unsure" },
];

export function answerName(held) {
  if (!held) return null;
  return held.text === "unsure" ? "unsure" : held.value === 1 ? "yes" : "no";
}

/** {chips, body, classes, tone} for StepList. view: {judgements, selected, reached, showAll, readOnly, saved(step), comments, editing, scores, keyOf} */
export function rateRow(step, model, view) {
  const at = step.index;
  const { judgements } = view;
  const selected = view.selected === at;
  const checked = judgements.choice("step", at, "correctness");
  const first = judgements.firstError;
  const after = first !== null && at > first;
  const score = view.scores?.values[at];
  const saved = view.saved(at);
  const chips = [
    h("span", { class: `save-mark ${saved}` }, { waiting: "saving …", saved: "saved", none: "" }[saved]),
    score === undefined ? null : scoreChip(score, view.scores.scorer),
    first === at ? h("span", { class: "wl-chip bad" }, "✗ first error") : after && !checked ? h("span", { class: "wl-chip quiet" }, "after the first error") : null,
    choiceGroup({ label: `Rate step ${at + 1}`, act: "rate", step: at, checked, tabbable: selected, disabled: view.readOnly, keyOf: selected && !view.readOnly ? view.keyOf : undefined }),
  ];
  const body = h("div", { class: "rating-body" });
  if (step.is_backtrack) body.append(questions(step, model, view, selected));
  const mends = at > 0 ? mending(step, model, view) : null;
  if (mends) body.append(mends);
  const comment = view.comments.get(at);
  if (view.editing === at) {
    body.append(h("div", { class: "comment" }, h("textarea", { rows: 2, "aria-label": `Comment on step ${at + 1}`, dataset: { comment: at, focusKey: `comment-${at}` }, placeholder: "Enter keeps it, Escape leaves it", value: comment ?? "" })));
  } else if (comment) body.append(h("p", { class: "comment-text" }, `“${comment}”`));
  return {
    chips,
    body: body.childNodes.length ? body : null,
    classes: `${at > view.reached && !view.showAll && !view.readOnly ? "ahead" : ""} ${checked ? "rated" : ""}`,
    tone: checked ?? (step.is_backtrack ? "back" : ""),
  };
}

function questions(step, model, view, selected) {
  const from = step.resumes ?? step.parent;
  const gaveUp = step.replaces === null || step.replaces === undefined ? "the branch before"
    : step.replaces >= step.index - 1 ? `step ${step.index}` : `steps ${step.replaces + 1}–${step.index}`;
  return h("div", { class: `questions${selected ? " now" : ""}`, role: "group", "aria-label": `The backtrack into step ${step.index + 1}` },
    h("span", { class: "what" }, `↩ Gave up ${gaveUp}, back to ${stepWord(from)}:`),
    QUESTIONS.map((q) => {
      const key = selected && !view.readOnly ? view.keyOf(q.action) : null;
      return h("span", { class: "ask", title: q.words }, h("span", { class: "q" }, key ? h("kbd", { "aria-hidden": "true" }, show(key)) : null, q.short),
        choiceGroup({ label: q.words, act: q.dimension, step: step.index, checked: answerName(view.judgements.get("decision", step.index, q.dimension)), tabbable: selected, choices: YES_NO, disabled: view.readOnly }));
    }));
}
