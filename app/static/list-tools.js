// The bar over the step list: jumps to the next and the previous turn back, branch point, check, and the search in the
// trace. Knows the list and the model, no run.

import { $, h, number, plural, say } from "./dom.js";
import { TraceIndex } from "./search.js";
import { hasLandmark } from "./landmarks.js";

const JUMPS = [["backtrack", "↩", "Backtrack", "backtrack"], ["branch", "↱", "Branch", "branch point"], ["verify", "✓", "Check", "verification"]];

export class ListTools {
  /** host: the bar's markup; keys: labels of actions; redraw(query, found) when what is searched for changes; show(index) selects a step. */
  constructor(host, { list, model, keys, redraw, show }) {
    Object.assign(this, { host, list, model, keys, redraw, show });
    this.index = new TraceIndex();
    this.query = "";
    this.found = { steps: [], answer: false };
    this.box = $('[data-id="find"]', host);
    this.count = $('[data-id="found"]', host);
    this.groups = new Map(JUMPS.map(([what, glyph, word, words]) => {
      const button = (side, arrow) => {
        const action = `${what}-${side}`;
        return h("button", { type: "button", class: "quiet", "aria-label": `${side === "next" ? "Next" : "Previous"} ${words}`, dataset: { move: action, words: `${side === "next" ? "Next" : "Previous"} ${words}` }, onclick: () => list.navigate(action) }, arrow);
      };
      return [what, h("span", { class: "jumps", role: "group", "aria-label": `Go to a ${words}` }, button("previous", "‹"), h("span", { class: "word" }, h("span", { "aria-hidden": "true", class: "glyph" }, glyph), word), button("next", "›"))];
    }));
    this.fold = h("button", { type: "button", class: "quiet fold-runs", "aria-pressed": false, dataset: { move: "fold-all", words: "Straight runs of steps in one row each" }, onclick: () => list.foldAll(!list.folds.all) },
      h("span", { class: "glyph", "aria-hidden": "true" }), "Fold runs");
    list.host.addEventListener("fold", (event) => this.fold.setAttribute("aria-pressed", event.detail));
    $('[data-id="jumps"]', host).append(...this.groups.values(), this.fold);
    this.#tellKeys();
    keys.region.addEventListener("keyschanged", () => this.#tellKeys());
    this.box.addEventListener("input", () => this.search(this.box.value, true));
    this.box.addEventListener("keydown", (event) => this.#press(event));
    for (const side of ["previous", "next"]) $(`[data-id="find-${side}"]`, host).addEventListener("click", () => this.go(side === "next" ? 1 : -1));
  }

  /** Another trace, or a change of this one: which jumps there are, and what is found now. */
  update() {
    const model = this.model();
    for (const [what, group] of this.groups) group.hidden = what === "verify" && !hasLandmark(model, what);
    if (this.query) this.search(this.query);
  }

  focus() {
    this.box.focus();
    this.box.select();
  }

  search(query, typed = false) {
    this.query = query.trim();
    this.found = this.index.find(this.model(), this.query);
    this.list.mark(this.found.steps);
    this.#tell();
    this.redraw(this.query, this.found);
    if (!typed) return;
    clearTimeout(this.saying);
    if (this.query) this.saying = setTimeout(() => say(this.#words()), 600);
  }

  /** The next match after the selected step, round and round. */
  go(direction) {
    const { steps } = this.found;
    if (!this.query) return this.focus();
    if (!steps.length) return say(this.#words());
    const at = this.list.selected ?? -2;
    const next = direction > 0 ? steps.find((index) => index > at) ?? steps[0] : steps.findLast((index) => index < at) ?? steps.at(-1);
    this.show(next);
    this.#tell();
    say(`Match ${this.#place()}`);
  }

  clear() {
    this.box.value = "";
    this.search("");
  }

  /** The selection has moved: "3 of 17" follows it. */
  selected() {
    if (this.query) this.#tell();
  }

  #press(event) {
    if (event.isComposing) return;
    if (event.key === "Enter") {
      event.preventDefault();
      this.go(event.shiftKey ? -1 : 1);
    } else if (event.key === "Escape") {
      event.preventDefault();
      this.clear();
      this.list.host.focus({ preventScroll: true });
    }
  }

  /** Which key each button has now: shown by the mouse, said by a screen reader. */
  #tellKeys() {
    for (const button of this.host.querySelectorAll("[data-move]")) {
      const { move, words } = button.dataset;
      const aria = this.keys.aria(move);
      button.title = aria ? `${words} (${this.keys.label(move)})` : words;
      if (aria) button.setAttribute("aria-keyshortcuts", aria);
      else button.removeAttribute("aria-keyshortcuts");
    }
  }

  #place() {
    const { steps } = this.found;
    const place = steps.indexOf(this.list.selected);
    return place < 0 ? number(steps.length) : `${number(place + 1)} of ${number(steps.length)}`;
  }

  #words() {
    const { steps, answer } = this.found;
    if (!steps.length) return answer ? "Only in the answer" : "Not found";
    return `${this.list.selected !== null && steps.includes(this.list.selected) ? this.#place() : plural(steps.length, "step")}${answer ? " + answer" : ""}`;
  }

  #tell() {
    this.count.textContent = this.query ? this.#words() : "";
    this.host.classList.toggle("searching", this.query !== "");
  }
}
