// Equal words highlighted wherever they stand: in the question, the answer and every step. A click on a word, or a key that
// walks through the words of the current step. Marks lie over the text (CSS Custom Highlight API): no row is drawn anew, and
// only what is in view is marked, so that 5,000 steps cost what ten do. Knows no rating.

import { framed, h, plural, say } from "./dom.js";

const WORD = /\d+(?:[.,]\d+)*|[\p{L}_][\p{L}\p{N}_'’]*/gu;
const TOKEN = /<\|[^|<>\n]{1,80}\|>/g;
const NAME = "wl-same";
const RANGES_MOST = 600; // in view at once; a page of text has fewer words
// Words that every step has: the keys pass over them, a click does not.
const COMMON = new Set("a an and are as at be but by can for from i if in is it let me my no not of on or so step that the then there this to we with you".split(" "));
const WRITTEN = ["thought", "summary", "reflection"];

/** A pattern that finds a word by itself: 5 is not found in 15, in 5.2 or in x5. */
export function wordPattern(word) {
  const escaped = word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  return new RegExp(`(?<![\\p{L}\\p{N}_]|\\d[.,])${escaped}(?![\\p{L}\\p{N}_]|[.,]\\d)`, "giu");
}

export class SameWords {
  /** list: the StepList; around: other elements with text; status: where it is said; at() -> the current step; go(step). */
  constructor(list, around, status, { at, go, label }) {
    Object.assign(this, { list, around, status, at, go, label, word: null, steps: [] });
    this.paint = framed(() => this.#paint());
    list.host.addEventListener("scroll", () => this.word && this.paint(), { passive: true });
    new MutationObserver(() => this.word && this.paint()).observe(list.inner, { childList: true, subtree: true });
    for (const element of [list.host, ...around]) element.addEventListener("click", (event) => this.#click(event));
    status.hidden = true;
  }

  show(model) {
    this.model = model;
    this.texts = model.format === "steiner" ? ["name", ...WRITTEN] : WRITTEN; // elsewhere the name is taken from the text: it would count twice
    this.clear();
  }

  clear() {
    this.word = null;
    if (globalThis.Highlight) CSS.highlights.delete(NAME);
    if (this.steps.length) this.list.mark([]);
    this.steps = [];
    this.status.hidden = true;
  }

  /** The next (direction 1) or last word of the current step that stands elsewhere, too. */
  walk(direction) {
    const step = this.model.steps[this.at()];
    const words = this.#words(step);
    const from = this.word === null ? -1 : words.indexOf(this.word.toLowerCase());
    const start = from < 0 ? (direction > 0 ? 0 : words.length - 1) : from + direction;
    for (let i = start; i >= 0 && i < words.length; i += direction) {
      const { count } = this.#count(words[i]);
      if (count > this.#within(step, words[i])) return this.choose(words[i]);
    }
    this.clear();
    say("No further word of this step stands elsewhere.");
  }

  next(direction) {
    if (this.word === null) return say("No word is highlighted: click one, or press h.");
    const at = this.at();
    const found = direction > 0 ? this.steps.find((s) => s > at) : this.steps.findLast((s) => s < at);
    if (found === undefined) return say(`“${this.word}” does not stand in a step ${direction > 0 ? "after" : "before"} this.`);
    return this.go(found);
  }

  choose(word) {
    const { count, steps } = this.#count(word);
    this.word = word;
    this.steps = steps;
    this.list.mark(steps);
    const words = `“${word}” stands ${count === 1 ? "once" : `${plural(count, "time")}`}, in ${plural(steps.length, "step")}`;
    const button = (text, name, run) => h("button", { type: "button", class: "quiet", "aria-label": name, title: name, onclick: run }, text);
    this.status.replaceChildren(h("span", { class: "text" }, words),
      button("◂", "Step before with this word", () => this.next(-1)), button("▸", "Next step with this word", () => this.next(1)), button("×", "No word is highlighted any more", () => this.clear()));
    this.status.hidden = false;
    say(words);
    this.paint();
  }

  #words(step) {
    const text = step ? this.texts.map((name) => step[name]).join("\n") : this.model.prompt;
    return [...new Set((text.replace(TOKEN, " ").match(WORD) ?? []).map((w) => w.toLowerCase()))].filter((w) => !COMMON.has(w));
  }

  #within(step, word) {
    const pattern = wordPattern(word);
    return step ? this.texts.reduce((n, name) => n + (step[name].match(pattern)?.length ?? 0), 0) : (this.model.prompt.match(pattern)?.length ?? 0);
  }

  #count(word) {
    const pattern = wordPattern(word);
    const steps = [];
    let count = (this.model.prompt.match(pattern)?.length ?? 0) + (this.model.answer.match(pattern)?.length ?? 0);
    for (const step of this.model.steps) {
      const here = this.#within(step, word);
      count += here;
      if (here) steps.push(step.index);
    }
    return { count, steps };
  }

  #click(event) {
    if (event.detail > 1 || !getSelection().isCollapsed || event.target.closest("button, input, textarea, select, label, a, kbd, .cutter, .wl-chip, .num")) return;
    const found = document.caretPositionFromPoint?.(event.clientX, event.clientY);
    const range = found ? null : document.caretRangeFromPoint?.(event.clientX, event.clientY);
    const node = found?.offsetNode ?? range?.startContainer;
    const offset = found?.offset ?? range?.startOffset;
    if (node?.nodeType !== Node.TEXT_NODE) return;
    const word = [...node.data.matchAll(WORD)].find((w) => w.index <= offset && offset <= w.index + w[0].length);
    if (!word || !this.#under(node, word, event)) return;
    if (this.word?.toLowerCase() === word[0].toLowerCase()) this.clear();
    else this.choose(word[0]);
  }

  /** Whether the pointer is on the word: a click beside a line means the row. */
  #under(node, word, { clientX, clientY }) {
    const range = document.createRange();
    range.setStart(node, word.index);
    range.setEnd(node, word.index + word[0].length);
    return [...range.getClientRects()].some((r) => clientX >= r.left - 1 && clientX <= r.right + 1 && clientY >= r.top && clientY <= r.bottom);
  }

  #paint() {
    if (this.word === null || !globalThis.Highlight) return;
    const pattern = wordPattern(this.word);
    const ranges = [];
    for (const root of [...this.around, ...this.list.inView()]) this.#find(root, pattern, ranges);
    CSS.highlights.set(NAME, new Highlight(...ranges));
  }

  #find(root, pattern, ranges) {
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    while (walker.nextNode() && ranges.length < RANGES_MOST) {
      const node = walker.currentNode;
      if (node.parentElement.closest("button, kbd, .num, .wl-chip, .questions, .mending")) continue;
      for (const found of node.data.matchAll(pattern)) ranges.push(new StaticRange({ startContainer: node, startOffset: found.index, endContainer: node, endOffset: found.index + found[0].length }));
    }
  }
}
