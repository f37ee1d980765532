// One of the two traces: its head, its tree, its steps, its answer. Knows nothing of the other but what it has in common with
// it, and no judgement.

import { $, h, plural } from "./dom.js";
import { differingWords } from "./first-difference.js";
import { Overview } from "./overview.js";
import { shownText } from "./reading.js";
import { hasMarkup } from "./rich-text.js";
import { StepList } from "./steplist.js";
import { StepTexts } from "./step-texts.js";
import { outcomeMark } from "./worldlines.js";

const QUOTED = 160; // characters of what differs in a text that is shown rendered

export class CompareSide {
  /** root: the column; letter: "A" | "B"; onSelect(index, how) after a step was selected. */
  constructor(root, letter, { onSelect }) {
    Object.assign(this, { root, letter, at: (name) => $(`[data-part="${name}"]`, root) });
    this.work = null;
    this.host = this.at("list");
    this.list = new StepList(this.host, { look: "full", label: `Steps of ${letter}`, decorate: (step) => this.#row(step), onSelect });
    this.texts = new StepTexts(this.host);
    this.overview = new Overview(this.at("overview"), {
      toneOf: (step) => (step.index < this.work.shared ? "unrated" : step.index === this.work.difference ? "difference" : step.is_backtrack ? "back" : "plain"),
      onSelect: (index) => this.go(index, "mouse"),
    });
  }

  /** work: a PairWork; place: 0 left, 1 right. */
  show(work, place) {
    Object.assign(this, { work, place, model: work.models[place] });
    const [own, other] = [work.sides[place], work.sides[1 - place]].map((side) => side.steps[work.difference]);
    this.words = new Map(); // field -> [start, end] of what the other has not
    for (const field of own && other ? ["thought", "summary", "reflection"] : []) {
      const parts = place ? differingWords(other[field] ?? "", own[field] ?? "") : differingWords(own[field] ?? "", other[field] ?? "");
      if (parts) this.words.set(field, place ? parts.b : parts.a);
    }
    this.#drawHead();
    this.redraw();
    this.list.show(this.model);
    this.overview.show(this.model);
    this.fold(work.shared > 0);
    if (this.model.steps.length) this.list.select(Math.min(work.difference, this.model.steps.length - 1));
  }

  /** The texts anew: rendered or raw. */
  redraw() {
    this.texts.clear();
    this.at("answer").replaceChildren(...shownText(this.model.answer || "(no answer)"));
    if (this.list.model === this.model) this.list.touchAll();
  }

  /** Hide the steps that both have, or show them. The question stands above both columns. */
  fold(folded) {
    this.folded = folded;
    this.list.hideFirst(1 + (folded ? this.work.shared : 0));
  }

  get first() {
    return this.folded ? this.work.shared : 0;
  }

  /** Select a step and bring it into view. */
  go(index, how = "key") {
    if (this.list.select(index, how)) this.list.reveal(index);
  }

  focus() {
    this.host.focus({ preventScroll: true });
  }

  #drawHead() {
    const { model, work } = this;
    const side = work.sides[this.place];
    const words = [plural(model.steps.length, "step"), model.backtracks ? plural(model.backtracks, "backtrack") : "no backtrack"];
    if (side.finish_reason !== "stop") words.push(`cut off (${side.finish_reason})`);
    const known = side.model ?? null;
    this.at("head").replaceChildren(...[
      h("h2", {}, h("span", { class: "letter" }, this.letter), h("span", { class: "wl-visually-hidden" }, this.place ? " (on the right)" : " (on the left)")),
      h("span", { class: "muted facts-line" }, words.join(" · ")),
      known === null ? null : h("span", { class: "wl-chip" }, known),
      side.solved === undefined ? null : outcomeMark({ state: "done", solved: side.solved }),
      side.n_hidden ? h("span", { class: "wl-chip quiet", title: "Names of models and makers are hidden in the text until you have submitted" }, `${plural(side.n_hidden, "name")} hidden`) : null,
      side.hidden?.length ? h("span", { class: "muted was-hidden" }, `was hidden: ${side.hidden.join(", ")}`) : null,
    ].filter(Boolean));
  }

  #row(step) {
    const { shared, difference } = this.work;
    const here = step.index === difference;
    return {
      classes: step.index < shared ? "shared" : here ? "difference" : "",
      tone: step.is_backtrack ? "back" : "",
      chips: here ? [h("span", { class: "wl-chip difference" }, "first difference")] : [],
      fields: here && this.words.size ? this.#fields(step) : this.texts.fields(step),
    };
  }

  /** The fields of the step in which the two part, with the words that differ marked. */
  #fields(step) {
    return ["thought", "summary", "reflection"].filter((field) => step[field]).flatMap((field) => {
      const text = step[field];
      const [from, to] = this.words.get(field) ?? [0, 0];
      if (from === to) return [this.texts.show(`${step.index}.${field}`, text, field)];
      const differs = text.slice(from, to);
      if (!hasMarkup(text)) return [h("p", { class: field }, text.slice(0, from), h("mark", { class: "differs" }, differs), text.slice(to))];
      const quote = differs.length > QUOTED ? `${differs.slice(0, QUOTED)}…` : differs;
      return [this.texts.show(`${step.index}.${field}`, text, field), h("p", { class: "muted differs-line" }, "Differs: ", h("mark", { class: "differs" }, quote))];
    });
  }
}
