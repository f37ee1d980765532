// What a rating adds to a row of the step list: radiogroups, the questions at a backtrack, first error, comment, "saved",
// corrections of the tree and of where the step is cut.
// Builds elements and names the act of every button in data attributes; rate.js does the acting.

import { h } from "./dom.js";
import { betterLine } from "./better-step.js";
import { cutLine, piecesOf, readable } from "./cutter.js";
import { detailLine } from "./error-details.js";
import { CHOICES, QUESTIONS } from "./judgements.js";
import { show } from "./keys.js";
import { showsRaw } from "./reading.js";
import { scoreChip } from "./step-detail.js";
import { stepWord } from "./trace-model.js";

/** A radiogroup bad/neutral/good/unsure. act: what a click means; keyOf(name) -> key shown, or null; ariaOf(name) -> aria-keyshortcuts. */
export function choiceGroup({ label, act, step = "", checked, tabbable, keyOf = () => null, ariaOf = () => null, choices = CHOICES, disabled = false }) {
  const stop = checked ?? choices[0].name;
  return h("span", { class: "verdicts", role: "radiogroup", "aria-label": label, dataset: { act, step } },
    choices.map((c) => h("button", {
      type: "button", role: "radio", class: c.name, "aria-checked": checked === c.name, "aria-label": `${label}: ${c.word}`, "aria-keyshortcuts": ariaOf(c.name), disabled,
      tabindex: tabbable && c.name === stop ? 0 : -1, dataset: { choice: c.name, focusKey: `${act}-${step}-${c.name}` },
    }, h("span", { class: "glyph", "aria-hidden": "true" }, c.glyph), h("span", { class: "word" }, c.word), keyOf(c.name) ? h("kbd", { "aria-hidden": "true" }, show(keyOf(c.name))) : null)));
}

const KINDS = ["setup", "plan", "derive", "verify", "explore", "backtrack", "conclude", "aside"];

/** What the rater may mend of the selected step: the step it follows from, what it does, where it begins and is cut. */
function mending(step, view) {
  const parent = view.judgements.get("step", step.index, "parent");
  const kind = view.judgements.get("step", step.index, "kind")?.text ?? null;
  if (view.live) return null;
  const past = view.selected === step.index && view.keyOf("history") ? writeButton("history", "↺", "history", step, view) : null; // no key: not for this role
  if (view.selected !== step.index || view.readOnly) {
    if (!parent && !kind) return past && h("div", { class: "mending" }, past);
    return h("p", { class: "mended" }, past, "✎ ", parent ? `follows ${stepWord(parent.value < 0 ? null : parent.value)}` : "", parent && kind ? ", " : "", kind ? `is “${kind}”` : "");
  }
  const { cutting } = view;
  const recut = view.judgements.cuts(step.index).length > 0 || view.judgements.joined(step.index);
  const follows = step.index === 0 ? null : h("input", {
    type: "number", min: 0, max: step.index, value: (step.parent ?? -1) + 1, "aria-label": `Step that step ${step.index + 1} follows from; 0 is the question`,
    dataset: { mend: "parent", step: step.index, focusKey: `parent-${step.index}` },
  });
  const kinds = step.kind || kind ? h("select", { "aria-label": `What step ${step.index + 1} does`, dataset: { mend: "kind", step: step.index, focusKey: `kind-${step.index}` } },
    KINDS.map((k) => h("option", { value: k, selected: k === (kind ?? step.kind) }, k))) : null;
  return h("div", { class: "mending" },
    follows ? h("label", { title: "Change it when the tree is wrong here; 0 is the question" }, "follows step", follows) : null,
    kinds ? h("label", {}, "kind", kinds) : null,
    recutButton("cut", "✂", "cut this step", cutting, step, view),
    step.index > 0 ? recutButton("join", "↑", `join with step ${step.index}`, view.judgements.joined(step.index), step, view) : null,
    writeButton("better", "✎", "better step", step, view), writeButton("comment", "❝", "comment", step, view), past,
    parent || kind || recut ? h("button", { type: "button", class: "quiet", dataset: { mend: "none", step: step.index } }, "as inferred") : null);
}

function recutButton(action, glyph, words, pressed, step, view) {
  return h("button", { type: "button", class: "quiet recut", "aria-pressed": pressed, dataset: { recut: action, step: step.index, focusKey: `${action}-${step.index}` } },
    h("span", { class: "glyph", "aria-hidden": "true" }, glyph), words, h("kbd", { "aria-hidden": "true" }, show(view.keyOf(action))));
}

function writeButton(action, glyph, words, step, view) {
  return h("button", { type: "button", class: "quiet recut", dataset: { write: action, step: step.index, focusKey: `${action}-${step.index}` } },
    h("span", { class: "glyph", "aria-hidden": "true" }, glyph), words, h("kbd", { "aria-hidden": "true" }, show(view.keyOf(action))));
}

/** The text of a step: to be cut, in the pieces it was cut into, or as it is. */
function textOf(step, view, selected) {
  const cuts = view.cutsOf(step.index);
  if (step.writing) return ["thought", "summary", "reflection"].filter((field) => step[field]).map((field) => h("p", { class: field }, step[field])); // it grows: not worth rendering
  if (view.cutting) return [view.cutter.element(cuts)];
  if (!cuts.length) return view.texts.fields(step);
  const text = view.textOf(step.index);
  return piecesOf(text.length, cuts).flatMap(([from, to], i) => [
    i ? cutLine(i + 1, cuts.length + 1, selected && !view.readOnly ? { step: step.index, at: from } : null) : null,
    view.texts.show(`${step.index}.${from}-${to}`, showsRaw() ? text.slice(from, to) : readable(text.slice(from, to)), "thought")]);
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

const SAVED = { waiting: "saving …", kept: "kept", saved: "saved", none: "" }; // kept: in this browser, until the trace is stored

/** Say in a row that is on the page what is saved; what is selected in it, or focused, is left alone. */
export function drawSaved(row, saved) {
  const mark = row?.querySelector(".save-mark");
  if (!mark) return;
  mark.className = `save-mark ${saved}`;
  mark.textContent = SAVED[saved];
}

/**
 * {fields, chips, body, classes, tone} for StepList. view: {judgements, selected, judged (the step that "what is wrong" means), reached, showAll, readOnly, saved(step),
 * scores, keyOf, ariaOf, texts, cutter, cutting (this step is being cut), cutsOf(step) -> units, textOf(step), spanOf(step)}
 */
export function rateRow(step, model, view) {
  const at = step.index;
  const { judgements } = view;
  const selected = view.selected === at;
  const checked = judgements.choice("step", at, "correctness");
  const first = judgements.firstError;
  const after = first !== null && at > first;
  const score = view.scores?.values[at];
  const saved = view.saved(at);
  const joined = judgements.joined(at);
  const chips = [
    joined ? h("span", { class: "wl-chip join-mark" }, h("span", { class: "glyph", "aria-hidden": "true" }, "↑"), `joined with step ${at}`) : null,
    h("span", { class: `save-mark ${saved}` }, SAVED[saved]),
    score === undefined ? null : scoreChip(score, view.scores.scorer, checked),
    first === at ? h("span", { class: "wl-chip bad" }, "✗ first error") : after && !checked ? h("span", { class: "wl-chip quiet" }, "after the first error") : null,
    choiceGroup({ label: `Rate step ${at + 1}`, act: "rate", step: at, checked, tabbable: selected, disabled: view.readOnly, ...(selected && !view.readOnly ? { keyOf: view.keyOf, ariaOf: view.ariaOf } : {}) }),
  ];
  const body = h("div", { class: "rating-body" });
  if (step.is_backtrack) body.append(questions(step, model, view, selected));
  const mends = mending(step, view);
  if (mends) body.append(mends);
  if (checked === "bad") {
    const span = view.spanOf(at);
    const line = detailLine(judgements, at, span ? view.textOf(at).slice(...span) : null, view.readOnly ? null : at === view.judged ? show(view.keyOf("details")) : true);
    if (line) body.append(line);
  }
  const better = judgements.get("step", at, "better")?.text;
  if (better) body.append(betterLine(better, view.textOf(at)));
  const comment = judgements.comment(at);
  if (comment) body.append(h("p", { class: "comment-text" }, `“${comment}”`));
  return {
    fields: textOf(step, view, selected),
    chips,
    body: body.childNodes.length ? body : null,
    classes: `${joined ? "joined " : ""}${at > view.reached && !view.showAll && !view.readOnly ? "ahead" : ""} ${checked ? "rated" : ""}`,
    tone: checked ?? (step.is_backtrack ? "back" : ""),
    said: first === at ? "the first error" : checked ? `rated ${checked}` : "not rated",
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
