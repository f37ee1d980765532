// Cutting a step: its text as it was written and a caret that moves by character, word and sentence; Enter or a click cuts.
// Offsets here are UTF-16 units into the step's text. Knows no rating and no network.

import { h, say } from "./dom.js";

const segmenters = ["grapheme", "word", "sentence"].map((granularity) => [granularity, new Intl.Segmenter("en", { granularity })]);
// Special tokens of a format are one thing to whoever cuts.
const TOKEN = /<\|[^|<>\n]{1,80}\|>/g;
const TOKENS = new RegExp(`(?:\\s*${TOKEN.source}\\s*)+`, "g");
const SAID_CHARS = 40;

/** The places in a text where a caret may stand. */
export class Places {
  constructor(text) {
    this.length = text.length;
    // A token ends a sentence and is no word: it counts as so many line breaks.
    const words = text.replace(TOKEN, (token) => "\n".repeat(token.length));
    this.parts = Object.fromEntries(segmenters.map(([name, segmenter]) => [name, segmenter.segment(name === "grapheme" ? text : words)]));
    this.tokens = [...text.matchAll(TOKEN)].map((found) => [found.index, found.index + found[0].length]);
  }

  /** The start of the next grapheme, word or sentence after `at` (direction 1), or the one before (-1). */
  move(unit, at, direction) {
    const parts = this.parts[unit];
    const blank = (i) => unit !== "grapheme" && i > 0 && i < this.length && parts.containing(i).segment.trim() === "";
    const step = direction > 0
      ? (i) => { const part = parts.containing(i); return part.index + part.segment.length; }
      : (i) => parts.containing(i - 1).index;
    const end = direction > 0 ? this.length : 0;
    let to = at;
    do {
      if (to === end) break;
      to = step(to);
    } while (blank(to));
    return this.#outside(to, direction);
  }

  /** The nearest beginning or end of a word. */
  near(at) {
    if (at <= 0 || at >= this.length) return at;
    const part = this.parts.word.containing(at);
    const after = part.index + part.segment.length;
    const to = part.segment.trim() === "" || at - part.index > after - at ? after : part.index;
    return this.#outside(to, to < at ? -1 : 1);
  }

  #outside(at, direction) {
    const token = this.tokens.find(([start, end]) => start < at && at < end);
    return token ? token[direction > 0 ? 1 : 0] : at;
  }
}

/** A piece of a step for reading: without special tokens and without white space around it. */
export function readable(text) {
  return text.replace(TOKENS, "\n").trim();
}

/** The line at a cut. `take`: {step, at} makes a button that takes it back. */
export function cutLine(part, parts, take = null) {
  return h("div", { class: "cut-line" }, h("span", { class: "glyph", "aria-hidden": "true" }, "✂"), h("span", {}, `cut: part ${part} of ${parts}`),
    take ? h("button", { type: "button", class: "quiet", tabindex: -1, "aria-label": `Take back the cut before part ${part}`, dataset: { uncut: take.at, step: take.step } }, "take back") : null);
}

/** [start, end] of each piece of a text. */
export function piecesOf(length, cuts) {
  return [0, ...cuts].map((from, i) => [from, cuts[i] ?? length]);
}

export class Cutter {
  /** cut(at, method) makes a cut or takes it back; leave() ends the cutting. */
  constructor({ cut, leave }) {
    Object.assign(this, { cut, leave, index: null });
  }

  open(index, text) {
    this.index = index;
    this.text = text;
    this.places = new Places(text);
    this.at = this.places.move("sentence", 0, 1);
    if (this.at === text.length) this.at = 0;
  }

  close() {
    this.index = null;
    this.box = null;
  }

  focus() {
    this.box?.focus({ preventScroll: true });
  }

  /** The text with its cuts, as an element that takes the keys. */
  element(cuts) {
    this.cuts = cuts;
    const step = this.index + 1;
    this.caret = h("span", { class: "cut-caret", "aria-hidden": "true" });
    const text = piecesOf(this.text.length, cuts).flatMap(([from, to], i) => [
      i ? cutLine(i + 1, cuts.length + 1, { step: this.index, at: from }) : null, h("span", { class: "cut-text", dataset: { from } }, this.text.slice(from, to))]);
    this.box = h("div", {
      class: "cut-box", role: "application", tabindex: 0, "aria-roledescription": "text to cut", "aria-label": `The text of step ${step} as it was written`,
      "aria-describedby": "wl-cut-hint", dataset: { focusKey: `cut-${this.index}` },
    }, text, this.caret);
    this.#fadeTokens();
    this.box.addEventListener("keydown", (event) => this.#press(event));
    this.box.addEventListener("click", (event) => this.#click(event));
    this.box.addEventListener("pointermove", (event) => event.pointerType === "mouse" && this.#place(this.#under(event) ?? this.at));
    this.box.addEventListener("pointerleave", () => this.#place(this.at));
    new ResizeObserver(() => this.#place(this.at)).observe(this.box); // says so at once, too: the first time it is on the page
    const key = (...words) => words.map((word) => h("kbd", {}, word));
    return h("div", { class: "cutter" },
      h("p", { class: "cut-hint", id: "wl-cut-hint" }, "Click where a new step begins, or move there:",
        h("span", {}, key("←", "→"), " character"), h("span", {}, key("Ctrl+←", "→"), " word"), h("span", {}, key("↑", "↓"), " sentence"), h("span", {}, key("Enter"), " cut, or take back"),
        h("button", { type: "button", class: "secondary", onclick: () => this.leave() }, "Done", h("kbd", { "aria-hidden": "true" }, "Esc"))),
      this.box);
  }

  /** Special tokens in a quieter colour, without splitting the text nodes that offsets are counted in. */
  #fadeTokens() {
    if (!globalThis.Highlight) return;
    const nodes = [...this.box.querySelectorAll(".cut-text")].map((piece) => piece.firstChild).filter(Boolean);
    const ranges = nodes.flatMap((node) => [...node.data.matchAll(TOKEN)].map((found) => (
      new StaticRange({ startContainer: node, startOffset: found.index, endContainer: node, endOffset: found.index + found[0].length }))));
    CSS.highlights.set("wl-token", new Highlight(...ranges));
  }

  #press(event) {
    if (event.isComposing) return;
    const word = event.ctrlKey || event.altKey || event.metaKey ? "word" : "grapheme";
    const moves = {
      ArrowRight: () => this.places.move(word, this.at, 1), ArrowLeft: () => this.places.move(word, this.at, -1),
      ArrowDown: () => this.places.move("sentence", this.at, 1), ArrowUp: () => this.places.move("sentence", this.at, -1),
      Home: () => 0, End: () => this.text.length,
    };
    if (event.key in moves) this.#go(moves[event.key]());
    else if (event.key === "Enter" && word === "grapheme") this.#cutAt(this.at, "key");
    else if (event.key === "Backspace" || event.key === "Delete") this.cuts.includes(this.at) ? this.cut(this.at, "key") : say("There is no cut here.");
    else if (event.key === "Escape") this.leave();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  #go(at) {
    this.at = at;
    this.#place(at);
    this.caret.scrollIntoView({ block: "nearest" });
    const next = this.text.slice(at, at + SAID_CHARS).trim();
    say(next ? `Before “${next}”` : "End of the step");
  }

  #click(event) {
    if (event.target.closest("button") || !getSelection().isCollapsed) return;
    const at = this.#under(event);
    if (at === null) return;
    this.at = at;
    this.#cutAt(at, "mouse");
  }

  #cutAt(at, method) {
    if (at > 0 && at < this.text.length) this.cut(at, method);
    else say("A cut lies inside the step: move the caret to where a new step begins.");
  }

  /** The place that a mouse means: the nearest end of a word, with Alt the very character. */
  #under(event) {
    const found = document.caretPositionFromPoint?.(event.clientX, event.clientY);
    const range = found ? null : document.caretRangeFromPoint?.(event.clientX, event.clientY);
    const node = found?.offsetNode ?? range?.startContainer;
    const piece = node?.parentElement;
    if (!piece?.matches(".cut-text") || piece.parentElement !== this.box) return null;
    const at = Number(piece.dataset.from) + (found?.offset ?? range.startOffset);
    return event.altKey ? at : this.places.near(at);
  }

  /** Draw the caret before the character at `at`, or behind the last one. */
  #place(at) {
    if (!this.box?.isConnected) return;
    const pieces = [...this.box.querySelectorAll(".cut-text")];
    const piece = pieces.findLast((p) => Number(p.dataset.from) <= at);
    const node = piece?.firstChild;
    if (!node) return;
    const offset = at - Number(piece.dataset.from);
    const range = document.createRange();
    const last = offset >= node.length;
    range.setStart(node, last ? node.length - 1 : offset);
    range.setEnd(node, last ? node.length : offset + 1);
    const rects = range.getClientRects();
    const rect = last ? rects[rects.length - 1] : rects[0];
    const frame = this.box.getBoundingClientRect();
    if (!rect) return;
    this.caret.style.left = `${(last ? rect.right : rect.left) - frame.left - this.box.clientLeft}px`;
    this.caret.style.top = `${rect.top - frame.top - this.box.clientTop}px`;
    this.caret.style.height = `${rect.height}px`;
  }
}
