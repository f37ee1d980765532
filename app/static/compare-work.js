// One comparison while it is made: the two traces as they are shown, what was judged, what was sent and what the server has.
// Judgements are kept and sent in the pair's own order; `shown` and `meant` are the way from there to the screen and back.
// No DOM.

import { me } from "./account.js";
import { presentMs } from "./idle.js";
import { Judgements } from "./judgements.js";
import { eventsOf } from "./sending.js";
import { TraceModel } from "./trace-model.js";
import { firstDifferentStep } from "./first-difference.js";

const UI_BUILD = "compare-1";
export const BOTH_BAD = "both_bad";
export const UNSURE = "unsure";
export const PREFERENCE = "preference";

export class PairWork {
  /** payload: what /api/pairs answers; outbox: takes the events, and may still hold some of an earlier page. */
  constructor(payload, outbox) {
    const { assignment, ratings, sides } = payload;
    const waiting = outbox.waitingFor(assignment.assignment_id);
    Object.assign(this, {
      payload, outbox, assignment, sides, id: assignment.assignment_id, prompt: payload.prompt,
      criteria: payload.criteria ?? [], shared: payload.shared_steps, remaining: payload.remaining ?? null, names: payload.names_visible,
    });
    this.readOnly = !["leased", "offered"].includes(assignment.status) || (me.accounts && assignment.rater_id !== me.rater_id); // another's is only looked at
    // Whoever has seen the names once judges with them in mind, in this page or in an earlier one.
    this.sawNames = payload.names_seen;
    this.models = sides.map((side) => TraceModel.fromTrace({ ...side, trace_id: side.trace_id ?? null, prompt: payload.prompt }));
    this.difference = firstDifferentStep(sides[0].steps, sides[1].steps, this.shared);
    this.judgements = new Judgements(ratings);
    waiting.forEach((e) => this.judgements.replay(e));
    this.lastSeq = Math.max(payload.events_seq ?? 0, ...waiting.map((e) => e.seq), 0);
    this.firstSeq = Math.max(payload.events_seq ?? -1, ...waiting.map((e) => e.seq)); // what this page found: undo may go below it
    this.hadLog = this.firstSeq >= 0;
    this.unsaved = new Set(waiting.map((e) => e.event_id));
    this.look();
  }

  /** The time until the next event is counted from here. */
  look() {
    this.dwellFrom = presentMs();
  }

  /** A strength in the pair's own order as it is shown here, or the other way round. */
  #flip(value) {
    return value === null || !this.assignment.swapped ? value : 0 - value;
  }

  /** What was chosen for a dimension, as it is shown: a number from −3 (left) to 3, "both_bad", "unsure", or null. */
  shown(dimension = PREFERENCE) {
    const held = this.judgements.get("pair", null, dimension);
    if (!held) return null;
    return held.text === BOTH_BAD || held.text === UNSURE ? held.text : this.#flip(held.value);
  }

  /** The change that makes `choice` (as `shown` gives it; null: none) what counts. */
  meant(dimension, choice) {
    const word = choice === BOTH_BAD || choice === UNSURE;
    return [{ target: "pair", step: null, dimension, value: word || choice === null ? null : this.#flip(choice), text: word ? choice : null }];
  }

  get note() {
    return this.judgements.get("pair", null, "note")?.text ?? "";
  }

  noted(text) {
    return [{ target: "pair", step: null, dimension: "note", value: null, text: text || null }];
  }

  /** Send changes in their order; what the server says of them comes back to `settle`. */
  send(changes, method, action = null) {
    const events = eventsOf(this, changes, method, action, this.sawNames, UI_BUILD);
    this.look();
    for (const e of events) this.unsaved.add(e.event_id);
    this.outbox.put(events);
    return events;
  }

  /** The server answered for one event. */
  settle(event) {
    this.unsaved.delete(event.event_id);
  }
}
