// The Rate page: the rows, the keys, and what stands around the list. A key changes the state on screen at once and is queued
// in the order it came; "saved" appears when the server has committed it. Taking and leaving traces is in rate-desk.js, one
// assignment in rate-work.js, what is judged in judgements.js, what waits to be sent in outbox.js.

import { Cutter } from "./cutter.js";
import { $, framed, h, notice, plural, say, setParams } from "./dom.js";
import { CHOICES, QUESTIONS, UNSURE } from "./judgements.js";
import { Keys, MOVES, show } from "./keys.js";
import { Outbox } from "./outbox.js";
import { Overview } from "./overview.js";
import { Desk } from "./rate-desk.js";
import { choiceGroup, rateRow } from "./rate-rows.js";
import { rawSwitch, setRaw, shownText, showsRaw } from "./reading.js";
import { StepList } from "./steplist.js";
import { StepTexts } from "./step-texts.js";

const URL_AFTER_MS = 250; // browsers refuse more than about 100 URL changes in 30 s; a fast rater makes more
const WHILE_CUTTING = new Set(["undo", "redo", "help", "cut"]); // what keys in the text that is being cut may do
const TABLE = [
  ...CHOICES.map((c, i) => [c.name, [String(i + 1)], `${c.glyph} ${c.word}`, "Rate the step"]),
  ["first-error", ["x"], "first error: bad, later steps stay unrated", "Rate the step"],
  ["clear", ["0", "Delete"], "take the rating away", "Rate the step"],
  ["comment", ["c"], "comment on the step", "Rate the step"],
  ["cut", ["s"], "cut the step (scissors)", "Rate the step"],
  ["join", ["J"], "join with the step before, or no longer", "Rate the step"],
  ["worth", ["w"], "worth exploring? yes", "At a backtrack"],
  ["worth-no", ["W"], "… no", "At a backtrack"],
  ["time", ["t"], "left in time? yes", "At a backtrack"],
  ["time-no", ["T"], "… no", "At a backtrack"],
  ["place", ["r"], "right place to return to? yes", "At a backtrack"],
  ["place-no", ["R"], "… no", "At a backtrack"],
  ["next-unrated", ["n"], "next unrated step", "Move"],
  ...MOVES,
  ["undo", ["z", "Ctrl+z"], "undo", "The trace"],
  ["redo", ["Z", "Ctrl+Z"], "redo", "The trace"],
  ["verdict", ["v"], "verdict on the trace: v, then 1–4", "The trace"],
  ["submit", ["Ctrl+Enter"], "submit", "The trace"],
  ["raw", ["m"], "Markdown and formulas rendered, or the raw text", "The trace"],
  ["help", ["?"], "this sheet", "The trace"],
];

export async function mount(root) {
  // Found once: beyond a list of 5,000 steps a search in the page takes milliseconds, and every key asks for some.
  const named = new Map([...root.querySelectorAll("[data-id]")].map((element) => [element.dataset.id, element]));
  const at = (id) => named.get(id) ?? $(`[data-id="${id}"]`, root);
  const verdictKeys = root.querySelectorAll('[data-key="verdict"]');
  const notices = at("notices");
  let work = null;
  let editing = null; // the step whose comment is being written
  let sure = false; // the rater was told what is missing and submits nevertheless

  const outbox = new Outbox({
    committed: (event) => settle(event, true),
    rejected: (event, sentence) => {
      settle(event, false);
      notice(notices, `rejected-${event.event_id}`, "error", `A rating was not kept: ${sentence}`);
    },
    changed: drawSaveState,
  });
  const desk = new Desk(at, outbox, { shown, leaving, beforeLeaving: keepNote, keepNote: setNote });
  const keys = new Keys(root, TABLE, act);
  const list = new StepList(at("list"), {
    look: "full",
    label: "Steps to rate",
    decorate: (step) => rateRow(step, work.model, {
      judgements: work.judgements, selected: list.selected, reached: work.reached, showAll: at("show-all").checked, readOnly: work.readOnly, comments: work.comments,
      editing, scores: work.scores, saved: (index) => work.savedOf(index), keyOf: (action) => keys.label(action),
      texts, cutter, cutting: cutter.index === step.index, cutsOf: (index) => work.cutsOf(index), textOf: (index) => work.textOf(index),
    }),
    onSelect: (index) => {
      const before = work.cursor;
      work.cursor = index;
      const from = work.reached;
      work.reached = Math.max(from, index);
      if (cutter.index !== null && cutter.index !== index) endCutting();
      for (const i of new Set([before, index])) if (i >= 0) list.touch(i);
      for (let i = from + 1; i <= work.reached; i += 1) list.touch(i);
      work.look();
      overview.followTo(index);
      rememberCursor();
      drawProgress();
    },
  });
  const texts = new StepTexts(at("list"));
  const cutter = new Cutter({
    cut: (unit, method) => cutAt(cutter.index, unit, method),
    leave: () => {
      endCutting();
      at("list").focus({ preventScroll: true });
    },
  });
  const overview = new Overview(at("overview"), {
    toneOf: (step) => work.judgements.choice("step", step.index, "correctness") ?? "unrated",
    onSelect: (index) => {
      list.select(index, "mouse");
      list.reveal(index);
    },
  });

  // ---------------------------------------------------------------- showing an assignment

  /** Another trace is there; null: there is none. */
  function shown(next) {
    work = next;
    if (!work) return;
    const { model, cursor } = work;
    sure = false;
    editing = null;
    cutter.close();
    at("note").value = work.judgements.get("trace", null, "note")?.text ?? "";
    at("note").disabled = work.readOnly;
    drawTexts();
    list.show(model);
    overview.show(model);
    list.select(cursor);
    drawVerdict();
    at("list").focus({ preventScroll: true });
    requestAnimationFrame(() => list.reveal(cursor, "center"));
  }

  /** The trace's last event is on its way (true), or has been answered. */
  function leaving(away) {
    at("submit").disabled = away;
    endCutting();
    list.touchAll();
  }

  /** The question and the answer, and the switch between rendered and raw; the rows ask `texts` for theirs. */
  function drawTexts() {
    const { prompt, answer, steps } = work.model;
    texts.clear();
    at("prompt").replaceChildren(...shownText(prompt));
    at("answer").replaceChildren(...shownText(answer || "(no answer)"));
    at("raw").replaceChildren(rawSwitch([prompt, answer, ...steps.map((s) => s.thought)], redrawTexts) ?? "");
  }

  function redrawTexts() {
    drawTexts();
    list.touchAll();
  }

  let urlTimer = null;
  function rememberCursor() {
    const { id, cursor } = work;
    work.remember();
    clearTimeout(urlTimer);
    urlTimer = setTimeout(() => setParams({ assignment: id, step: cursor >= 0 ? cursor + 1 : null }), URL_AFTER_MS);
  }

  function settle(event, saved) {
    if (event.assignment_id !== work?.id) return;
    work.settle(event, saved);
    if (event.step_idx !== null && event.step_idx !== undefined) list.touch(event.step_idx);
    else drawVerdict();
  }

  function drawSaveState({ waiting, offline, kept, sentence }) {
    const box = at("save-state");
    box.className = `save${offline ? " waiting" : ""}`;
    box.textContent = waiting === 0 ? "✓ All saved" : offline ? `${waiting} waiting` : `Saving ${waiting} …`;
    box.title = sentence;
    notice(notices, "offline", "warn", offline ? `${sentence} ${plural(waiting, "judgement")} ${waiting === 1 ? "waits" : "wait"} ${kept ? "in this browser and will be sent as soon as it is back." : "on this page only: keep it open."}` : null);
  }

  // ---------------------------------------------------------------- acting

  function act(action, event) {
    if (!work) return;
    const method = event ? "key" : "mouse";
    if (action === "help") return keys.openSheet("Keys for rating");
    if (event?.target.closest?.(".cutter") && !WHILE_CUTTING.has(action)) return;
    const inVerdict = event?.target.closest?.('[data-id="verdict"]');
    const choice = CHOICES.find((c) => c.name === action);
    if (choice && inVerdict) {
      setVerdict(choice, method);
      at("list").focus({ preventScroll: true });
      return;
    }
    if (list.navigate(action)) return;
    if (action === "submit") return submit();
    if (action === "verdict") return $("[role=radio][tabindex='0']", at("verdict")).focus();
    if (action === "next-unrated") return nextUnrated();
    if (action === "raw") {
      setRaw(!showsRaw());
      redrawTexts();
      return say(showsRaw() ? "Raw text" : "Rendered");
    }
    if (work.readOnly) {
      say("This trace is submitted. Reopen it to change a rating.");
      return;
    }
    sure = false;
    if (action === "undo") return apply(work.judgements.undo(), method, "Nothing to undo.", true);
    if (action === "redo") return apply(work.judgements.redo(), method, "Nothing to redo.", true);
    const step = work.model.steps[work.cursor];
    if (!step) {
      if (choice || action === "first-error") list.select(0, "key"); // on the question: a rating key begins with step 1
      return;
    }
    if (choice) return rate(step.index, choice, method);
    if (action === "first-error") return markFirstError(step.index, method);
    if (action === "clear") return apply(work.judgements.change([{ target: "step", step: step.index, dimension: "correctness", value: null, text: null }]), method);
    if (action === "comment") return editComment(step.index);
    if (action === "cut") return cutting(step.index);
    if (action === "join") return join(step.index, method);
    const question = QUESTIONS.find((q) => action === q.action || action === `${q.action}-no`);
    if (question) return answer(step, question, action === question.action ? "yes" : "no", method);
  }

  /** Paint and send what the judgements say has changed. `follow`: move to where it happened (undo). */
  function apply(changes, method, otherwise = "", follow = false) {
    if (!changes) {
      say(otherwise);
      return;
    }
    work.send(changes, method);
    notice(notices, "submitted", "good", null);
    for (const c of changes) if (c.step !== null && c.step !== undefined) list.touch(c.step);
    const where = changes.find((c) => c.target !== "trace")?.step;
    if (follow && where !== undefined && where !== null) {
      list.select(where, "key");
      list.revealSoon();
    }
    if (changes.some((c) => c.dimension === "first_error")) list.touchAll();
    if (changes.some((c) => c.dimension === "parent")) redrawTree();
    if (changes.some((c) => c.target === "trace")) {
      drawVerdict();
      at("note").value = work.judgements.get("trace", null, "note")?.text ?? "";
    }
    overview.recolour();
    drawProgress();
  }

  function rate(index, choice, method) {
    apply(work.judgements.change([{ target: "step", step: index, dimension: "correctness", value: choice.value, text: choice.text }]), method);
    say(`Step ${index + 1} of ${work.model.steps.length} rated ${choice.word}`);
    if (index + 1 < work.model.steps.length) {
      list.select(index + 1, "key");
      list.revealSoon();
    }
  }

  function markFirstError(index, method) {
    apply(work.judgements.change(work.judgements.firstErrorChanges(index)), method);
    say(work.judgements.firstError === index ? `Step ${index + 1} is the first error; later steps stay unrated. Ctrl+Enter submits.` : `Step ${index + 1} is no longer the first error.`);
  }

  function answer(step, question, name, method) {
    if (!step.is_backtrack) {
      say("This step was not entered by a backtrack.");
      return;
    }
    const value = { yes: 1, no: 0, unsure: null }[name];
    const text = name === "unsure" ? UNSURE : null;
    const held = work.judgements.get("decision", step.index, question.dimension);
    const same = held && held.value === value && (held.text ?? null) === text;
    apply(work.judgements.change([{ target: "decision", step: step.index, dimension: question.dimension, value: same ? null : value, text: same ? null : text }]), method);
    say(`${question.short} ${same ? "no answer" : name}`);
  }

  /** A correction of the tree: `what` is parent or kind; value null takes both back. */
  function mend(index, what, value) {
    const step = work.model.steps[index];
    const change = (dimension, number, text) => ({ target: "step", step: index, dimension, value: number, text });
    let changes;
    if (what === "none") changes = work.judgements.inferredChanges(index);
    else if (what === "kind") changes = [change("kind", null, value === step.kind ? null : value)];
    else {
      const parent = Math.round(Number(value)) - 1;
      if (!(parent >= -1 && parent < index)) {
        say(`Step ${index + 1} can follow the question (0) or a step before it.`);
        list.touch(index);
        return;
      }
      const inferred = (step.inferred ?? step).parent ?? -1;
      changes = [change("parent", parent === inferred ? null : parent, null)];
    }
    if (changes.length) apply(work.judgements.change(changes), "mouse");
  }

  // ---------------------------------------------------------------- cutting and joining steps

  function cutting(index) {
    if (cutter.index === index) return cutter.leave();
    const text = work.textOf(index);
    if (text.length < 2) return say("There is nothing to cut in this step.");
    endCutting();
    cutter.open(index, text);
    list.touch(index);
    list.reveal(index);
    cutter.focus();
  }

  function endCutting() {
    const { index } = cutter;
    cutter.close();
    if (index !== null) list.touch(index);
  }

  function cutAt(index, unit, method) {
    const point = work.pointOf(index, unit);
    apply(work.judgements.change(work.judgements.cutChanges(index, point)), method);
    const parts = work.judgements.cuts(index).length + 1;
    say(parts === 1 ? `Step ${index + 1} is not cut any more.` : `Step ${index + 1} is cut into ${parts} parts.`);
  }

  function join(index, method) {
    if (index === 0) return say("The first step has no step before it to be joined with.");
    apply(work.judgements.change(work.judgements.joinChanges(index)), method);
    say(work.judgements.joined(index) ? `Step ${index + 1} is joined with step ${index}.` : `Step ${index + 1} stands by itself again.`);
  }

  /** Draw the tree as it is corrected now. */
  function redrawTree() {
    work.model.correct(work.judgements.parents);
    list.update({ opened: null, changed: null, moved: true, other: false });
    overview.update();
  }

  function nextUnrated() {
    const target = work.nextUnrated;
    if (target === undefined) {
      say("Every step is rated. Ctrl+Enter submits.");
      return;
    }
    list.select(target, "key");
    list.revealSoon();
  }

  function setVerdict(choice, method) {
    if (work.readOnly) return;
    apply(work.judgements.change([{ target: "trace", step: null, dimension: "verdict", value: choice.value, text: choice.text }]), method);
    say(`The trace: ${choice.word}`);
  }

  function editComment(index) {
    editing = index;
    list.touch(index);
    list.reveal(index);
    root.querySelector(`[data-comment="${index}"]`)?.focus({ preventScroll: true });
  }

  function keepComment(box, focusList = true) {
    const index = Number(box.dataset.comment);
    if (editing !== index) return;
    editing = null;
    work.comment(index, box.value.trim());
    list.touch(index);
    if (focusList) at("list").focus({ preventScroll: true });
  }

  function keepNote() {
    if (!work || work.readOnly) return;
    setNote(at("note").value.trim());
  }

  function setNote(text) {
    if (text === (work.judgements.get("trace", null, "note")?.text ?? "")) return;
    apply(work.judgements.change([{ target: "trace", step: null, dimension: "note", value: null, text: text || null }]), "key");
  }

  function submit() {
    if (work.readOnly) return desk.next();
    const open = root.querySelector("[data-comment]");
    if (open) keepComment(open, false);
    keepNote();
    if (work.judgements.count === 0 && !work.judgements.get("trace", null, "verdict")) {
      notice(notices, "submit", "warn", "Nothing is rated yet. Rate at least one step or the trace, or take one of the exits (skip, give up …).");
      return;
    }
    const gaps = work.missing;
    if (gaps && !sure) {
      sure = true;
      notice(notices, "submit", "warn", `${plural(gaps, "step")} ${gaps === 1 ? "is" : "are"} unrated (${show(keys.label("next-unrated"))} goes there). Submit once more to leave ${gaps === 1 ? "it" : "them"} so.`);
      return;
    }
    return desk.submit();
  }

  // ---------------------------------------------------------------- what stands around the list

  const drawProgress = framed(() => {
    if (!work) return;
    const total = work.model.steps.length;
    const rated = work.judgements.count;
    at("progress").textContent = `Step ${Math.max(0, work.cursor + 1)} of ${total} · ${rated} rated${work.remaining === null ? "" : ` · ${plural(work.remaining, "trace")} to go`}`;
    at("meter").style.width = `${total ? (100 * rated) / total : 0}%`;
    at("submit").textContent = work.readOnly ? "Next trace" : work.missing && work.judgements.firstError === null ? `Submit (${work.missing} unrated)` : "Submit";
    at("submit").title = "Ctrl+Enter";
    at("submit").setAttribute("aria-keyshortcuts", "Control+Enter");
  });

  function drawVerdict() {
    const held = work.judgements.choice("trace", null, "verdict");
    const host = at("verdict");
    const focused = host.contains(document.activeElement);
    const saved = work.savedOf("trace");
    host.replaceChildren(choiceGroup({ label: "Verdict on the trace", act: "verdict", checked: held, tabbable: true, disabled: work.readOnly }), h("span", { class: `save-mark ${saved}` }, { waiting: " saving …", saved: " saved", none: "" }[saved]));
    if (focused) host.querySelector("[tabindex='0']")?.focus();
    verdictKeys.forEach((k) => (k.textContent = show(keys.label("verdict"))));
  }

  function drawDock() {
    at("dock-rates").replaceChildren(...CHOICES.map((c) => h("button", { type: "button", class: c.name, onclick: () => dock(c.name) }, h("span", { class: "glyph", "aria-hidden": "true" }, c.glyph), c.word, h("kbd", { "aria-hidden": "true" }, show(keys.label(c.name))))),
      h("button", { type: "button", class: "bad", onclick: () => dock("first-error") }, h("span", { class: "glyph", "aria-hidden": "true" }, "✗"), "first error", h("kbd", { "aria-hidden": "true" }, show(keys.label("first-error")))));
    const tool = (action, words) => h("button", { type: "button", class: "quiet", onclick: () => dock(action) }, words, h("kbd", { "aria-hidden": "true" }, show(keys.label(action))));
    at("dock-tools").replaceChildren(tool("undo", "undo"), tool("next-unrated", "next unrated"), tool("jump", "jump"), tool("help", "keys"), h("span", { class: "keys-off", hidden: true }));
  }

  function dock(action) {
    act(action);
    if (action !== "help") at("list").focus({ preventScroll: true });
  }

  function drawFocus() {
    const off = at("dock-tools").querySelector(".keys-off");
    if (!off || !work) return;
    const focused = document.activeElement?.closest?.("[data-keyzone]");
    off.hidden = keys.settings.on && focused !== null && focused !== undefined;
    off.textContent = keys.settings.on ? "Keys rest" : "Keys are off";
    off.title = keys.settings.on ? "Single keys work while the step list has the focus: click it, or press Tab until it has." : "Single keys are switched off; “keys” switches them on.";
  }

  // ---------------------------------------------------------------- listeners

  root.addEventListener("click", (event) => {
    const button = event.target.closest("[role=radio]");
    if (!button || !work || work.readOnly) return;
    const group = button.closest("[role=radiogroup]");
    pick(group, button.dataset.choice, "mouse");
  });
  root.addEventListener("keydown", (event) => {
    // Arrows within a radiogroup choose, as radios do.
    const button = event.target.closest?.("[role=radio]");
    if (!button || !/^Arrow(Left|Right)$/.test(event.key) || work.readOnly) return;
    const all = [...button.parentElement.children];
    const target = all[(all.indexOf(button) + (event.key === "ArrowRight" ? 1 : all.length - 1)) % all.length];
    event.preventDefault();
    target.focus();
    pick(button.parentElement, target.dataset.choice, "key", true);
  });

  function pick(group, name, method, stay = false) {
    const { act: what } = group.dataset;
    const step = group.dataset.step === "" ? null : Number(group.dataset.step);
    sure = false;
    const choice = CHOICES.find((c) => c.name === name);
    if (what === "verdict") return setVerdict(choice, method);
    if (step !== list.selected) list.select(step, "mouse");
    if (what === "rate") {
      if (stay) apply(work.judgements.change([{ target: "step", step, dimension: "correctness", value: choice.value, text: choice.text }]), method);
      else rate(step, choice, method);
    } else answer(work.model.steps[step], QUESTIONS.find((q) => q.dimension === what), name, method);
    if (!stay) at("list").focus({ preventScroll: true });
  }

  at("list").addEventListener("change", (event) => {
    const { mend: what, step } = event.target.dataset;
    if (what && work && !work.readOnly) mend(Number(step), what, event.target.value);
  });
  at("list").addEventListener("click", (event) => {
    const button = event.target.closest("button[data-mend], button[data-recut], button[data-uncut]");
    if (!button || !work || work.readOnly) return;
    const { mend: what, recut, uncut, step } = button.dataset;
    if (what) mend(Number(step), what, null);
    else if (uncut) cutAt(Number(step), Number(uncut), "mouse");
    else if (recut === "cut") cutting(Number(step));
    else join(Number(step), "mouse");
    if (cutter.index === Number(step)) cutter.focus();
    else at("list").focus({ preventScroll: true }); // where the keys work: the button may be gone
  });
  at("list").addEventListener("keydown", (event) => {
    const box = event.target.closest("[data-comment]");
    if (!box || event.isComposing) return;
    if (event.key === "Escape") {
      editing = null;
      list.touch(Number(box.dataset.comment));
      at("list").focus({ preventScroll: true });
    } else if (event.key === "Enter" && !event.shiftKey && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      keepComment(box);
    }
  });
  at("list").addEventListener("focusout", (event) => {
    const box = event.target.closest?.("[data-comment]");
    if (box && box.isConnected && work) keepComment(box, false);
  });
  at("verdict").dataset.keyzone = "";
  at("note").addEventListener("blur", keepNote);
  at("show-all").addEventListener("change", () => list.touchAll());
  at("submit").addEventListener("click", submit);
  root.addEventListener("focusin", drawFocus);
  root.addEventListener("focusout", () => setTimeout(drawFocus));
  root.addEventListener("keyschanged", () => {
    drawDock();
    drawFocus();
    if (work) list.touchAll();
  });

  drawDock();
  await desk.start();
}
