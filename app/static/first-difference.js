// Where two traces part: the first step whose text differs, and in it the words that do. Pure data: no DOM.

import { FIELDS } from "./trace-model.js";

// Below this share of equal words the two texts have nothing to do with each other, and marking them marks everything.
const LEAST_ALIKE = 0.25;

/** The first step from `from` on that differs in what a reader sees; past the end of the shorter one where none does. */
export function firstDifferentStep(a, b, from) {
  let at = from;
  while (a[at] && b[at] && FIELDS.every((field) => (a[at][field] ?? "") === (b[at][field] ?? ""))) at += 1;
  return at;
}

/**
 * The words in which two texts differ, as [start, end] of each: what is left when equal words are taken off at both ends.
 * null where they are equal, or too unlike for a mark to say anything.
 */
export function differingWords(a, b) {
  if (a === b) return null;
  const [left, right] = [words(a), words(b)];
  const least = Math.min(left.length, right.length);
  let before = 0;
  while (before < least && left[before].text === right[before].text) before += 1;
  let after = 0;
  while (after < least - before && left.at(-1 - after).text === right.at(-1 - after).text) after += 1;
  if (before + after < LEAST_ALIKE * Math.max(left.length, right.length)) return null;
  const span = (list, whole) => {
    const first = list[before]?.start ?? whole.length;
    return [first, Math.max(first, list[list.length - after - 1]?.end ?? first)];
  };
  return { a: span(left, a), b: span(right, b) };
}

/** Words with where they stand; a sign is a word of its own, so that "56 - 4" and "56 + 4" differ in one. */
function words(text) {
  return [...text.matchAll(/[\p{L}\p{N}_]+|[^\s\p{L}\p{N}_]/gu)].map((m) => ({ text: m[0], start: m.index, end: m.index + m[0].length }));
}
