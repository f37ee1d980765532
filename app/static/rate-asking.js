// What the panel of the Rate page asks of a step: what is wrong with it, what should stand there, a remark, the same rating for
// those that follow, everything that was ever said of it. Knows which step is meant. `room` is the page: {at, list, panel, work, apply}; see rate.js.

import { ApiError } from "./api.js";
import { applyNext } from "./apply-next.js";
import { betterStep } from "./better-step.js";
import { commentStep } from "./comment-step.js";
import { h, plural, say } from "./dom.js";
import { ERROR_TYPES, errorDetails, selectedPlace } from "./error-details.js";
import { CHOICES, COMMENT } from "./judgements.js";
import { historyTable, readHistory } from "./label-history.js";

export class Asking {
  constructor(room) {
    this.room = room;
    this.begin();
    room.at("list").addEventListener("click", (event) => {
      const button = event.target.closest("button[data-details], button[data-write]");
      if (!button || !room.work) return;
      const { details, write, step } = button.dataset;
      if (write === "history") return void this.openHistory();
      if (room.work.readOnly) return;
      if (details) this.openDetails(Number(details));
      else if (write === "better") this.openBetter(Number(step));
      else this.openComment(Number(step));
    });
  }

  /** Another trace is there. */
  begin() {
    this.lastChoice = null; // what "the same for the next" gives
    this.lastRated = null; // the step it was given to, while the cursor stands behind it
  }

  rated(step, choice) {
    this.lastChoice = choice;
    this.lastRated = step;
  }

  moved(to) {
    if (to !== this.lastRated + 1) this.lastRated = null;
  }

  #isBad(step) {
    return this.room.work.judgements.choice("step", step, "correctness") === "bad";
  }

  /** The bad step that is meant: the one that was just rated, behind which the cursor stands; else the current one, else the one before. */
  judgedStep() {
    const { cursor } = this.room.work;
    return [this.lastRated ?? -1, cursor, cursor - 1].find((step) => this.#isBad(step)) ?? null;
  }

  #show(content, step) {
    this.room.panel.show(content);
    requestAnimationFrame(() => this.room.list.reveal(step)); // the list is lower now
  }

  #set(step, dimension, text, method = "key") {
    this.room.apply(this.room.work.judgements.change([{ target: "step", step, dimension, value: null, text }]), method);
  }

  openDetails(asked = null) {
    const { work, at, apply } = this.room;
    const place = asked === null && !work.live ? selectedPlace(at("list"), (step) => work.textOf(step)) : null;
    const step = asked ?? (place && this.#isBad(place.step) ? place.step : this.judgedStep());
    if (step === null) return say("Rate a step bad first; then say what is wrong with it.");
    const content = errorDetails({
      step, types: work.asked.error_types?.length ? work.asked.error_types : ERROR_TYPES,
      room: { judgements: work.judgements, steps: work.model.steps, textOf: (i) => (work.live ? "" : work.textOf(i)), spanOf: (i) => work.spanOf(i), pointOf: (i, unit) => work.pointOf(i, unit) },
      change: (changes, method) => apply(work.judgements.change(changes), method),
    });
    this.#show(content, step);
    if (place?.step === step) content.mark(place.span);
  }

  openBetter(step) {
    const { work } = this.room;
    if (!work.model.steps[step]) return say("Choose a step first.");
    this.#show(betterStep({ step, raw: work.textOf(step), held: () => work.judgements.get("step", step, "better")?.text ?? null, change: (text) => this.#set(step, "better", text) }), step);
  }

  openComment(step) {
    const { work, panel } = this.room;
    this.#show(commentStep({ step, held: () => work.judgements.comment(step), close: () => panel.close(), change: (text) => this.#set(step, COMMENT, text) }), step);
  }

  /** Everything that was ever done to the labels of the current step; of the whole trace, while the question is the current row. */
  async openHistory() {
    const { work } = this.room;
    if (work.live) return say("Nothing is stored of it before the model has ended.");
    const step = work.cursor < 0 ? null : work.cursor;
    let body;
    try {
      body = historyTable(await readHistory(work.assignment.trace_id, step, work.assignment.queue_id));
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      body = h("p", { class: "muted" }, error.message);
    }
    if (this.room.work !== work) return;
    this.#show({ name: "history", title: step === null ? "History of what was said of the trace" : `History of step ${step + 1}`, body: [body], focus: () => this.room.at("panel").querySelector("button, [tabindex]").focus() }, step ?? 0);
  }

  /** The last rating for the steps from the cursor on; where the current step is rated, for those after it. */
  openApply() {
    const { work, panel, list, apply } = this.room;
    const { judgements, model } = work;
    const cursor = Math.max(0, work.cursor);
    const here = judgements.choice("step", cursor, "correctness");
    const name = here ?? this.lastChoice?.name ?? judgements.choice("step", cursor - 1, "correctness");
    const choice = CHOICES.find((c) => c.name === name);
    const from = here ? cursor + 1 : cursor;
    if (!choice) return say("Rate a step first; then give the same rating to those that follow.");
    if (from >= model.steps.length) return say("No step follows.");
    this.#show(applyNext({
      judgements, choice, from, total: model.steps.length, close: () => panel.close(),
      apply: (steps, n) => {
        if (steps.length) apply(judgements.change(steps.flatMap((step) => judgements.rateChanges(step, choice))), "key");
        say(`${plural(steps.length, "step")} rated ${choice.word}`);
        list.select(Math.min(from + n, model.steps.length - 1), "key");
        list.revealSoon();
      },
    }), cursor);
  }
}
