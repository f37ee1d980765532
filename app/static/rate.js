// The Rate page. A key changes the state on screen at once and is queued in the order it came; "saved" appears when the
// server has committed it. What is judged lives in judgements.js, what waits to be sent in outbox.js.

import { ApiError, get, post } from "./api.js";
import { $, h, notice, param, plural, say, setParams } from "./dom.js";
import { CHOICES, Judgements, QUESTIONS, UNSURE } from "./judgements.js";
import { Keys, MOVES, show } from "./keys.js";
import { Outbox } from "./outbox.js";
import { Overview } from "./overview.js";
import { choiceGroup, rateRow } from "./rate-rows.js";
import { shortId } from "./step-detail.js";
import { StepList } from "./steplist.js";
import { TraceModel } from "./trace-model.js";

const UI_BUILD = "1";
const URL_AFTER_MS = 250; // browsers refuse more than about 100 URL changes in 30 s; a fast rater makes more
const RATED_KEPT = 8;
const EXITS = [
  ["skip", "Skip", "Not now: someone else may rate it"],
  ["give_up", "Give up", "I tried and cannot judge this"],
  ["bad_problem", "Bad problem", "The question itself is wrong or unclear"],
  ["bad_segmentation", "Bad segmentation", "The steps are cut in the wrong places"],
];
const TABLE = [
  ...CHOICES.map((c, i) => [c.name, [String(i + 1)], `${c.glyph} ${c.word}`, "Rate the step"]),
  ["first-error", ["x"], "first error: bad, later steps stay unrated", "Rate the step"],
  ["clear", ["0", "Delete"], "take the rating away", "Rate the step"],
  ["comment", ["c"], "comment on the step", "Rate the step"],
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
  ["help", ["?"], "this sheet", "The trace"],
];

export async function mount(root) {
  const at = (id) => $(`[data-id="${id}"]`, root);
  const notices = at("notices");
  let work = null; // {assignment, model, judgements, comments, scores, readOnly, sawScores, dwellFrom, marks}
  let lastSeq = 0;
  let reached = 0;
  let editing = null;
  let sure = false; // the rater was told what is missing and submits nevertheless
  let rater = localStorage.getItem("worldline.rater") || "local";

  const outbox = new Outbox({
    committed: (event) => settle(event, "saved"),
    rejected: (event, sentence) => {
      settle(event, "none");
      notice(notices, `rejected-${event.event_id}`, "error", `A rating was not kept: ${sentence}`);
    },
    changed: drawSaveState,
  });
  const keys = new Keys(root, TABLE, act);
  const list = new StepList(at("list"), {
    look: "full",
    label: "Steps to rate",
    decorate: (step) => rateRow(step, work.model, {
      judgements: work.judgements, selected: list.selected, reached, showAll: at("show-all").checked, readOnly: work.readOnly, comments: work.comments,
      editing, scores: work.scores, saved: savedOf, keyOf: (action) => keys.label(action),
    }),
    onSelect: (index) => {
      const before = work.cursor;
      work.cursor = index;
      const from = reached;
      reached = Math.max(reached, index);
      for (const i of new Set([before, index])) if (i >= 0) list.touch(i);
      for (let i = from + 1; i <= reached; i += 1) list.touch(i);
      work.dwellFrom = performance.now();
      overview.followTo(index);
      rememberCursor();
      drawProgress();
    },
  });
  const overview = new Overview(at("overview"), {
    toneOf: (step) => work.judgements.choice("step", step.index, "correctness") ?? "unrated",
    onSelect: (index) => {
      list.select(index, "mouse");
      list.reveal(index);
    },
  });

  // ---------------------------------------------------------------- taking and showing an assignment

  async function open(load) {
    at("work").setAttribute("aria-busy", "true");
    try {
      const payload = await load();
      if (!payload.assignment) showEmpty("All done", payload.reason || "There is no trace left to rate for you.");
      else await begin(payload);
    } catch (error) {
      if (!(error instanceof ApiError)) console.error(error);
      if (work) notice(notices, "open", "error", error.message);
      else showEmpty("Could not take a trace", error.message, true);
    } finally {
      at("work").removeAttribute("aria-busy");
    }
  }

  const next = () => open(() => post("/api/assignments/next", { rater }));

  async function begin(payload) {
    const { assignment, trace } = payload;
    const model = TraceModel.fromTrace(trace);
    const judgements = new Judgements(payload.ratings);
    const waiting = outbox.waitingFor(assignment.assignment_id);
    waiting.forEach((e) => judgements.replay(e));
    lastSeq = Math.max(payload.events_seq ?? 0, ...payload.ratings.map((r) => r.seq ?? 0), ...waiting.map((e) => e.seq), 0);
    const scores = scoresOf(payload);
    const marks = new Map(); // step (or "trace") -> {waiting: Set, saved}
    for (const r of payload.ratings) marks.set(r.step_idx ?? "trace", { waiting: new Set(), saved: true });
    work = { assignment, model, judgements, scores, marks, comments: commentsOf(payload), readOnly: assignment.status !== "leased", sawScores: scores !== null || sawBefore(assignment.assignment_id), cursor: -1, dwellFrom: performance.now(), remaining: payload.remaining };
    for (const e of waiting) markOf(e).waiting.add(e.event_id);
    if (scores) sessionStorage.setItem(`worldline.saw.${assignment.assignment_id}`, "1");
    sure = false;
    editing = null;
    notice(notices, "submit", "warn", null);
    notice(notices, "open", "error", null);
    at("empty").hidden = true;
    at("work").hidden = false;
    at("prompt").textContent = trace.prompt;
    at("answer").textContent = trace.answer || "(no answer)";
    at("note").value = judgements.get("trace", null, "note")?.text ?? "";
    at("note").disabled = work.readOnly;
    const rated = [...judgements.now.values()].map((r) => r.step ?? -1);
    const start = cursorOf(assignment.assignment_id, model, judgements);
    reached = Math.max(start, ...rated, 0);
    if (judgements.parents.size) model.correct(judgements.parents);
    list.show(model);
    overview.show(model);
    list.select(start);
    setParams({ assignment: assignment.assignment_id, trace: null, step: start >= 0 ? start + 1 : null });
    drawVerdict();
    drawAside();
    drawReadOnly();
    at("list").focus({ preventScroll: true });
    requestAnimationFrame(() => list.reveal(start, "center"));
  }

  function scoresOf(payload) {
    const found = (payload.scores ?? [])[0];
    return found ? { scorer: found.scorer, values: found.values } : null;
  }

  const sawBefore = (id) => sessionStorage.getItem(`worldline.saw.${id}`) !== null;

  function commentsOf(payload) {
    const out = new Map();
    const kept = localStorage.getItem(`worldline.comments.${payload.assignment.assignment_id}`);
    if (kept) for (const [step, text] of JSON.parse(kept)) out.set(step, text);
    for (const c of payload.comments ?? []) if (c.step_idx !== null) c.value_text ? out.set(c.step_idx, c.value_text) : out.delete(c.step_idx);
    return out;
  }

  /** The step to come back to: where this tab was, else the URL's, else the first unrated. */
  function cursorOf(id, model, judgements) {
    const here = JSON.parse(sessionStorage.getItem("worldline.cursor") ?? "null");
    if (here?.id === id && model.steps[here.step]) return here.step;
    const asked = param("assignment") === id ? Number(param("step")) - 1 : -1;
    if (model.steps[asked]) return asked;
    const open = model.steps.find((s) => judgements.choice("step", s.index, "correctness") === null);
    return open?.index ?? (model.steps.length ? 0 : -1);
  }

  let urlTimer = null;
  function rememberCursor() {
    const id = work.assignment.assignment_id;
    sessionStorage.setItem("worldline.cursor", JSON.stringify({ id, step: work.cursor }));
    clearTimeout(urlTimer);
    urlTimer = setTimeout(() => setParams({ assignment: id, step: work.cursor >= 0 ? work.cursor + 1 : null }), URL_AFTER_MS);
  }

  function showEmpty(title, text, again = false) {
    work = null;
    at("work").hidden = true;
    at("empty").hidden = false;
    at("empty-title").textContent = title;
    at("empty-text").textContent = text;
    at("empty-actions").replaceChildren(
      again ? h("button", { type: "button", class: "primary", onclick: next }, "Try again") : h("a", { class: "button primary", href: "/ui/" }, "Make a trace"),
      again ? null : h("button", { type: "button", class: "secondary", onclick: next }, "Look again"),
    );
    setParams({ assignment: null, step: null, trace: null });
  }

  // ---------------------------------------------------------------- events

  function send(changes, method, action = null) {
    const events = changes.map((c) => {
      lastSeq = Math.max(lastSeq + 1, Date.now());
      const cleared = c.value === null && !c.text;
      return {
        event_id: crypto.randomUUID(), assignment_id: work.assignment.assignment_id, rater_id: work.assignment.rater_id, seq: lastSeq, ts_client: new Date().toISOString(),
        action: action ?? (cleared ? "clear" : "set"), target: c.target, step_idx: c.step, dimension: c.dimension, value: c.value, value_text: c.text ?? null,
        input_method: method, dwell_ms: Math.min(2 ** 31 - 1, Math.round(performance.now() - work.dwellFrom)), prelabel_visible: work.sawScores, ui_build: UI_BUILD,
      };
    });
    for (const e of events) markOf(e).waiting.add(e.event_id);
    outbox.put(events);
    return events;
  }

  function markOf(event) {
    const key = event.step_idx ?? "trace";
    if (!work.marks.has(key)) work.marks.set(key, { waiting: new Set(), saved: false });
    return work.marks.get(key);
  }

  /** The server answered for one event: by its id, never by its place, so that a late answer cannot repaint a newer state. */
  function settle(event, state) {
    if (!work || event.assignment_id !== work.assignment.assignment_id) return;
    const mark = markOf(event);
    mark.waiting.delete(event.event_id);
    if (state === "saved") mark.saved = true;
    if (event.step_idx !== null && event.step_idx !== undefined) list.touch(event.step_idx);
    else drawVerdict();
  }

  function savedOf(step) {
    const mark = work.marks.get(step);
    return !mark ? "none" : mark.waiting.size ? "waiting" : mark.saved ? "saved" : "none";
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
    const question = QUESTIONS.find((q) => action === q.action || action === `${q.action}-no`);
    if (question) return answer(step, question, action === question.action ? "yes" : "no", method);
  }

  /** Paint and send what the judgements say has changed. `follow`: move to where it happened (undo). */
  function apply(changes, method, otherwise = "", follow = false) {
    if (!changes) {
      say(otherwise);
      return;
    }
    send(changes, method);
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
    if (what === "none") changes = ["parent", "kind"].filter((d) => work.judgements.get("step", index, d)).map((d) => change(d, null, null));
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

  /** Draw the tree as it is corrected now. */
  function redrawTree() {
    work.model.correct(work.judgements.parents);
    list.update({ opened: null, changed: null, moved: true, other: false });
    overview.update();
  }

  function nextUnrated() {
    const { steps } = work.model;
    const stop = work.judgements.firstError ?? steps.length;
    const open = (s) => s.index < stop && work.judgements.choice("step", s.index, "correctness") === null;
    const target = steps.find((s) => s.index > work.cursor && open(s)) ?? steps.find(open);
    if (!target) {
      say("Every step is rated. Ctrl+Enter submits.");
      return;
    }
    list.select(target.index, "key");
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
    const text = box.value.trim();
    if (text !== (work.comments.get(index) ?? "")) {
      if (text) work.comments.set(index, text);
      else work.comments.delete(index);
      localStorage.setItem(`worldline.comments.${work.assignment.assignment_id}`, JSON.stringify([...work.comments]));
      send([{ target: "step", step: index, dimension: "", value: null, text }], "key", "comment");
    }
    list.touch(index);
    if (focusList) at("list").focus({ preventScroll: true });
  }

  function keepNote() {
    if (!work || work.readOnly) return;
    const text = at("note").value.trim();
    if (text === (work.judgements.get("trace", null, "note")?.text ?? "")) return;
    apply(work.judgements.change([{ target: "trace", step: null, dimension: "note", value: null, text: text || null }]), "key");
  }

  function missing() {
    const { steps } = work.model;
    const stop = work.judgements.firstError ?? steps.length;
    return steps.filter((s) => s.index < stop && work.judgements.choice("step", s.index, "correctness") === null).length;
  }

  async function submit() {
    if (work.readOnly) return next();
    const open = root.querySelector("[data-comment]");
    if (open) keepComment(open, false);
    keepNote();
    if (work.judgements.count === 0 && !work.judgements.get("trace", null, "verdict")) {
      notice(notices, "submit", "warn", "Nothing is rated yet. Rate at least one step or the trace, or take one of the exits (skip, give up …).");
      return;
    }
    const gaps = missing();
    if (gaps && !sure) {
      sure = true;
      notice(notices, "submit", "warn", `${plural(gaps, "step")} ${gaps === 1 ? "is" : "are"} unrated (${show(keys.label("next-unrated"))} goes there). Submit once more to leave ${gaps === 1 ? "it" : "them"} so.`);
      return;
    }
    await leave([{ target: "trace", step: null, dimension: "", value: null, text: null }], "submit", "Submitted and saved.");
  }

  async function leave(changes, action, words) {
    const { assignment_id: id } = work.assignment;
    const prompt = work.model.prompt;
    const [event] = send(changes, "key", action);
    work.readOnly = true;
    list.touchAll();
    at("submit").disabled = true;
    notice(notices, "submit", "warn", null);
    await outbox.drained(id);
    at("submit").disabled = false;
    if (notices.querySelector(`[data-notice="rejected-${event.event_id}"]`)) {
      work.readOnly = false;
      list.touchAll();
      return;
    }
    if (action === "submit") rememberRated(id, prompt);
    await next();
    notice(notices, "submitted", "good", words, action === "submit" ? h("a", { class: "button secondary", href: `?assignment=${encodeURIComponent(id)}` }, "Look at it again") : null);
  }

  // ---------------------------------------------------------------- what stands around the list

  function drawProgress() {
    const total = work.model.steps.length;
    const rated = work.judgements.count;
    at("progress").textContent = `Step ${Math.max(0, work.cursor + 1)} of ${total} · ${rated} rated${work.remaining === undefined || work.remaining === null ? "" : ` · ${plural(work.remaining, "trace")} to go`}`;
    at("meter").style.width = `${total ? (100 * rated) / total : 0}%`;
    at("submit").textContent = work.readOnly ? "Next trace" : missing() && work.judgements.firstError === null ? `Submit (${missing()} unrated)` : "Submit";
    at("submit").title = "Ctrl+Enter";
    at("submit").setAttribute("aria-keyshortcuts", "Control+Enter");
  }

  function drawVerdict() {
    const held = work.judgements.choice("trace", null, "verdict");
    const host = at("verdict");
    const focused = host.contains(document.activeElement);
    host.replaceChildren(choiceGroup({ label: "Verdict on the trace", act: "verdict", checked: held, tabbable: true, disabled: work.readOnly }), h("span", { class: `save-mark ${savedOf("trace")}` }, { waiting: " saving …", saved: " saved", none: "" }[savedOf("trace")]));
    if (focused) host.querySelector("[tabindex='0']")?.focus();
    root.querySelectorAll('[data-key="verdict"]').forEach((k) => (k.textContent = show(keys.label("verdict"))));
  }

  function drawReadOnly() {
    const { assignment, readOnly, scores } = work;
    for (const button of at("exits").querySelectorAll("button")) button.disabled = readOnly;
    notice(notices, "readonly", "info", !readOnly ? null : assignment.status === "submitted"
      ? `You have submitted this trace.${scores ? ` The scores of ${shortId(scores.scorer)} are shown now.` : " No reward model has scored it yet."}`
      : `This trace was left with “${assignment.status}”.`,
    h("button", { type: "button", class: "secondary", onclick: reopen }, "Reopen to change"), h("button", { type: "button", class: "secondary", onclick: next }, "Next trace"));
    if (!readOnly) notice(notices, "readonly", "info", null);
  }

  async function reopen() {
    const id = work.assignment.assignment_id;
    send([{ target: "trace", step: null, dimension: "", value: null, text: null }], "mouse", "reopen");
    await outbox.drained(id);
    await open(() => get(`/api/assignments/${encodeURIComponent(id)}`));
  }

  function drawDock() {
    at("dock-rates").replaceChildren(...CHOICES.map((c) => h("button", { type: "button", class: c.name, onclick: () => dock(c.name) }, h("span", { class: "glyph", "aria-hidden": "true" }, c.glyph), c.word, h("kbd", { "aria-hidden": "true" }, show(keys.label(c.name))))),
      h("button", { type: "button", class: "bad", onclick: () => dock("first-error") }, h("span", { class: "glyph", "aria-hidden": "true" }, "✗"), "first error", h("kbd", { "aria-hidden": "true" }, show(keys.label("first-error")))));
    const tool = (action, words) => h("button", { type: "button", class: "quiet", onclick: () => dock(action) }, words, h("kbd", { "aria-hidden": "true" }, show(keys.label(action))));
    at("dock-tools").replaceChildren(tool("undo", "undo"), tool("next-unrated", "next unrated"), tool("jump", "jump"), tool("help", "keys"), h("span", { class: "keys-off", dataset: { id: "keys-off" }, hidden: true }));
  }

  function dock(action) {
    act(action);
    if (action !== "help") at("list").focus({ preventScroll: true });
  }

  function drawAside() {
    const { assignment } = work;
    at("rater").textContent = assignment.rater_id;
    at("exits").replaceChildren(...EXITS.map(([reason, words, title]) => h("button", { type: "button", class: "secondary", title, onclick: () => { keepNote(); leave([{ target: "trace", step: null, dimension: "exit", value: null, text: reason }], "skip", `Left: ${words.toLowerCase()}.`); } }, words)));
    const kept = JSON.parse(localStorage.getItem("worldline.rated") ?? "[]").filter((r) => r.rater === assignment.rater_id);
    at("recent-card").hidden = kept.length === 0;
    at("recent").replaceChildren(...kept.map((r) => h("li", {}, h("a", { href: `?assignment=${encodeURIComponent(r.id)}` }, r.prompt))));
  }

  function rememberRated(id, prompt) {
    const kept = JSON.parse(localStorage.getItem("worldline.rated") ?? "[]").filter((r) => r.id !== id);
    localStorage.setItem("worldline.rated", JSON.stringify([{ id, prompt: prompt.slice(0, 120), rater: work.assignment.rater_id }, ...kept].slice(0, RATED_KEPT)));
  }

  function drawFocus() {
    const off = root.querySelector('[data-id="keys-off"]');
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
    const button = event.target.closest("button[data-mend]");
    if (button && work && !work.readOnly) mend(Number(button.dataset.step), button.dataset.mend, null);
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
  at("rater").addEventListener("click", () => {
    const name = prompt("Your name as a rater (it is kept with every rating):", rater)?.trim();
    if (!name || name === rater) return;
    rater = name.slice(0, 60);
    localStorage.setItem("worldline.rater", rater);
    next();
  });
  root.addEventListener("focusin", drawFocus);
  root.addEventListener("focusout", () => setTimeout(drawFocus));
  root.addEventListener("keyschanged", () => {
    drawDock();
    drawFocus();
    if (work) list.touchAll();
  });

  drawDock();
  if (param("trace")) await open(() => post("/api/assignments", { trace_id: param("trace"), rater }));
  else if (param("assignment")) await open(() => get(`/api/assignments/${encodeURIComponent(param("assignment"))}`));
  else await next();
}
