// What changed from one text to another, word by word: the longest common subsequence, so that what stayed is as much as can be.
// Pure data: no DOM.

// Words on either side multiplied: 500 by 500. Longer changes are shown as one, since a row is drawn anew at every key.
const CELLS_MOST = 250_000;
// Below this share of equal letters the texts have nothing to do with each other, and a diff is harder to read than either.
const LEAST_ALIKE = 0.25;

/** [{kind: "same" | "gone" | "new", text}] in order of reading; null where the two are too unlike. Blanks are kept. */
export function wordDiff(old, now) {
  const [a, b] = [words(old), words(now)];
  let before = 0;
  while (before < Math.min(a.length, b.length) && a[before] === b[before]) before += 1;
  let after = 0;
  while (after < Math.min(a.length, b.length) - before && a.at(-1 - after) === b.at(-1 - after)) after += 1;
  const parts = [];
  const add = (kind, text) => {
    if (parts.at(-1)?.kind === kind) parts.at(-1).text += text;
    else if (text) parts.push({ kind, text });
  };
  add("same", a.slice(0, before).join(""));
  middle(a.slice(before, a.length - after), b.slice(before, b.length - after), add);
  add("same", after ? a.slice(-after).join("") : "");
  const kept = parts.reduce((n, { kind, text }) => n + (kind === "same" ? text.trim().length : 0), 0);
  return kept < LEAST_ALIKE * Math.max(old.length, now.length) ? null : parts;
}

function middle(a, b, add) {
  const width = b.length + 1;
  if (a.length * b.length > CELLS_MOST) {
    add("gone", a.join(""));
    add("new", b.join(""));
    return;
  }
  const longest = new Uint16Array((a.length + 1) * width); // of what is left from here on
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) longest[i * width + j] = a[i] === b[j] ? longest[(i + 1) * width + j + 1] + 1 : Math.max(longest[(i + 1) * width + j], longest[i * width + j + 1]);
  }
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      add("same", a[i]);
      i += 1;
      j += 1;
    } else if (j === b.length || (i < a.length && longest[(i + 1) * width + j] >= longest[i * width + j + 1])) {
      add("gone", a[i]);
      i += 1;
    } else {
      add("new", b[j]);
      j += 1;
    }
  }
}

/** Words, blanks, and each sign by itself, so that "56 - 4" and "56 + 4" differ in one. */
function words(text) {
  return text.match(/\s+|[\p{L}\p{N}_]+|[^\s\p{L}\p{N}_]/gu) ?? [];
}
