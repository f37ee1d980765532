// Search in a trace: which steps hold a text. Every step's text is lower-cased once, so that a keystroke only looks it up.
// Pure data: no DOM.

import { FIELDS } from "./trace-model.js";

export class TraceIndex {
  constructor() {
    this.model = null;
    this.texts = []; // of step i, once asked for
  }

  /** Indexes of the steps that hold `query`, -1 for the question, in order; `answer` tells whether the answer does. */
  find(model, query) {
    if (model !== this.model) {
      this.model = model;
      this.texts = [];
    }
    const wanted = query.toLowerCase();
    if (!wanted) return { steps: [], answer: false };
    const steps = model.prompt.toLowerCase().includes(wanted) ? [-1] : [];
    for (const step of model.steps) if (this.#text(step).includes(wanted)) steps.push(step.index);
    return { steps, answer: model.answer.toLowerCase().includes(wanted) };
  }

  #text(step) {
    const known = this.texts[step.index];
    // A step is replaced when it is complete; until then its text grows.
    if (known?.step === step) return known.text;
    const text = FIELDS.map((field) => step[field] ?? "").join("\n").toLowerCase();
    if (!step.writing) this.texts[step.index] = { step, text };
    return text;
  }
}
