// Corrections of what was inferred, on the Rate page: which step a step follows from, what it does, where it is cut, that it
// belongs to the one before. `room` is the page: {at, list, overview, cutter, work, apply}; see rate.js.

import { say } from "./dom.js";

export class Mending {
  constructor(room) {
    this.room = room;
    const list = room.at("list");
    list.addEventListener("change", (event) => {
      const { mend: what, step } = event.target.dataset;
      if (what && this.#mayChange) this.mend(Number(step), what, event.target.validity.badInput ? "no number" : event.target.value);
    });
    list.addEventListener("click", (event) => {
      const button = event.target.closest("button[data-mend], button[data-recut], button[data-uncut]");
      if (!button || !this.#mayChange) return;
      const { mend: what, recut, uncut, step } = button.dataset;
      if (what) this.mend(Number(step), what, null);
      else if (uncut) this.cutAt(Number(step), Number(uncut), "mouse");
      else if (recut === "cut") this.cutting(Number(step));
      else this.join(Number(step), "mouse");
      if (room.cutter.index === Number(step)) room.cutter.focus();
      else list.focus({ preventScroll: true }); // where the keys work: the button may be gone
    });
  }

  get #mayChange() {
    return this.room.work !== null && !this.room.work.readOnly;
  }

  /** A correction of the tree: `what` is parent or kind; "none" takes everything back. */
  mend(index, what, value) {
    const { work, list, apply } = this.room;
    const step = work.model.steps[index];
    const change = (dimension, number, text) => ({ target: "step", step: index, dimension, value: number, text });
    let changes;
    if (what === "none") changes = work.judgements.inferredChanges(index);
    else if (what === "kind") changes = [change("kind", null, value === (step.inferred ?? step).kind ? null : value)];
    else {
      const inferred = (step.inferred ?? step).parent ?? -1;
      const parent = value.trim() === "" ? inferred : Math.round(Number(value)) - 1; // emptied: as inferred
      if (!(parent >= -1 && parent < index)) {
        say(`Step ${index + 1} can follow the question (0) or a step before it.`);
        list.touch(index);
        return;
      }
      if (parent === (step.parent ?? -1)) return list.touch(index); // so it is already: the number is shown again
      changes = [change("parent", parent === inferred ? null : parent, null)];
    }
    if (changes.length) apply(work.judgements.change(changes), "mouse");
  }

  cutting(index) {
    const { work, list, cutter } = this.room;
    if (cutter.index === index) return cutter.leave();
    const text = work.textOf(index);
    if (text.length < 2) return say("There is nothing to cut in this step.");
    this.endCutting();
    cutter.open(index, text);
    list.touch(index);
    list.reveal(index);
    cutter.focus();
  }

  endCutting() {
    const { list, cutter } = this.room;
    const { index } = cutter;
    cutter.close();
    if (index !== null) list.touch(index);
  }

  cutAt(index, unit, method) {
    const { work, apply } = this.room;
    const point = work.pointOf(index, unit);
    apply(work.judgements.change(work.judgements.cutChanges(index, point)), method);
    const parts = work.judgements.cuts(index).length + 1;
    say(parts === 1 ? `Step ${index + 1} is not cut any more.` : `Step ${index + 1} is cut into ${parts} parts.`);
  }

  join(index, method) {
    const { work, apply } = this.room;
    if (index === 0) return say("The first step has no step before it to be joined with.");
    apply(work.judgements.change(work.judgements.joinChanges(index)), method);
    say(work.judgements.joined(index) ? `Step ${index + 1} is joined with step ${index}.` : `Step ${index + 1} stands by itself again.`);
  }

  /** Draw the tree as it is corrected now. */
  redrawTree() {
    const { work, list, overview } = this.room;
    work.model.correct(work.judgements.parents, work.judgements.kinds);
    list.update({ opened: null, changed: null, moved: true, other: false });
    overview.update();
  }
}
