// The scale on which two things are compared: A much better … tie … B much better, and for the whole also both bad and unsure.
// Builds elements and names every choice in data attributes; compare.js does the acting.

import { h } from "./dom.js";
import { show } from "./keys.js";
import { BOTH_BAD, UNSURE } from "./compare-work.js";

export const STRENGTHS = [
  { name: "-3", value: -3, word: "much", words: "A much better" },
  { name: "-2", value: -2, word: "clearly", words: "A clearly better" },
  { name: "-1", value: -1, word: "slightly", words: "A slightly better" },
  { name: "0", value: 0, word: "tie", words: "a tie" },
  { name: "1", value: 1, word: "slightly", words: "B slightly better" },
  { name: "2", value: 2, word: "clearly", words: "B clearly better" },
  { name: "3", value: 3, word: "much", words: "B much better" },
];
export const OTHERS = [
  { name: BOTH_BAD, value: BOTH_BAD, word: "both bad", words: "both bad" },
  { name: UNSURE, value: UNSURE, word: "unsure", words: "unsure" },
];
export const CHOICES = [...STRENGTHS, ...OTHERS];

export const wordsOf = (value) => CHOICES.find((c) => c.value === value)?.words ?? "nothing";

/** The radiogroup of the whole pair. keyOf(name) -> the key of a choice; ariaOf(name) -> aria-keyshortcuts, or null. */
export function wholeScale(checked, { disabled, keyOf, ariaOf }) {
  return h("div", { class: "scale whole", role: "radiogroup", "aria-label": "Which is better?", dataset: { criterion: "" } },
    h("span", { class: "end", "aria-hidden": "true" }, "A"),
    h("span", { class: "strengths" }, STRENGTHS.map((c) => choice(c, checked, disabled, [c.word, h("kbd", { "aria-hidden": "true" }, show(keyOf(c.name)))], { keys: ariaOf(c.name) }))),
    h("span", { class: "end", "aria-hidden": "true" }, "B"),
    h("span", { class: "others" }, OTHERS.map((c) => choice(c, checked, disabled, [c.word, h("kbd", { "aria-hidden": "true" }, show(keyOf(c.name)))], { keys: ariaOf(c.name) }))));
}

/** The small one of a criterion of the rubric. */
export function criterionScale({ name, words }, checked, { disabled }) {
  const dots = STRENGTHS.map((c) => choice(c, checked, disabled, [h("span", { class: "dot", "aria-hidden": "true" })], { label: `${words}: ${c.words}` }));
  return h("div", { class: "criterion" }, h("span", { class: "words" }, words),
    h("span", { class: "scale small", role: "radiogroup", "aria-label": words, dataset: { criterion: name } },
      h("span", { class: "end", "aria-hidden": "true" }, "A"), dots, h("span", { class: "end", "aria-hidden": "true" }, "B")));
}

function choice(c, checked, disabled, content, { label = c.words, keys = null } = {}) {
  const stop = checked === null ? c.value === 0 : checked === c.value; // where Tab comes to: the choice, or the middle
  return h("button", {
    type: "button", role: "radio", class: c.value === 0 ? "tie" : typeof c.value === "number" ? "strength" : "other", "aria-checked": checked === c.value, "aria-label": label, "aria-keyshortcuts": keys, title: label,
    disabled, tabindex: stop ? 0 : -1, dataset: { choice: c.name },
  }, content);
}
