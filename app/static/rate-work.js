// One assignment while it is rated: the trace, what is judged in it, what was sent and what the server has. No DOM.

import { me } from "./account.js";
import { CodePoints } from "./code-points.js";
import { param } from "./dom.js";
import { presentMs } from "./idle.js";
import { Judgements } from "./judgements.js";
import { eventsOf } from "./sending.js";
import { TraceModel } from "./trace-model.js";

const UI_BUILD = "2";

export class Work {
  /** payload: what /api/assignments answers; outbox: takes the events, and may still hold some of an earlier page. */
  constructor(payload, outbox) {
    const { assignment, trace, ratings } = payload;
    const waiting = outbox.waitingFor(assignment.assignment_id);
    this.outbox = outbox;
    this.assignment = assignment;
    this.id = assignment.assignment_id;
    this.others = me.accounts && assignment.rater_id !== me.rater_id; // another's work is looked at: only they may change it
    this.readOnly = this.others || assignment.status !== "leased";
    this.asked = payload.rubric?.questions ?? {}; // what the rubric asks: kinds of error, tags
    this.remaining = payload.remaining ?? null;
    this.model = TraceModel.fromTrace(trace);
    this.response = trace.response;
    this.judgements = new Judgements(ratings, payload.comments ?? []);
    waiting.forEach((e) => this.judgements.replay(e));
    const { parents, kinds } = this.judgements;
    if (parents.size || kinds.size) this.model.correct(parents, kinds);
    this.lastSeq = Math.max(payload.events_seq ?? 0, ...ratings.map((r) => r.seq ?? 0), ...waiting.map((e) => e.seq), 0);
    this.marks = new Map(); // step (or "trace") -> {waiting: Set of event ids, saved}
    for (const r of ratings) this.marks.set(r.step_idx ?? "trace", { waiting: new Set(), saved: true });
    for (const e of waiting) this.#mark(e).waiting.add(e.event_id);
    this.firstSeq = Math.max(payload.events_seq ?? -1, ...waiting.map((e) => e.seq)); // what this page found: undo may go below it
    this.hadLog = this.firstSeq >= 0;
    this.verifying = assignment.verify_mode === true;
    this.scores = null;
    this.sawScores = sessionStorage.getItem(this.#sawKey) !== null;
    this.showScores(payload.scores ?? []);
    this.cursor = this.#start();
    this.reached = Math.max(this.cursor, 0, ...[...this.judgements.now.values()].map((r) => r.step ?? -1));
    this.look();
  }

  get #sawKey() {
    return `worldline.saw.${this.id}`;
  }

  /** The scores of the reward model in use, from now on in the rater's sight; false where there are none. */
  showScores(found) {
    if (!found.length) return false;
    this.scores = { scorer: found[0].scorer, values: found[0].values };
    this.sawScores = true;
    sessionStorage.setItem(this.#sawKey, "1");
    return true;
  }

  /** The rater looks at something else from now on: the time until the next event is counted from here. */
  look() {
    this.dwellFrom = presentMs();
  }

  // ---------------------------------------------------------------- events

  /** Send changes in their order; what the server says of them comes back to `settle`. */
  send(changes, method, action = null) {
    const events = eventsOf(this, changes, method, action, this.sawScores, UI_BUILD);
    for (const e of events) this.#mark(e).waiting.add(e.event_id);
    this.outbox.put(events);
    return events;
  }

  /** The server answered for one event: by its id, never by its place, so that a late answer cannot repaint a newer state. */
  settle(event, saved) {
    const mark = this.#mark(event);
    mark.waiting.delete(event.event_id);
    if (saved) mark.saved = true;
  }

  savedOf(step) {
    const mark = this.marks.get(step);
    return !mark ? "none" : mark.waiting.size ? (this.live ? "kept" : "waiting") : mark.saved ? "saved" : "none";
  }

  #mark(event) {
    const key = event.step_idx ?? "trace";
    if (!this.marks.has(key)) this.marks.set(key, { waiting: new Set(), saved: false });
    return this.marks.get(key);
  }

  // ---------------------------------------------------------------- where the rater is

  /** The step to come back to: where this tab was, else the URL's, else the first unrated. */
  #start() {
    const { steps } = this.model;
    const here = JSON.parse(sessionStorage.getItem("worldline.cursor") ?? "null");
    if (here?.id === this.id && steps[here.step]) return here.step;
    const asked = param("assignment") === this.id ? Number(param("step")) - 1 : -1;
    if (steps[asked]) return asked;
    return this.#unrated()[0] ?? this.judgements.firstError ?? (steps.length ? 0 : -1);
  }

  remember() {
    sessionStorage.setItem("worldline.cursor", JSON.stringify({ id: this.id, step: this.cursor }));
  }

  /** The steps that are still to be rated: those before the first error. */
  #unrated() {
    return Array.from({ length: this.judgements.firstError ?? this.model.steps.length }, (_, i) => i).filter((i) => !this.judgements.rated.has(i));
  }

  get missing() {
    return this.judgements.missing(this.judgements.firstError ?? this.model.steps.length);
  }

  /** The next step without a rating, round and round; undefined where there is none. */
  get nextUnrated() {
    const open = this.#unrated();
    return open.find((i) => i > this.cursor) ?? open[0];
  }

  // ---------------------------------------------------------------- cuts: the log counts code points, the page UTF-16 units

  get #points() {
    this.codePoints ??= new CodePoints(this.response);
    return this.codePoints;
  }

  #startOf(step) {
    return this.#points.toUnits(this.model.steps[step].start);
  }

  /** The text of a step as it was written, tokens included. */
  textOf(step) {
    return this.response.slice(this.#startOf(step), this.#points.toUnits(this.model.steps[step].end));
  }

  /** Where a step is cut, in units into its text. */
  cutsOf(step) {
    const cuts = this.judgements.cuts(step);
    return cuts.length ? cuts.map((at) => this.#points.toUnits(at) - this.#startOf(step)) : cuts;
  }

  /** The place of the error in a step, [from, to] in units into its text; null where none is marked. */
  spanOf(step) {
    return this.judgements.span(step)?.map((at) => this.#points.toUnits(at) - this.#startOf(step)) ?? null;
  }

  /** Units into a step's text -> code points into the response. */
  pointOf(step, unit) {
    return this.#points.toPoint(this.#startOf(step) + unit);
  }
}
