// Which straight runs of steps (no branch, no turn back) are folded to one row each, and so which row stands where. A run's
// first step stands for it. Pure data: no DOM.

export const LEAST = 3; // steps: two rows folded to one save nothing

export class Folds {
  constructor() {
    this.reset(false);
  }

  /** all: whether runs are folded unless one is turned by itself. */
  reset(all) {
    this.all = all;
    this.turned = new Set(); // first steps of the runs that are not as `all` says
    this.layout({ steps: [] }, null);
  }

  /** Find the runs anew, after the model or what is folded has changed. The run around the selected step stays open. */
  layout(model, selected) {
    const count = model.steps.length;
    this.first = new Int32Array(count); // of the run of each step
    this.last = new Int32Array(count); // only for first steps
    for (let i = 0; i < count; i += 1) {
      const step = model.steps[i];
      const joins = i > 0 && step.parent === i - 1 && !step.is_backtrack && model.childrenOf(i - 1).length === 1;
      this.first[i] = joins ? this.first[i - 1] : i;
      this.last[this.first[i]] = i;
    }
    const growing = model.state === "running" ? count - 1 : -1; // what is being written is seen
    this.shown = [-1]; // the step of each row; -1 is the question
    this.places = new Int32Array(count); // the row of each step
    this.folded = new Set(); // first steps of folded runs
    for (let i = 0; i < count; i = this.last[i] + 1) {
      const last = this.last[i];
      let folded = last - i + 1 >= LEAST && last !== growing && this.all !== this.turned.has(i);
      if (folded && selected > i && selected <= last) {
        this.#turn(i);
        folded = false;
      }
      if (folded) this.folded.add(i);
      for (let at = i; at <= last; at += 1) {
        if (at === i || !folded) this.shown.push(at);
        this.places[at] = this.shown.length - 1;
      }
    }
  }

  #turn(first) {
    if (!this.turned.delete(first)) this.turned.add(first);
  }

  /** Fold or unfold the run of a step; false where there is nothing to do. */
  set(index, folded) {
    const run = this.run(index);
    if (!run || this.folded.has(run.first) === folded) return false;
    this.#turn(run.first);
    return true;
  }

  /** The run of a step that could be folded, {first, last}; null for the question and where it is too short. */
  run(index) {
    const first = this.first[index];
    return first !== undefined && this.last[first] - first + 1 >= LEAST ? { first, last: this.last[first] } : null;
  }

  /** The step in whose row a step is shown. */
  head(index) {
    return this.folded.has(this.first[index]) ? this.first[index] : index;
  }

  /** The last of the steps that the row of `index` stands for. */
  lastOf(index) {
    return this.folded.has(index) ? this.last[index] : index;
  }

  place(index) {
    return index < 0 ? 0 : this.places[index];
  }
}
