// Taking a trace to rate, leaving it (submit, skip, …), coming back to one; the next is fetched meanwhile. Owns what the page
// shows while there is none, and the ways out. Knows no row and no key.

import { me, raterName } from "./account.js";
import { Ahead } from "./ahead.js";
import { ApiError, get, post } from "./api.js";
import { h, notice, param, setParams } from "./dom.js";
import { askExit, exitButtons, exitWord } from "./exits.js";
import { goldFeedback } from "./gold-feedback.js";
import { presentMs } from "./idle.js";
import { QueueHead } from "./rate-queue.js";
import { Work } from "./rate-work.js";
import { shortId } from "./step-detail.js";

const MAKERS = ["researcher", "admin"]; // to others the Solve page is closed

export class Desk {
  /** at(id): an element of the page; shown(work): another trace is there; leaving(true): its last event is on the way, (false): it was answered; beforeLeaving(): keeps what is written, false: it cannot be. */
  constructor(at, outbox, { shown, leaving, beforeLeaving, keepNote }) {
    Object.assign(this, { at, outbox, shown, leaving, beforeLeaving, keepNote });
    this.notices = at("notices");
    this.work = null;
    this.left = null; // the work that was submitted or left last: undo takes that back
    this.ahead = new Ahead();
    this.head = new QueueHead(at, { chosen: () => this.#another() });
    this.rater = raterName();
    at("rater").disabled = me.accounts;
    at("rater").addEventListener("click", () => this.#rename());
  }

  /** What the address asks for, else the next trace. */
  async start() {
    try {
      await this.head.load();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error; // taking a trace says what is wrong
    }
    if (param("trace")) return this.open(() => post("/api/assignments", { trace_id: param("trace"), rater: this.rater }));
    if (param("assignment")) return this.open(() => get(`/api/assignments/${encodeURIComponent(param("assignment"))}`));
    return this.next();
  }

  next() {
    this.ahead.drop(); // the server hands it out, if it is still held
    return this.open(() => post("/api/assignments/next", this.#wish));
  }

  get #wish() {
    return { rater: this.rater, queue: this.head.queue };
  }

  /** Another queue was chosen, or another name given. */
  #another() {
    if (!this.beforeLeaving()) return null; // the panel says why
    this.left = null;
    return this.next();
  }

  async open(load) {
    this.at("work").setAttribute("aria-busy", "true");
    try {
      const payload = await load();
      if (payload === null) return; // not wanted any more
      if (!payload.assignment) this.#showEmpty("Nothing to rate now", payload.reason || "There is no trace left to rate for you.");
      else this.#begin(payload);
    } catch (error) {
      if (!(error instanceof ApiError)) console.error(error);
      if (this.work) notice(this.notices, "open", "error", error.message);
      else this.#showEmpty("Could not take a trace", error.message, true);
    } finally {
      this.at("work").removeAttribute("aria-busy");
    }
  }

  /** begun: what was fetched ahead is becoming work in hand meanwhile; until it is, it is what the server has ahead. */
  #begin(payload, begun = null) {
    this.beforeLeaving();
    this.work = new Work(payload, this.outbox);
    const { id, cursor } = this.work;
    notice(this.notices, "submit", "warn", null);
    notice(this.notices, "open", "error", null);
    this.at("empty").hidden = true;
    this.at("work").hidden = false;
    setParams({ assignment: id, trace: null, step: cursor >= 0 ? cursor + 1 : null });
    this.#drawAside();
    this.#drawReadOnly();
    this.head.shown(payload);
    this.shown(this.work);
    const { work } = this;
    const mine = work.assignment.rater_id === this.rater && work.remaining !== 1;
    if (!work.readOnly && mine) this.ahead.fetch(this.#wish, (found) => this.work === work && !work.readOnly && found?.assignment_id !== id, () => presentMs() - work.dwellFrom, begun);
    else this.ahead.drop();
  }

  /** What was fetched ahead, at once; its lease begins meanwhile. False: there is nothing. */
  #showAhead() {
    const payload = this.ahead.take();
    if (!payload) return false;
    payload.assignment.status = "leased";
    if (payload.remaining) payload.remaining = Math.max(1, payload.remaining - 1); // the one before was still counted
    const begun = post(`/api/assignments/${encodeURIComponent(payload.assignment.assignment_id)}/begin`, { rater: this.rater });
    this.#begin(payload, begun);
    const { work } = this;
    begun.catch((error) => {
      if (!(error instanceof ApiError)) throw error;
      if (error.status !== 409 || this.work !== work) return; // unreachable: the first judgement begins it, too
      if (work.judgements.now.size === 0) this.next();
      else notice(this.notices, "open", "info", "Another rater has this trace too, by now; what you rate in it is kept as an extra rating.");
    });
    return true;
  }

  #showEmpty(title, text, again = false) {
    this.beforeLeaving();
    this.work = null;
    const button = (words, kind) => h("button", { type: "button", class: kind, onclick: () => this.next() }, words);
    this.at("work").hidden = true;
    this.at("empty").hidden = false;
    this.at("empty-title").textContent = title;
    this.at("empty-text").textContent = text;
    this.at("empty-actions").replaceChildren(...(again ? [button("Try again", "primary")] : MAKERS.includes(me.role) ? [h("a", { class: "button primary", href: "/ui/" }, "Make a trace"), button("Look again", "secondary")] : [button("Look again", "primary")]));
    setParams({ assignment: null, step: null, trace: null });
    this.shown(null);
    if (!again) this.#offerOthers();
  }

  /** Where there is something left to rate, one click away: the choice of a queue stands beside a trace. */
  async #offerOthers() {
    const { queue } = this.head;
    try {
      const others = await this.head.others(this.rater);
      if (this.work || this.head.queue !== queue) return;
      const go = (id) => () => (this.head.choose(id), this.next());
      this.at("empty-actions").prepend(...others.map((q) => h("button", { type: "button", class: "primary", onclick: go(q.queue_id) }, `${q.title} (${q.remaining})`)));
      if (others.length) this.at("empty-actions").querySelectorAll("button.primary").forEach((one, i) => i >= others.length && one.classList.replace("primary", "secondary"));
    } catch (error) {
      if (!(error instanceof ApiError)) throw error; // the page works without
    }
  }

  // ---------------------------------------------------------------- leaving and coming back

  submit() {
    return this.beforeLeaving() && this.#leave([{ target: "trace", step: null, dimension: "", value: null, text: null }], "submit", "Submitted and saved.");
  }

  async #leave(changes, action, words) {
    const { work } = this;
    const { id } = work;
    const [event] = work.send(changes, "key", action);
    work.readOnly = true;
    this.leaving(true);
    notice(this.notices, "submit", "warn", null);
    const shown = this.#showAhead();
    if (shown) {
      this.left = Object.assign(work, { leftBy: action });
      this.leaving(false);
    }
    await this.outbox.drained(id);
    const refused = this.notices.querySelector(`[data-notice="rejected-${event.event_id}"]`) !== null;
    work.readOnly = !refused;
    if (!shown) this.leaving(false);
    if (refused) {
      if (shown) this.left = null;
      return;
    }
    if (shown) this.head.refresh();
    else {
      this.left = Object.assign(work, { leftBy: action });
      await this.next();
    }
    const overtaken = shown && this.left !== work; // taken back, or followed by the next, meanwhile: that has its own words
    if (!overtaken) notice(this.notices, "submitted", "good", words, action === "submit" ? h("a", { class: "button secondary", href: `?assignment=${encodeURIComponent(id)}` }, "Look at it again") : null);
    if (action === "submit") await goldFeedback(id);
  }

  /** Take a submission or an exit back: of the trace on screen, or of the one that was left last. */
  async reopen(work = this.work, method = "mouse") {
    if (!this.beforeLeaving()) return;
    this.left = null;
    work.send([{ target: "trace", step: null, dimension: "", value: null, text: null }], method, "reopen");
    await this.outbox.drained(work.id);
    await this.open(() => get(`/api/assignments/${encodeURIComponent(work.id)}`));
    notice(this.notices, "submitted", "good", null);
  }

  #drawReadOnly() {
    const { assignment, readOnly, others, scores } = this.work;
    for (const button of this.at("exits").querySelectorAll("button")) button.disabled = readOnly;
    notice(this.notices, "readonly", "info", !readOnly ? null : others ? `This is the work of ${assignment.rater_id}.` : assignment.status === "submitted"
      ? `You have submitted this trace.${scores ? ` The scores of ${shortId(scores.scorer)} are shown now.` : " No reward model has scored it yet."}`
      : `This trace was left with “${assignment.status}”.`,
    others ? "" : h("button", { type: "button", class: "secondary", onclick: () => this.reopen() }, "Reopen to change"), h("button", { type: "button", class: "secondary", onclick: () => this.next() }, "Next trace"));
  }

  // ---------------------------------------------------------------- who rates, what was rated, the ways out

  #rename() {
    const name = prompt("Your name as a rater (it is kept with every rating):", this.rater)?.trim();
    if (!name || name === this.rater) return;
    this.rater = name.slice(0, 60);
    localStorage.setItem("worldline.rater", this.rater);
    this.#another();
  }

  #drawAside() {
    const { assignment } = this.work;
    this.at("rater").textContent = assignment.rater_id;
    this.at("exits").replaceChildren(...exitButtons((reason) => this.exit(reason)));
  }

  /** Leave without rating it to the end: the reason is asked for where none is given, a remark is kept as the trace's note. */
  async exit(asked = null) {
    const { work } = this;
    if (!work || work.readOnly) return;
    if (!this.beforeLeaving()) return;
    const chosen = await askExit(asked, work.judgements.get("trace", null, "note")?.text ?? "");
    if (!chosen || this.work !== work) return;
    this.keepNote(chosen.remark);
    await this.#leave([{ target: "trace", step: null, dimension: "exit", value: null, text: chosen.reason }], "skip", `Left: ${exitWord(chosen.reason)}.`);
  }
}
