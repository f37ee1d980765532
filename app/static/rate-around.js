// What stands around the list of the Rate page: progress, verdict, tags, the dock with its buttons, whether keys work, what is
// saved. `room` is the page: {root, at, keys, work, act, apply, notices}; see rate.js.

import { $, framed, h, notice, plural, say } from "./dom.js";
import { CHOICES } from "./judgements.js";
import { show } from "./keys.js";
import { choiceGroup } from "./rate-rows.js";
import { TAGS, drawTags } from "./tags.js";

const GAP_PX = 10; // between the list and what stands around it

export class Around {
  constructor(room) {
    this.room = room;
    this.verdictKeys = room.root.querySelectorAll('[data-key="verdict"]');
    this.progress = framed(() => this.#progress());
    room.root.addEventListener("focusin", () => this.focus());
    room.root.addEventListener("focusout", () => setTimeout(() => this.focus()));
    room.at("verdict").dataset.keyzone = "";
    const fit = new ResizeObserver(() => this.#fit());
    for (const name of ["notices", "problem-bar", "dock"]) fit.observe(room.at(name));
  }

  /** How much of the window stands above and below the list: on a narrow page the rest of it is the list's. */
  #fit() {
    const { root, at } = this.room;
    const above = at("list").parentElement.getBoundingClientRect().top + scrollY;
    root.style.setProperty("--wl-around", `${Math.round(above + at("dock").offsetHeight + 2 * GAP_PX)}px`);
  }

  #progress() {
    const { work, at } = this.room;
    if (!work) return;
    const total = work.model.steps.length;
    const rated = work.judgements.count;
    at("progress").textContent = `Step ${Math.max(0, work.cursor + 1)} of ${total} · ${rated} rated${work.remaining === null ? "" : ` · ${plural(work.remaining, "trace")} to go`}`;
    at("meter").style.width = `${total ? (100 * rated) / total : 0}%`;
    at("submit").textContent = work.readOnly ? "Next trace" : work.live ? "Still writing …" : work.missing && work.judgements.firstError === null ? `Submit (${work.missing} unrated)` : "Submit";
    at("submit").title = show(this.room.keys.label("submit"));
    at("submit").setAttribute("aria-keyshortcuts", this.room.keys.aria("submit") ?? "");
  }

  /** The verdict and the tags. keepTag(): a tag that was typed and not entered. */
  trace() {
    const { work, at, keys, apply } = this.room;
    const held = work.judgements.choice("trace", null, "verdict");
    const host = at("verdict");
    const focused = host.contains(document.activeElement);
    const saved = work.savedOf("trace");
    host.replaceChildren(choiceGroup({ label: "Verdict on the trace", act: "verdict", checked: held, tabbable: true, disabled: work.readOnly }), h("span", { class: `save-mark ${saved}` }, { waiting: " saving …", kept: " kept", saved: " saved", none: "" }[saved]));
    if (focused) host.querySelector("[tabindex='0']")?.focus();
    this.verdictKeys.forEach((k) => (k.textContent = show(keys.label("verdict"))));
    this.keepTag = drawTags(at("tags"), {
      offered: work.asked.tags?.length ? work.asked.tags : TAGS,
      text: work.judgements.get("trace", null, "tags")?.text ?? null,
      readOnly: work.readOnly,
      change: (text, method) => apply(work.judgements.change([{ target: "trace", step: null, dimension: "tags", value: null, text }]), method),
    });
  }

  dock() {
    const { at, keys } = this.room;
    const key = (action) => h("kbd", { "aria-hidden": "true" }, show(keys.label(action)));
    const press = (action) => () => this.#press(action);
    at("dock-rates").replaceChildren(...CHOICES.map((c) => h("button", { type: "button", class: c.name, "aria-keyshortcuts": keys.aria(c.name), onclick: press(c.name) }, h("span", { class: "glyph", "aria-hidden": "true" }, c.glyph), c.word, key(c.name))),
      h("button", { type: "button", class: "bad", "aria-keyshortcuts": keys.aria("first-error"), onclick: press("first-error") }, h("span", { class: "glyph", "aria-hidden": "true" }, "✗"), "first error", key("first-error")));
    const tool = (action, words, name = words) => h("button", { type: "button", class: "quiet", "aria-label": name, "aria-keyshortcuts": keys.aria(action), title: name, dataset: { act: action }, onclick: press(action) }, words, key(action));
    at("dock-tools").replaceChildren(tool("undo", "↶", "undo"), tool("redo", "↷", "redo"), tool("apply-next", "repeat", "repeat the last rating for the next steps"), tool("next-unrated", "unrated", "next unrated"), tool("jump", "jump", "along the backtrack, and back"),
      tool("help", h("span", { class: "keys-state" }, "keys"), "keys"));
  }

  #press(action) {
    const { act, at, panel } = this.room;
    act(action);
    if (action !== "help" && panel.name === null) at("list").focus({ preventScroll: true });
  }

  /** Whether keys work now stands on the button that explains them; it is as wide either way, so that nothing moves under a click. */
  focus() {
    const { at, keys, work } = this.room;
    const state = at("dock-tools").querySelector(".keys-state");
    if (!state || !work) return;
    const focused = document.activeElement?.closest?.("[data-keyzone], .step-panel");
    const rest = !focused && keys.settings.on;
    state.classList.toggle("off", rest || !keys.settings.on);
    state.textContent = !keys.settings.on ? "keys are off" : rest ? "keys rest" : "keys";
    state.parentElement.title = !keys.settings.on ? "Single keys are switched off; here they are switched on." : rest ? "Single keys work while the step list has the focus: click it, or press Tab until it has." : "keys";
  }

  saveState({ waiting, offline, kept, sentence }) {
    const { at, notices } = this.room;
    const box = at("save-state");
    box.className = `save${offline ? " waiting" : ""}`;
    box.textContent = waiting === 0 ? "✓ All saved" : offline ? `${waiting} waiting` : `Saving ${waiting} …`;
    box.title = sentence;
    // Read out when it is over; that it began is a notice. "Saved" after every key would drown the steps.
    if (this.wasOffline && !offline && waiting === 0) say("All is saved again.");
    this.wasOffline = offline || (this.wasOffline && waiting > 0);
    notice(notices, "offline", "warn", offline ? `${sentence} ${plural(waiting, "judgement")} ${waiting === 1 ? "waits" : "wait"} ${kept ? "in this browser and will be sent as soon as it is back." : "on this page only: keep it open."}` : null);
  }

  focusVerdict() {
    $("[role=radio][tabindex='0']", this.room.at("verdict")).focus();
  }

  focusTags() {
    this.room.at("tags").querySelector("button, input")?.focus();
  }
}
