// The texts of the rows on the Rate page, as the reader wants them (rendered or raw). A text is rendered when its row comes
// near the view and kept from then on: a row is built anew at every key, and laying out a formula takes a millisecond.

import { h } from "./dom.js";
import { shownText, showsRaw } from "./reading.js";
import { hasMarkup } from "./rich-text.js";

const NEAR_PX = 900;
const FIELDS = ["thought", "summary", "reflection"];

export class StepTexts {
  /** root: the element that scrolls. */
  constructor(root) {
    this.made = new Map();
    this.waiting = new WeakMap(); // element -> its text
    this.watcher = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) if (isIntersecting) this.#render(target);
    }, { root, rootMargin: `${NEAR_PX}px 0px` });
  }

  clear() {
    this.made.clear();
    this.watcher.disconnect();
  }

  /** The fields of a step, one element each. */
  fields(step) {
    return FIELDS.filter((field) => step[field]).map((field) => this.show(`${step.index}.${field}`, step[field], field));
  }

  /** One text; `key` tells it from all others of the trace. */
  show(key, text, kind) {
    if (showsRaw() || !hasMarkup(text)) return h("p", { class: kind }, text);
    const known = this.made.get(key);
    if (known) return known;
    const element = h("div", { class: `shown ${kind}` }, h("p", {}, text));
    this.made.set(key, element);
    this.waiting.set(element, text);
    this.watcher.observe(element);
    return element;
  }

  #render(element) {
    this.watcher.unobserve(element);
    element.replaceChildren(...shownText(this.waiting.get(element)));
  }
}
