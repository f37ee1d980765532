// What is wrong with a bad step: the place in its text, the kind of error, how severe it is, why, and where it was put right.
// Each answer is an event of its own, at once, and undone by itself. Asked for after the rating, never in its way.

import { partsOf } from "./better-step.js";
import { h, say } from "./dom.js";

// Where the rubric names none. After the error classes of MATH, BIG-Bench Mistake and PRMBench, in a rater's words.
export const ERROR_TYPES = ["calculation", "logic", "misread the problem", "false fact", "contradiction", "gap", "off track", "other"];
export const SEVERITIES = [
  { value: 1, word: "minor", title: "The result does not depend on it" },
  { value: 2, word: "major", title: "The result may be wrong because of it" },
  { value: 3, word: "fatal", title: "What follows rests on it, or the answer is wrong because of it" },
];
const QUOTED = 60; // characters
const SAID_MOST = 20_000; // characters one event may hold

/** The chips in a row: what was said of a bad step, and how to say it. `edit`: the key shown where nothing is said yet. */
export function detailLine(judgements, step, quote, edit) {
  const held = (dimension) => judgements.get("step", step, dimension);
  const severity = SEVERITIES.find((s) => s.value === held("severity")?.value);
  const recovered = held("recovered")?.value;
  const words = [
    held("error_type")?.text, severity?.word, quote ? `“${short(readable(quote).text)}”` : null, held("rationale")?.text,
    recovered === undefined ? null : recovered < 0 ? "never put right" : `put right in step ${recovered + 1}`,
  ].filter(Boolean);
  if (!words.length && !edit) return null;
  return h("p", { class: "error-line" }, words.length ? h("span", { class: "said" }, words.join(" · ")) : null,
    edit ? h("button", { type: "button", class: "quiet", tabindex: -1, dataset: { details: step } }, words.length ? "change" : "what is wrong?", edit === true ? null : h("kbd", { "aria-hidden": "true" }, edit)) : null);
}

function short(text) {
  return text.length > QUOTED ? `${text.slice(0, QUOTED - 1)}…` : text;
}

/**
 * The content of the panel for a bad step (panel.js). types: the rubric's kinds of error; room: {judgements, steps, textOf,
 * spanOf(step) -> [from, to] in units into its text or null, pointOf(step, unit)}; change(changes, method) keeps and sends.
 */
export function errorDetails({ step, types, room, change }) {
  const { judgements } = room;
  const text = room.textOf(step);
  const held = (dimension) => judgements.get("step", step, dimension);
  const set = (dimension, value, words, method) => change([{ target: "step", step, dimension, value, text: words }], method);
  const toggle = (dimension, value, words, method) => {
    const now = held(dimension);
    const same = now && now.value === value && (now.text ?? null) === (words ?? null);
    set(dimension, same ? null : value, same ? null : words, method);
  };

  const kinds = h("div", { class: "picks", role: "group", "aria-label": "Kind of error" }, types.map((name, i) => h("button", {
    type: "button", class: "pick-one", dataset: { type: name, focusKey: `type-${i}` }, onclick: (event) => toggle("error_type", null, name, event.detail ? "mouse" : "key"),
  }, i < 9 ? h("kbd", { "aria-hidden": "true" }, i + 1) : null, name)));
  const severities = h("div", { class: "picks", role: "group", "aria-label": "How severe" }, SEVERITIES.map((s) => h("button", {
    type: "button", class: "pick-one", title: s.title, dataset: { severity: s.value }, onclick: (event) => toggle("severity", s.value, null, event.detail ? "mouse" : "key"),
  }, s.word)));
  const why = h("textarea", { rows: 2, maxlength: SAID_MOST, value: held("rationale")?.text ?? "", onblur: keepWhy });
  const where = spanBox(text, room.spanOf(step), (span, method) => {
    set("span", null, span ? span.map((unit) => room.pointOf(step, unit)).join(" ") : null, method);
    say(span ? `Marked: ${short(readable(text.slice(...span)).text)}` : "No place is marked.");
  });
  const last = room.steps.length;
  const right = h("input", { type: "number", min: step + 2, max: last, placeholder: "–", "aria-label": `Step that puts step ${step + 1} right`, onchange: keepRight, disabled: step + 1 >= last });
  const never = h("button", { type: "button", class: "pick-one", onclick: (event) => toggle("recovered", -1, null, event.detail ? "mouse" : "key") }, "never");
  const sentence = h("p", { class: "bad-input", role: "status" });

  function keepWhy() {
    const now = why.value.trim();
    if (now !== (held("rationale")?.text ?? "")) set("rationale", null, now || null, "key");
  }

  function keepRight() {
    const at = right.value.trim() === "" ? null : Math.round(Number(right.value)) - 1;
    if (at !== null && !(at > step && at < last)) {
      sentence.textContent = `Step ${step + 1} can be put right in a later step, ${step + 2} to ${last}.`;
      return;
    }
    sentence.textContent = "";
    const now = held("recovered")?.value ?? null;
    if (at !== now) set("recovered", at, null, "key");
  }

  function redraw() {
    for (const button of kinds.children) button.setAttribute("aria-pressed", held("error_type")?.text === button.dataset.type);
    for (const button of severities.children) button.setAttribute("aria-pressed", held("severity")?.value === Number(button.dataset.severity));
    const recovered = held("recovered")?.value;
    never.setAttribute("aria-pressed", recovered === -1);
    if (document.activeElement !== right) right.value = recovered >= 0 ? recovered + 1 : "";
    if (document.activeElement !== why) why.value = held("rationale")?.text ?? "";
    where.show(room.spanOf(step));
  }
  redraw();
  // Digits choose while no text is being written.
  kinds.addEventListener("keydown", pickByDigit);
  severities.addEventListener("keydown", pickByDigit);
  function pickByDigit(event) {
    const name = /^[1-9]$/.test(event.key) && !event.ctrlKey && !event.metaKey && !event.altKey ? types[Number(event.key) - 1] : null;
    if (!name) return;
    event.preventDefault();
    event.stopPropagation();
    toggle("error_type", null, name, "key");
  }

  const line = (words, ...parts) => h("div", { class: "detail-row" }, h("span", { class: "what" }, words), h("div", {}, parts));
  return {
    name: "details",
    title: `What is wrong with step ${step + 1}?`,
    step,
    body: [
      line("Kind", kinds), line("Severity", severities),
      text ? line("Where", where.element) : null, // while the model still writes there are no offsets yet
      h("label", { class: "detail-row" }, h("span", { class: "what" }, "Why"), why),
      line("Put right", h("span", { class: "picks" }, h("label", { class: "inline" }, "in step", right), never), sentence),
    ],
    keep: keepWhy,
    redraw,
    focus: () => (kinds.querySelector("[aria-pressed=true]") ?? kinds.firstElementChild)?.focus({ preventScroll: true }),
    mark: (span) => where.take(span, "mouse"),
  };
}

/**
 * The step's text to mark the place in, without its special tokens: with the mouse, or with Shift and the arrows and then
 * Enter. A text area, because it brings selecting by every means there is; what is typed into it is refused.
 */
function spanBox(raw, span, changed) {
  const { text, toRaw, toShown } = readable(raw);
  const hint = h("span", { class: "hint" });
  const clear = h("button", { type: "button", class: "quiet", onclick: () => take(null, "mouse") }, "take it away");
  const box = h("textarea", { class: "span-text", rows: Math.min(6, Math.max(2, Math.ceil(text.length / 110) + text.split("\n").length - 1)), value: text, spellcheck: "false", inputmode: "none", "aria-label": "The text of the step: select the place of the error, then Enter", autocomplete: "off" });
  let now = span;
  const chosen = () => (box.selectionStart < box.selectionEnd ? toRaw(box.selectionStart, box.selectionEnd) : null);
  const same = (a, b) => (a && b ? a[0] === b[0] && a[1] === b[1] : a === b);

  function take(next, method) {
    if (same(next, now)) return;
    changed(next, method);
  }

  function show(next) {
    now = next;
    hint.textContent = next ? `Marked: “${short(readable(raw.slice(...next)).text)}”` : "Select it: drag, or Shift + arrows and Enter";
    hint.classList.toggle("marked", next !== null);
    clear.hidden = next === null;
    if (next && !same(chosen(), next)) box.setSelectionRange(...toShown(...next));
  }

  for (const kind of ["beforeinput", "paste", "cut", "drop"]) box.addEventListener(kind, (event) => event.preventDefault());
  box.addEventListener("pointerup", () => setTimeout(() => chosen() && take(chosen(), "mouse"))); // the browser sets the selection after it
  box.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== "Backspace" && event.key !== "Delete") return;
    if (event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    if (event.key !== "Enter") return take(null, "key");
    if (chosen()) return take(chosen(), "key");
    say("Select the place first: Shift and the arrows.");
  });
  return { element: h("div", { class: "span-box" }, box, h("p", { class: "span-hint" }, hint, clear)), show, take };
}

/** The text of a step as it is read, its parts on lines of their own, and the way from its offsets to those in the raw text and back. */
function readable(raw) {
  let text = "";
  const pieces = partsOf(raw).map(({ from, to }) => {
    if (text) text += "\n";
    const piece = { shown: text.length, from, to };
    text += raw.slice(from, to);
    return piece;
  });
  const rawOf = (offset) => {
    const piece = pieces.findLast((p) => p.shown <= offset);
    return Math.min(piece.from + offset - piece.shown, piece.to);
  };
  const shownOf = (offset) => {
    const piece = pieces.findLast((p) => p.from <= offset) ?? pieces[0];
    return piece.shown + Math.max(0, Math.min(offset, piece.to) - piece.from);
  };
  return { text, toRaw: (from, to) => [rawOf(from), rawOf(to)], toShown: (from, to) => [shownOf(from), shownOf(to)] };
}

/** The text of a part of the page, its formulas as they were written: on the page the text of each stands up to three times. */
function written(part) {
  for (const formula of part.querySelectorAll(".formula")) formula.replaceWith(formula.dataset.source);
  return part.textContent;
}

/** What is selected on the page, as a place in the text of the row it lies in: {step, span} in units, or null. */
export function selectedPlace(list, textOf) {
  const selection = getSelection();
  if (selection.isCollapsed || !selection.rangeCount) return null;
  const range = selection.getRangeAt(0);
  const element = (node) => (node.nodeType === Node.TEXT_NODE ? node.parentElement : node);
  const row = element(range.startContainer)?.closest?.(".wl-row");
  if (!row || !list.contains(row) || row !== element(range.endContainer)?.closest?.(".wl-row")) return null;
  const fields = row.querySelector(".wl-fields");
  // A formula is one thing: whoever selects a part of it means all of it.
  const formulaOf = (node) => element(node)?.closest?.(".formula");
  const place = range.cloneRange();
  if (formulaOf(range.startContainer)) place.setStartBefore(formulaOf(range.startContainer));
  if (formulaOf(range.endContainer)) place.setEndAfter(formulaOf(range.endContainer));
  const copy = place.cloneContents();
  const wanted = (copy.querySelector(".formula") ? written(copy) : String(selection)).trim();
  if (!fields?.contains(range.startContainer) || !wanted) return null;
  const step = Number(row.dataset.row) - 1;
  const text = textOf(step);
  // Which of several: as many as stand before it in the row stand before it in the text, where the name comes first.
  const before = document.createRange();
  before.setStart(fields, 0);
  before.setEnd(place.startContainer, place.startOffset);
  let nth = written(before.cloneContents()).split(wanted).length - 1;
  const beginning = fields.querySelector("p, div");
  const first = beginning ? written(beginning.cloneNode(true)).trim().slice(0, 20) : "";
  let at = text.indexOf(wanted, Math.max(0, text.indexOf(first)));
  for (; nth > 0 && at >= 0; nth -= 1) {
    const next = text.indexOf(wanted, at + wanted.length);
    if (next < 0) break;
    at = next;
  }
  return at < 0 ? null : { step, span: [at, at + wanted.length] };
}
