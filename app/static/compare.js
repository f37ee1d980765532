// The Compare page: two columns, the keys, the scales. A key changes the state on screen at once and is queued in the order it
// came; "saved" appears when the server has committed it. Taking and leaving pairs is in compare-desk.js, one comparison in
// compare-work.js, one column in compare-side.js, making pairs in compare-make.js.

import { get } from "./api.js";
import { CompareDesk } from "./compare-desk.js";
import { makePairs } from "./compare-make.js";
import { CHOICES, criterionScale, wholeScale, wordsOf } from "./compare-scale.js";
import { CompareSide } from "./compare-side.js";
import { BOTH_BAD, PREFERENCE, UNSURE } from "./compare-work.js";
import { $, framed, h, notice, plural, say } from "./dom.js";
import { PAIR, askExit } from "./exits.js";
import { Keys, MOVES, show } from "./keys.js";
import { lastOnes } from "./mine.js";
import { Outbox } from "./outbox.js";
import { Panel } from "./panel.js";
import { rawSwitch, setRaw, shownText, showsRaw } from "./reading.js";
import { History } from "./undo.js";

const OWN_KEYS = new Set(["jump"]); // moves whose usual key means something else here
const TABLE = [
  ["a", ["a", "A"], "A is clearly better", "Choose"],
  ["b", ["b", "B"], "B is clearly better", "Choose"],
  ["tie", ["e", "E"], "a tie", "Choose"],
  [BOTH_BAD, ["0"], "both bad", "Choose"],
  ...CHOICES.slice(0, 7).map((c, i) => [c.name, [String(i + 1)], c.words, "Choose"]),
  [UNSURE, ["9"], "unsure", "Choose"],
  ["towards-a", ["ArrowLeft"], "a little more for A", "Choose"],
  ["towards-b", ["ArrowRight"], "a little more for B", "Choose"],
  ["clear", ["Delete", "Backspace"], "take the choice away", "Choose"],
  ["criteria", ["v"], "to the criteria: v, then 1–7 for each", "Choose"],
  ["other-side", ["w"], "to the other trace", "Read"],
  ["difference", ["d"], "to the first difference", "Read"],
  ["shared", ["s"], "fold or show the steps that both have", "Read"],
  ["together", ["l"], "scroll together, or each by itself", "Read"],
  ["raw", ["m"], "Markdown and formulas rendered, or the raw text", "Read"],
  ["guidelines", ["i"], "guidelines", "Read"],
  ...MOVES.filter(([action]) => !OWN_KEYS.has(action)),
  ["jump", ["t"], "along the backtrack, and back", "Move"],
  ["comment", ["c"], "note on the pair", "The pair"],
  ["undo", ["z", "Ctrl+z"], "undo; with nothing to undo: take the last submission back", "The pair"],
  ["redo", ["Z", "Ctrl+Z"], "redo", "The pair"],
  ["leave", ["x"], "leave it: skip, unsure …", "The pair"],
  ["back", ["p"], "the pair before", "The pair"],
  ["history", ["h"], "what you compared last", "The pair"],
  ["submit", ["Ctrl+Enter"], "submit", "The pair"],
  ["help", ["?"], "this sheet", "The pair"],
];
const AT_ONCE = { a: -2, b: 2, tie: 0 }; // what a letter means; the number keys say how much

export async function mount(root) {
  const named = new Map([...root.querySelectorAll("[data-id]")].map((element) => [element.dataset.id, element]));
  const at = (id) => named.get(id);
  const notices = at("notices");
  let work = null;
  let active = 0; // the column that the keys move in
  let scrolled = null; // the list that was moved to follow the other

  const outbox = new Outbox({
    committed: (event) => settle(event),
    rejected: (event, sentence) => {
      settle(event);
      notice(notices, `rejected-${event.event_id}`, "error", `A judgement was not kept: ${sentence}`);
    },
    changed: drawSaveState,
  });
  const desk = new CompareDesk(at, outbox, { shown, leaving: drawAll, beforeLeaving: keepWritten });
  const undoing = new History({ notices, outbox, desk, thing: "comparison", told: "left", get work() { return work; }, apply });
  const keys = new Keys(root, TABLE, act);
  const panel = new Panel(at("panel"), (focus) => focus && sides[active].focus());
  const sides = ["A", "B"].map((letter, place) => new CompareSide(at(`side-${place}`), letter, {
    onSelect: (index) => {
      const side = sides[place];
      if (work && index >= 0 && index < side.first) foldShared(false);
      side.overview.followTo(index);
    },
  }));

  // ---------------------------------------------------------------- showing a pair

  function shown(next) {
    work = next;
    panel.drop();
    if (!work) {
      at("empty-actions").append(undoing.takeBackButton() ?? "");
      return;
    }
    at("prompt").replaceChildren(...shownText(work.prompt));
    at("reference").replaceChildren(...shownText(work.payload.reference ?? ""));
    sides.forEach((side, place) => side.show(work, place));
    at("shared").hidden = work.shared === 0;
    drawTools();
    drawAll();
    setActive(0);
    requestAnimationFrame(() => toDifference(false));
  }

  function drawAll() {
    drawScales();
    drawProgress();
    drawSubmit();
  }

  function drawTools() {
    const folded = sides[0].folded;
    at("shared").replaceChildren(h("span", { "aria-hidden": "true" }, folded ? "▸" : "▾"), `${plural(work.shared, "shared step")} ${folded ? "folded" : "shown"}`, keyHint("shared"));
    at("shared").setAttribute("aria-expanded", String(!folded));
    at("difference").replaceChildren("First difference", keyHint("difference"));
    for (const action of ["shared", "difference", "together"]) names(action, action);
    const texts = work.models.flatMap((model) => [model.answer, ...model.steps.map((s) => s.thought)]);
    at("raw").replaceChildren(rawSwitch([work.prompt, ...texts], redrawTexts) ?? "");
  }

  /** Which keys do what a control of the page does, told to screen readers. */
  function names(id, action) {
    const keysOf = keys.aria(action);
    if (keysOf) at(id).setAttribute("aria-keyshortcuts", keysOf);
    else at(id).removeAttribute("aria-keyshortcuts");
  }

  const keyHint = (action) => h("kbd", { "aria-hidden": "true" }, show(keys.label(action)));

  function redrawTexts() {
    at("prompt").replaceChildren(...shownText(work.prompt));
    sides.forEach((side) => side.redraw());
    drawTools();
  }

  const drawProgress = framed(() => {
    if (!work) return;
    at("progress").textContent = work.remaining === null ? "" : `${plural(work.remaining, "pair")} to go`;
  });

  function drawScales() {
    if (!work) return;
    const focused = document.activeElement?.closest?.("[data-criterion]")?.dataset.criterion;
    const options = { disabled: work.readOnly, keyOf: (name) => keys.label(name), ariaOf: (name) => keys.aria(name) };
    at("whole").replaceChildren(wholeScale(work.shown(), options));
    at("criteria").hidden = work.criteria.length === 0;
    at("criteria").replaceChildren(...work.criteria.map((c) => criterionScale(c, work.shown(`${PREFERENCE}.${c.name}`), options)));
    if (focused !== undefined) scaleOf(focused)?.querySelector("[tabindex='0']")?.focus({ preventScroll: true });
    const tool = (action, words) => h("button", { type: "button", class: "quiet", "aria-keyshortcuts": keys.aria(action), onclick: () => act(action) }, words, keyHint(action));
    at("tools").replaceChildren(tool("comment", work.note ? "note ✎" : "note"), tool("guidelines", "guidelines"), tool("history", "history"), tool("leave", "leave …"), tool("help", "keys"));
  }

  const scaleOf = (name) => root.querySelector(`[data-criterion="${CSS.escape(name)}"]`);

  function drawSubmit() {
    if (!work) return;
    at("submit").textContent = work.readOnly ? "Next pair" : "Submit";
    at("submit").disabled = work.readOnly && work.unsaved.size > 0;
    at("submit").title = show(keys.label("submit"));
    names("submit", "submit");
  }

  function settle(event) {
    if (event.assignment_id !== work?.id) return;
    work.settle(event);
    drawSubmit();
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
    if (action === "help") return keys.openSheet("Keys for comparing");
    if (action === "back") return desk.back() || say("There is no pair before this one.");
    if (!work) return;
    const method = event ? "key" : "mouse";
    switch (action) {
      case "other-side": return setActive(1 - active, true);
      case "difference": return toDifference(true);
      case "shared": return foldShared(!sides[0].folded);
      case "together": return turnTogether(!at("together").checked);
      case "raw":
        setRaw(!showsRaw());
        redrawTexts();
        return say(showsRaw() ? "Raw text" : "Rendered");
      case "guidelines": return showGuidelines();
      case "history": return showHistory();
      case "submit": return submit();
      case "criteria": return $("[role=radio][tabindex='0']", at("criteria")).focus();
    }
    if (move(action)) return;
    if (action === "undo" || action === "redo") return desk.owns(work) ? undoing[action](method, event?.repeat) : say(`This is the work of ${work.assignment.rater_id}.`);
    if (work.readOnly) return say(desk.owns(work) ? `This comparison is submitted. ${show(keys.label("undo"))} takes that back.` : `This is the work of ${work.assignment.rater_id}.`);
    const criterion = event?.target.closest?.("[data-criterion]")?.dataset.criterion || null;
    switch (action) {
      case "comment": return editNote();
      case "leave": return void leave();
      case "clear": return choose(criterion, null, method);
      case "towards-a": return shift(-1, method);
      case "towards-b": return shift(1, method);
    }
    const choice = action in AT_ONCE ? AT_ONCE[action] : CHOICES.find((c) => c.name === action)?.value;
    if (choice === undefined || (criterion && typeof choice !== "number")) return;
    choose(criterion, choice, method);
    if (criterion && event) afterCriterion(criterion);
  }

  /** Paint and send what has changed. follow: it is an undo or a redo. */
  function apply(changes, method, otherwise = "", follow = false) {
    if (!changes) return say(otherwise);
    work.send(changes, method);
    if (follow) say(`Now: ${wordsOf(work.shown())}`);
    else undoing.judged();
    notice(notices, "left", "good", null);
    notice(notices, "submit", "warn", null);
    drawAll();
    panel.update();
  }

  /** name: of a criterion; null: the whole. value as it is shown on the screen; null takes the choice away. */
  function choose(name, value, method) {
    const dimension = name ? `${PREFERENCE}.${name}` : PREFERENCE;
    if (work.shown(dimension) === value) return;
    apply(work.judgements.change(work.meant(dimension, value)), method);
    const words = name ? `${work.criteria.find((c) => c.name === name)?.words ?? name}: ` : "";
    say(`${words}${value === null ? "no choice" : wordsOf(value)}`);
  }

  function shift(by, method) {
    const held = work.shown();
    const from = typeof held === "number" ? held : 0;
    choose(null, Math.max(-3, Math.min(3, from + by)), method);
  }

  /** On to the next criterion that is open, and after the last one back to the steps. */
  function afterCriterion(name) {
    const rest = work.criteria.slice(work.criteria.findIndex((c) => c.name === name) + 1);
    const next = rest.find((c) => work.shown(`${PREFERENCE}.${c.name}`) === null);
    if (next) scaleOf(next.name).querySelector("[tabindex='0']").focus();
    else sides[active].focus();
  }

  function submit() {
    if (work.readOnly) return desk.next();
    if (!panel.close(false)) return;
    if (work.shown() === null) {
      notice(notices, "submit", "warn", `Nothing is chosen yet: A (${show(keys.label("a"))}), B (${show(keys.label("b"))}), a tie (${show(keys.label("tie"))}) or both bad (${show(keys.label(BOTH_BAD))}). If you cannot tell, leave the pair (${show(keys.label("leave"))}).`);
      return;
    }
    return desk.submit();
  }

  // ---------------------------------------------------------------- moving and reading

  function move(action) {
    const side = sides[active];
    if (action === "previous" && side.list.selected === side.first) {
      if (side.folded && work.shared) say(`${plural(work.shared, "step")} before this are shared and folded.`);
      return true;
    }
    if (action === "first") {
      side.go(side.first);
      return true;
    }
    return side.list.navigate(action);
  }

  function setActive(place, focus = true) {
    active = place;
    at("columns").dataset.shown = place;
    [0, 1].forEach((one) => {
      at(`show-${one}`).setAttribute("aria-pressed", String(one === place));
      at(`side-${one}`).classList.toggle("active", one === place);
    });
    if (focus) sides[place].focus();
  }

  function toDifference(loud) {
    if (!work) return;
    const past = sides.map((side) => work.difference >= side.model.steps.length);
    sides.forEach((side, place) => {
      if (!past[place] || side.model.steps.length) side.go(Math.min(work.difference, side.model.steps.length - 1));
      scrolled = side.host;
      side.list.reveal(side.list.selected ?? 0, work.difference > side.first ? "center" : "nearest");
    });
    if (loud) say(past[0] && past[1] ? "The steps are the same in both; the answers differ, or what is not shown of the text." : `The two part at step ${work.difference + 1}.`);
  }

  function foldShared(folded) {
    if (!work.shared) return;
    sides.forEach((side) => side.fold(folded));
    drawTools();
    say(folded ? `${plural(work.shared, "shared step")} folded` : "All steps are shown");
  }

  function turnTogether(on) {
    at("together").checked = on;
    say(on ? "Both scroll together" : "Each scrolls by itself");
  }

  /** Where the shared steps end in a list: up to there both scroll step by step, from there on by the share of what is left. */
  function shares(side) {
    const most = Math.max(1, side.host.scrollHeight - side.host.clientHeight);
    return { start: Math.min(most, side.folded ? 0 : side.list.top(work.shared)), most };
  }

  function follow(place) {
    const [own, other] = [sides[place], sides[1 - place]];
    if (scrolled === own.host) {
      scrolled = null;
      return;
    }
    if (!work || !at("together").checked) return;
    const [a, b] = [shares(own), shares(other)];
    const top = own.host.scrollTop;
    const wanted = top <= a.start ? (a.start ? (top * b.start) / a.start : 0) : b.start + ((top - a.start) * (b.most - b.start)) / Math.max(1, a.most - a.start);
    if (Math.abs(wanted - other.host.scrollTop) < 1) return;
    scrolled = other.host;
    other.host.scrollTop = wanted;
  }

  // ---------------------------------------------------------------- what needs more than a key

  function editNote() {
    const box = h("textarea", { rows: 3, "aria-label": "Note on this pair", placeholder: "Anything the next reader should know", value: work.note });
    panel.show({
      name: "note", title: "Note on this pair", body: [box],
      keep: () => keepNote(box.value.trim()),
      focus: () => box.focus(),
    });
  }

  function keepNote(text) {
    if (!work.readOnly && text !== work.note) apply(work.judgements.change(work.noted(text)), "key");
  }

  /** What is written in the panel and not kept yet. */
  function keepWritten() {
    panel.close(false);
  }

  /** Leave without a judgement: a reason is asked for, a remark is kept as the pair's note. */
  async function leave() {
    if (!panel.close(false)) return;
    const asked = work;
    const chosen = await askExit(null, work.note, PAIR);
    if (!chosen || work !== asked) return;
    keepNote(chosen.remark);
    desk.skip(chosen.reason);
  }

  function showGuidelines() {
    panel.show({ name: "pair-guidelines", title: "Guidelines", body: shownText(work.payload.guidelines || "This queue has no guidelines."), focus: () => $("button", at("panel")).focus() });
  }

  async function showHistory() {
    const done = await desk.history();
    const body = done.length ? h("ul", { class: "plain", dataset: { id: "recent" } }, lastOnes(done, work?.id)) : h("p", { class: "muted" }, "You have not compared anything yet.");
    panel.show({ name: "history", title: "What you compared last", body: [body], focus: () => $("a, button", at("panel")).focus() });
  }

  // ---------------------------------------------------------------- listeners

  root.addEventListener("click", (event) => {
    const button = event.target.closest(".scale [role=radio]");
    if (!button || !work || work.readOnly) return;
    const value = CHOICES.find((c) => c.name === button.dataset.choice).value;
    const name = button.closest("[data-criterion]").dataset.criterion || null;
    choose(name, work.shown(name ? `${PREFERENCE}.${name}` : PREFERENCE) === value ? null : value, "mouse");
  });
  root.addEventListener("keydown", (event) => {
    const button = event.target.closest?.(".scale [role=radio]"); // arrows within a radiogroup choose, as radios do
    if (!button || !/^Arrow(Left|Right)$/.test(event.key) || work.readOnly) return;
    const group = button.closest("[data-criterion]");
    const all = [...group.querySelectorAll("[role=radio]")];
    const target = all[(all.indexOf(button) + (event.key === "ArrowRight" ? 1 : all.length - 1)) % all.length];
    event.preventDefault();
    target.focus();
    choose(group.dataset.criterion || null, CHOICES.find((c) => c.name === target.dataset.choice).value, "key");
  });
  sides.forEach((side, place) => {
    side.host.addEventListener("scroll", () => follow(place), { passive: true });
    side.root.addEventListener("focusin", () => active !== place && setActive(place, false));
    at(`show-${place}`).addEventListener("click", () => setActive(place));
  });
  at("shared").addEventListener("click", () => foldShared(!sides[0].folded));
  at("difference").addEventListener("click", () => toDifference(true));
  at("submit").addEventListener("click", submit);
  addEventListener("pagehide", keepWritten);
  root.addEventListener("keyschanged", () => work && (drawTools(), drawScales(), drawSubmit()));

  const me = await get("/api/me");
  if (["researcher", "admin"].includes(me.role)) makePairs(at("make"), at("make-body"), () => desk.work || desk.next());
  await desk.start(me);
}
