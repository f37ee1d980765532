// The Rate page: the rows and the keys. A key changes the state on screen at once and is queued in the order it came; "saved"
// appears when the server has committed it. `room` is the page as its parts see it: taking and leaving traces (rate-desk.js),
// what stands around the list (rate-around.js), what the panel asks (rate-asking.js), a run that is still written (live.js), corrections (rate-mend.js), undo (undo.js), the scores (prelabels.js).
// One assignment is in rate-work.js, what is judged in judgements.js, what waits to be sent in outbox.js.

import { me } from "./account.js";
import { Cutter } from "./cutter.js";
import { $, notice, param, plural, say, setParams } from "./dom.js";
import { CHOICES, QUESTIONS, UNSURE } from "./judgements.js";
import { Keys, show } from "./keys.js";
import { Live, handOverOld } from "./live.js";
import { Outbox } from "./outbox.js";
import { Overview } from "./overview.js";
import { Panel } from "./panel.js";
import { Prelabels } from "./prelabels.js";
import { Around } from "./rate-around.js";
import { Asking } from "./rate-asking.js";
import { Desk } from "./rate-desk.js";
import { tableOf } from "./rate-keys.js";
import { Mending } from "./rate-mend.js";
import { drawSaved, rateRow } from "./rate-rows.js";
import { rawSwitch, setRaw, shownText, showsRaw } from "./reading.js";
import { SameWords } from "./same-words.js";
import { StepList } from "./steplist.js";
import { StepTexts } from "./step-texts.js";
import { History } from "./undo.js";

const URL_AFTER_MS = 250; // browsers refuse more than about 100 URL changes in 30 s; a fast rater makes more
const ONCE_STORED = new Set(["cut", "join", "better", "apply-next", "exit"]); // need the whole trace
const WHILE_CUTTING = new Set(["undo", "redo", "help", "cut"]); // what keys in the text that is being cut may do

export async function mount(root) {
  // Found once: beyond a list of 5,000 steps a search in the page takes milliseconds, and every key asks for some.
  const named = new Map([...root.querySelectorAll("[data-id]")].map((element) => [element.dataset.id, element]));
  const at = (id) => named.get(id) ?? $(`[data-id="${id}"]`, root);
  const notices = at("notices");
  let work = null;
  let sure = false; // the rater was told what is missing and submits nevertheless

  const room = { root, at, notices, thing: "trace", told: "submitted", act, apply, drawTexts, keepWritten, get work() { return work; } };
  room.outbox = new Outbox({
    committed: (event) => settle(event, true),
    rejected: (event, sentence) => {
      settle(event, false);
      notice(notices, `rejected-${event.event_id}`, "error", `A rating was not kept: ${sentence}`);
    },
    changed: (state) => room.around ? room.around.saveState(state) : (room.firstState = state),
  });
  const desk = (room.desk = new Desk(at, room.outbox, { shown, leaving, beforeLeaving: keepWritten, keepNote: setNote }));
  const keys = (room.keys = new Keys(root, tableOf(me.role), act));
  const list = (room.list = new StepList(at("list"), {
    look: "full",
    label: "Steps to rate",
    follows: false, // a run that is still written is read at the rater's own pace
    decorate: (step) => rateRow(step, work.model, {
      judgements: work.judgements, selected: list.selected, reached: work.reached, showAll: at("show-all").checked, readOnly: work.readOnly, live: work.live === true,
      scores: work.scores, judged: asking.judgedStep(), saved: (index) => work.savedOf(index), keyOf: (action) => keys.label(action), ariaOf: (action) => keys.aria(action),
      texts, cutter, cutting: cutter.index === step.index, cutsOf: (index) => work.cutsOf(index), textOf: (index) => work.textOf(index), spanOf: (index) => work.spanOf(index),
    }),
    asked: (prompt) => texts.show("question", prompt, "asked"),
    onSelect: (index) => {
      const before = work.cursor;
      work.cursor = index;
      asking.moved(index);
      const from = work.reached;
      work.reached = Math.max(from, index);
      if (cutter.index !== null && cutter.index !== index) mending.endCutting();
      for (const i of new Set([before, index])) if (i >= 0) list.touch(i);
      if (before > 0 && work.judgements.choice("step", before - 1, "correctness") === "bad") list.touch(before - 1); // its hint names a key only beside the selected row
      for (let i = from + 1; i <= work.reached; i += 1) list.touch(i);
      work.look();
      overview.followTo(index);
      rememberCursor();
      around.progress();
    },
  }));
  const texts = new StepTexts(at("list"));
  const cutter = (room.cutter = new Cutter({
    cut: (unit, method) => mending.cutAt(cutter.index, unit, method),
    leave: () => {
      mending.endCutting();
      focusList();
    },
  }));
  const overview = (room.overview = new Overview(at("overview"), {
    toneOf: (step) => work?.judgements.choice("step", step.index, "correctness") ?? "unrated",
    onSelect: (index) => {
      list.select(index, "mouse");
      list.reveal(index);
    },
  }));
  const panel = (room.panel = new Panel(at("panel"), (focus) => focus && focusList()));
  const around = (room.around = new Around(room));
  const mending = new Mending(room);
  const asking = new Asking(room);
  const history = new History(room);
  const prelabels = new Prelabels(room);
  const live = new Live(room);
  const same = new SameWords(list, [at("prompt"), at("answer")], at("same"), {
    at: () => work.cursor,
    go: (index) => {
      list.select(index, "key");
      list.revealSoon();
    },
  });
  if (room.firstState) around.saveState(room.firstState);

  function focusList() {
    at("list").focus({ preventScroll: true });
  }

  // ---------------------------------------------------------------- showing an assignment

  /** Another trace is there; null: there is none. */
  function shown(next) {
    panel.drop();
    cutter.close();
    work = next;
    if (!work) {
      notice(notices, "prelabels", "info", null);
      at("empty-actions").append(history.takeBackButton() ?? "");
      return;
    }
    const { model, cursor } = work;
    sure = false;
    asking.begin();
    at("note").value = work.judgements.get("trace", null, "note")?.text ?? "";
    at("note").disabled = work.readOnly;
    drawTexts();
    same.show(model);
    list.show(model);
    overview.show(model);
    list.select(cursor);
    at("tags").replaceChildren(); // what stands in their box was typed for the trace before
    around.trace();
    prelabels.begin();
    focusList();
    requestAnimationFrame(() => list.reveal(cursor, "center"));
  }

  /** The trace's last event is on its way (true), or has been answered. */
  function leaving(away) {
    at("submit").disabled = away;
    mending.endCutting();
    list.touchAll();
  }

  /** The question and the answer, and the switch between rendered and raw; the rows ask `texts` for theirs. */
  function drawTexts() {
    const { prompt, answer, steps } = work.model;
    texts.clear();
    at("prompt").replaceChildren(...shownText(prompt));
    at("answer").replaceChildren(...shownText(answer || (work.live ? "…" : "(no answer)")));
    at("raw").replaceChildren(rawSwitch([prompt, answer, ...steps.map((s) => s.thought)], redrawTexts) ?? "");
  }

  function redrawTexts() {
    drawTexts();
    list.touchAll();
    same.paint();
  }

  let urlTimer = null;
  function rememberCursor() {
    const { id, cursor } = work;
    if (work.live) return;
    work.remember();
    clearTimeout(urlTimer);
    urlTimer = setTimeout(() => setParams({ assignment: id, step: cursor >= 0 ? cursor + 1 : null }), URL_AFTER_MS);
  }

  function settle(event, saved) {
    if (event.assignment_id !== work?.id) return;
    work.settle(event, saved);
    if (event.step_idx !== null && event.step_idx !== undefined) list.change(event.step_idx, (row) => drawSaved(row, work.savedOf(event.step_idx)));
    else around.trace();
    prelabels.look();
  }

  // ---------------------------------------------------------------- acting

  function act(action, event) {
    if (!work) return;
    const method = event ? "key" : "mouse";
    if (action === "help") return keys.openSheet("Keys for rating");
    if (event?.target.closest?.(".cutter") && !WHILE_CUTTING.has(action)) return;
    const choice = CHOICES.find((c) => c.name === action);
    if (choice && event?.target.closest?.('[data-id="verdict"]')) {
      setVerdict(choice, method);
      return focusList();
    }
    if (list.navigate(action)) return;
    if (action in LOOKS) return LOOKS[action](method);
    if (work.others) return say(`This is the work of ${work.assignment.rater_id}.`);
    if (action === "undo") return history.undo(method, event?.repeat);
    if (action === "redo") return history.redo(method);
    if (work.readOnly) return say(`This trace is submitted. ${show(keys.label("undo"))} takes that back.`);
    sure = false;
    if (action === "stop") return work.live ? void live.stop() : say("No model is writing here.");
    if (work.live && (ONCE_STORED.has(action) || work.model.steps[work.cursor]?.writing)) return say(ONCE_STORED.has(action) ? "That can be done when the model has ended." : "This step is still being written.");
    if (action === "exit") return void desk.exit();
    if (action === "tags") return around.focusTags();
    if (action === "apply-next") return asking.openApply();
    if (action === "details") return asking.openDetails();
    if (action === "better") return asking.openBetter(asking.judgedStep() ?? work.cursor);
    const step = work.model.steps[work.cursor];
    if (!step) {
      if (choice || action === "first-error") list.select(0, "key"); // on the question: a rating key begins with step 1
      return;
    }
    if (choice) return rate(step.index, choice, method);
    if (action === "first-error") return markFirstError(step.index, method);
    if (action === "clear") return apply(work.judgements.change(work.judgements.rateChanges(step.index, null)), method);
    if (action === "comment") return asking.openComment(step.index);
    if (action === "cut") return mending.cutting(step.index);
    if (action === "join") return mending.join(step.index, method);
    const question = QUESTIONS.find((q) => action === q.action || action === `${q.action}-no`);
    if (question) return answer(step, question, action === question.action ? "yes" : "no", method);
  }

  // What may be done with a trace that is submitted, too.
  const LOOKS = {
    submit: () => submit(),
    verdict: () => around.focusVerdict(),
    "next-unrated": () => nextUnrated(),
    history: () => void asking.openHistory(),
    raw: () => {
      setRaw(!showsRaw());
      redrawTexts();
      say(showsRaw() ? "Raw text" : "Rendered");
    },
    same: () => same.walk(1),
    "same-previous-word": () => same.walk(-1),
    "same-next": () => same.next(1),
    "same-previous": () => same.next(-1),
  };

  /** Paint and send what the judgements say has changed. `follow`: move to where it happened (undo). */
  function apply(changes, method, otherwise = "", follow = false) {
    if (!changes) return say(otherwise);
    work.send(changes, method);
    if (!follow) history.judged();
    notice(notices, "submitted", "good", null);
    for (const c of changes) if (c.step !== null && c.step !== undefined) list.touch(c.step);
    const where = changes.find((c) => c.target !== "trace")?.step;
    if (follow && where !== undefined && where !== null) {
      list.select(where, "key");
      list.revealSoon();
      say(`Step ${where + 1}: ${work.judgements.choice("step", where, "correctness") ?? "not rated"} now`);
    }
    if (changes.some((c) => c.dimension === "first_error")) list.touchAll();
    if (changes.some((c) => c.dimension === "parent" || c.dimension === "kind")) mending.redrawTree();
    if (changes.some((c) => c.target === "trace")) {
      around.trace();
      at("note").value = work.judgements.get("trace", null, "note")?.text ?? "";
    }
    panel.update();
    overview.recolour();
    around.progress();
  }

  function rate(index, choice, method) {
    asking.rated(index, choice);
    apply(work.judgements.change(work.judgements.rateChanges(index, choice)), method);
    say(`Step ${index + 1} of ${work.model.steps.length} rated ${choice.word}`);
    if (index + 1 < work.model.steps.length) {
      list.select(index + 1, "key");
      list.revealSoon();
    }
  }

  function markFirstError(index, method) {
    apply(work.judgements.change(work.judgements.firstErrorChanges(index)), method);
    if (work.live && work.judgements.firstError === index) live.offerStop(index);
    say(work.judgements.firstError === index ? `Step ${index + 1} is the first error; later steps stay unrated. ${show(keys.label("details"))} says what is wrong, ${show(keys.label("submit"))} submits.` : `Step ${index + 1} is no longer the first error.`);
  }

  function answer(step, question, name, method) {
    if (!step.is_backtrack) {
      say("This step was not entered by a backtrack.");
      return;
    }
    const value = { yes: 1, no: 0, unsure: null }[name];
    const text = name === "unsure" ? UNSURE : null;
    const held = work.judgements.get("decision", step.index, question.dimension);
    const again = held && held.value === value && (held.text ?? null) === text;
    apply(work.judgements.change([{ target: "decision", step: step.index, dimension: question.dimension, value: again ? null : value, text: again ? null : text }]), method);
    say(`${question.short} ${again ? "no answer" : name}`);
  }

  function nextUnrated() {
    const target = work.nextUnrated;
    if (target === undefined) {
      say(`Every step is rated. ${show(keys.label("submit"))} submits.`);
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

  /** What is written and not kept yet: in the panel, in the note, in the box for a tag. False: what is in the panel cannot be kept. */
  function keepWritten() {
    if (!work || work.readOnly) return true;
    const kept = panel.close(false);
    keepNote();
    around.keepTag();
    return kept;
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
    if (!keepWritten()) return;
    if (work.live && work.model.state === "done") return focusList(); // the stored trace is shown once nobody writes
    if (work.live) return say(`The model is still writing: what you rate is kept here and sent when it has ended. ${show(keys.label("stop"))} stops it.`);
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

  // ---------------------------------------------------------------- listeners

  root.addEventListener("click", (event) => {
    const button = event.target.closest("[role=radio]");
    if (!button || !work || work.readOnly || work.model.steps[button.closest("[role=radiogroup]").dataset.step]?.writing) return;
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
      if (stay) apply(work.judgements.change(work.judgements.rateChanges(step, choice)), method);
      else rate(step, choice, method);
    } else answer(work.model.steps[step], QUESTIONS.find((q) => q.dimension === what), name, method);
    if (!stay) focusList();
  }

  at("list").addEventListener("keydown", (event) => {
    if (event.key === "Escape" && same.word !== null && !event.isComposing && !event.target.closest(".cutter")) same.clear();
  });
  at("note").addEventListener("blur", keepNote);
  addEventListener("pagehide", keepWritten);
  at("show-all").addEventListener("change", () => list.touchAll());
  at("submit").addEventListener("click", submit);
  root.addEventListener("keyschanged", () => {
    around.dock();
    around.focus();
    if (work) list.touchAll();
  });

  around.dock();
  const run = param("run");
  if (run) live.open(run, desk.rater, shown);
  else await desk.start();
  await handOverOld(room.outbox, run);
}
