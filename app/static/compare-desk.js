// Taking a pair to compare, leaving it (submit, skip, …), coming back to one; the next pair is fetched while this one is read.
// Owns what the page shows while there is none, and tells the names once they may be told. Knows no scale and no key.

import { ApiError, get, post } from "./api.js";
import { goldFeedback } from "./gold-feedback.js";
import { h, notice, param, plural, setParams } from "./dom.js";
import { exitWord } from "./exits.js";
import { paceWords, readLast, readMine } from "./mine.js";
import { PairWork } from "./compare-work.js";

const RATER = "worldline.rater";
const QUEUE = "worldline.pair-queue";

export class CompareDesk {
  /** at(id): an element of the page; shown(work): another pair is there, or null; leaving(): its last event is on the way, or was refused; beforeLeaving(): keeps what is written. */
  constructor(at, outbox, { shown, leaving, beforeLeaving }) {
    Object.assign(this, { at, outbox, shown, leaving, beforeLeaving });
    this.notices = at("notices");
    this.work = null;
    this.ahead = null; // the payload of the next pair
    this.left = null; // the work that was submitted or left last: undo takes that back
    this.before = []; // ids of what was left on this page
    at("queue").addEventListener("change", () => this.#choose(at("queue").value));
  }

  #choose(queueId) {
    this.left = null;
    this.queue = queueId;
    sessionStorage.setItem(QUEUE, queueId);
    setParams({ queue: null });
    this.ahead = null;
    return this.next();
  }

  /** What the address asks for, else the next pair. me: who is here. */
  async start(me) {
    this.rater = me.accounts ? me.rater_id : localStorage.getItem(RATER) || me.rater_id;
    this.queue = param("queue") ?? sessionStorage.getItem(QUEUE);
    const asked = param("assignment");
    await this.open(() => (asked ? this.#named(asked) : this.#take()));
  }

  /** A pair by its id; which queues there are beside it is told as well. */
  async #named(id) {
    await this.#readQueues();
    return get(`/api/pairs/assignments/${encodeURIComponent(id)}`);
  }

  async #readQueues() {
    const queues = await get(`/api/pairs/queues?rater=${encodeURIComponent(this.rater)}`);
    if (!queues.some((q) => q.queue_id === this.queue)) this.queue = null;
    this.#drawQueues(queues);
  }

  async #take(more = {}) {
    await this.#readQueues();
    return post("/api/pairs/next", { rater: this.rater, ...(this.queue ? { queue_id: this.queue } : {}), ...more });
  }

  next() {
    return this.open(() => this.#take());
  }

  async open(load) {
    this.at("work").setAttribute("aria-busy", "true");
    try {
      const payload = await load();
      if (payload.assignment) this.#begin(payload);
      else this.#showEmpty("Nothing to compare now", payload.reason);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (this.work) notice(this.notices, "open", "error", error.message);
      else this.#showEmpty("Could not take a pair", error.message);
    } finally {
      this.at("work").removeAttribute("aria-busy");
    }
  }

  /** begun: what was fetched ahead is becoming work in hand meanwhile; until it is, it is what the server has ahead. */
  #begin(payload, begun = null) {
    this.beforeLeaving();
    this.work = new PairWork(payload, this.outbox);
    for (const key of ["open", "submit", "readonly"]) notice(this.notices, key, "warn", null);
    this.at("empty").hidden = true;
    this.at("work").hidden = false;
    setParams({ assignment: this.work.id });
    this.at("queue").value = payload.assignment.queue_id;
    this.at("rater").textContent = payload.assignment.rater_id;
    this.at("reference-box").hidden = !payload.reference;
    this.#drawReadOnly();
    this.shown(this.work);
    this.#fetchAhead(begun);
    this.#drawPace();
  }

  #showEmpty(title, text) {
    this.beforeLeaving();
    this.work = null;
    this.at("work").hidden = true;
    this.at("empty").hidden = false;
    this.at("empty-title").textContent = title;
    this.at("empty-text").textContent = text;
    const button = (act, kind, label) => h("button", { type: "button", class: kind, onclick: act }, label);
    const others = (this.queues ?? []).filter((q) => q.remaining && q.queue_id !== this.queue);
    this.at("empty-actions").replaceChildren(...others.map((q) => button(() => this.#choose(q.queue_id), "primary", `${q.title} (${q.remaining})`)),
      button(() => this.next(), others.length ? "secondary" : "primary", "Look again"), ...(this.before.length ? [button(() => this.back(), "secondary", "The pair before")] : []));
    setParams({ assignment: null });
    this.shown(null);
  }

  #drawQueues(queues) {
    this.queues = queues;
    this.at("queue-pick").hidden = queues.length < 2;
    this.at("queue").replaceChildren(...queues.map((q) => h("option", { value: q.queue_id, selected: q.queue_id === this.queue }, `${q.title} (${q.remaining})`)));
  }

  // ---------------------------------------------------------------- the next one, fetched while this one is read

  async #fetchAhead(begun) {
    const { work } = this;
    this.ahead = null;
    if (work.readOnly || work.assignment.rater_id !== this.rater || !(work.remaining > 1)) return;
    try {
      await begun?.catch(() => null);
      if (this.work !== work || work.readOnly) return;
      const payload = await post("/api/pairs/next", { rater: this.rater, queue_id: work.assignment.queue_id, ahead: true });
      if (this.work === work && payload.assignment && payload.assignment.assignment_id !== work.id) this.ahead = payload;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error; // it is asked for again when it is needed
    }
  }

  /** Show the pair that was fetched ahead at once; its lease begins meanwhile. False: there is none. */
  #showAhead() {
    const { ahead } = this;
    if (!ahead) return false;
    const begun = post(`/api/pairs/assignments/${encodeURIComponent(ahead.assignment.assignment_id)}/begin`, { rater: this.rater });
    this.#begin({ ...ahead, remaining: this.work.remaining === null ? null : this.work.remaining - 1 }, begun);
    const { work } = this;
    begun.then(({ held }) => {
      if (held || this.work !== work) return;
      notice(this.notices, "open", "info", "The pair that was ready for you has gone to somebody else meanwhile; here is another.");
      this.next();
    }, (error) => {
      if (!(error instanceof ApiError)) throw error; // its events renew the lease when the server is back
    });
    return true;
  }

  // ---------------------------------------------------------------- leaving and coming back

  submit() {
    return this.#leave([{ target: "pair", step: null, dimension: "", value: null, text: null }], "submit");
  }

  skip(reason) {
    return this.#leave([{ target: "trace", step: null, dimension: "exit", value: null, text: reason }], "skip");
  }

  async #leave(changes, action) {
    this.beforeLeaving();
    const { work } = this;
    const [event] = work.send(changes, "key", action);
    work.readOnly = true;
    this.before.push(work.id);
    const refused = () => this.notices.querySelector(`[data-notice="rejected-${event.event_id}"]`) !== null;
    const shown = this.#showAhead();
    if (shown) this.left = Object.assign(work, { leftBy: action });
    else this.leaving();
    await this.outbox.drained(work.id);
    if (refused()) {
      if (this.left === work) this.left = null;
      work.readOnly = shown; // what is no longer on screen is opened anew
      if (!shown) this.leaving();
      return;
    }
    if (shown) this.#drawPace();
    else {
      this.leaving();
      this.left = Object.assign(work, { leftBy: action });
      await this.next();
    }
    if (this.left === work) this.#tell(work, action, changes[0].text); // not where it was taken back, or followed by the next, meanwhile
    if (action === "submit") await goldFeedback(work.id);
  }

  /** Whose the two were. */
  async #tell(work, action, reason) {
    const again = h("button", { type: "button", class: "secondary", onclick: () => this.open(() => get(`/api/pairs/assignments/${encodeURIComponent(work.id)}`)) }, "Look at it again");
    if (action === "skip") {
      notice(this.notices, "left", "good", `Left: ${exitWord(reason)}.`, again);
      return;
    }
    let words = "Submitted and saved.";
    try {
      const { sides } = await get(`/api/pairs/assignments/${encodeURIComponent(work.id)}`);
      const [a, b] = sides.map((side) => side.model || "a model without a name");
      const hidden = sides.flatMap((side) => side.hidden ?? []);
      const alike = this.work && this.work !== work && this.work.prompt === work.prompt; // it may have one of the two again
      words += alike ? " The pair on screen is of the same question, so whose the two were is not told yet." : ` ${this.work && this.work !== work ? "In the pair before, A" : "A"} was ${a}, B was ${b}.${hidden.length ? ` ${plural(hidden.length, "name")} had been hidden in the text.` : ""}`;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error; // the names can be looked up later
    }
    notice(this.notices, "left", "good", words, again);
  }

  back() {
    const id = this.before.findLast((one) => one !== this.work?.id);
    if (!id) return false;
    this.open(() => get(`/api/pairs/assignments/${encodeURIComponent(id)}`));
    return true;
  }

  /** The last comparisons of this rater, latest first. */
  async history() {
    try {
      return await readLast(this.rater, "pair");
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      notice(this.notices, "open", "error", error.message);
      return [];
    }
  }

  /** How far the rater is in this queue, and how fast, as the server has it now. */
  async #drawPace() {
    const { work } = this;
    try {
      const mine = await readMine(work.assignment);
      if (this.work?.assignment.queue_id === mine.queue_id) this.at("pace").textContent = paceWords(mine);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error; // the page works without, and another's progress is not for everybody
    }
  }

  /** Whether the rater who is here may change this work. */
  owns(work) {
    return work.assignment.rater_id === this.rater;
  }

  /** Take a submission or an exit back: of the pair on screen, or of the one that was left last. */
  async reopen(work = this.work, method = "mouse") {
    this.left = null;
    work.send([{ target: "pair", step: null, dimension: "", value: null, text: null }], method, "reopen");
    await this.outbox.drained(work.id);
    await this.open(() => get(`/api/pairs/assignments/${encodeURIComponent(work.id)}`));
    notice(this.notices, "left", "good", null);
  }

  #drawReadOnly() {
    const { assignment, readOnly } = this.work;
    const own = this.owns(this.work);
    const words = assignment.status === "submitted" ? "You have submitted this comparison." : `This comparison was left (${assignment.status_reason || assignment.status}).`;
    notice(this.notices, "readonly", "info", !readOnly ? null : own ? words : `This is the work of ${assignment.rater_id}.`,
      own ? h("button", { type: "button", class: "secondary", onclick: () => this.reopen() }, "Reopen to change") : "",
      h("button", { type: "button", class: "secondary", onclick: () => this.next() }, "Next pair"));
  }
}
