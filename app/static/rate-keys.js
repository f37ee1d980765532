// The keys of the Rate page: [action, keys, words, group] as keys.js takes them.

import { CHOICES } from "./judgements.js";
import { MOVES } from "./keys.js";

const HISTORIANS = ["adjudicator", "researcher", "admin"]; // to raters it would tell what others said

/** The keys of somebody of this role. */
export const tableOf = (role) => TABLE.filter(([action]) => action !== "history" || HISTORIANS.includes(role));

const TABLE = [
  ...CHOICES.map((c, i) => [c.name, [String(i + 1)], `${c.glyph} ${c.word}`, "Rate the step"]),
  ["first-error", ["x"], "first error: bad, later steps stay unrated", "Rate the step"],
  ["clear", ["0", "Delete"], "take the rating away", "Rate the step"],
  ["apply-next", ["a"], "the last rating for the following steps, too", "Rate the step"],
  ["details", ["e"], "what is wrong with the bad step", "Rate the step"],
  ["better", ["i"], "write what should stand there instead", "Rate the step"],
  ["comment", ["c"], "comment on the step", "Rate the step"],
  ["cut", ["s"], "cut the step (scissors)", "Rate the step"],
  ["join", ["J"], "join with the step before, or no longer", "Rate the step"],
  ["worth", ["w"], "worth exploring? yes", "At a backtrack"],
  ["worth-no", ["W"], "… no", "At a backtrack"],
  ["time", ["t"], "left in time? yes", "At a backtrack"],
  ["time-no", ["T"], "… no", "At a backtrack"],
  ["place", ["r"], "right place to return to? yes", "At a backtrack"],
  ["place-no", ["R"], "… no", "At a backtrack"],
  ["next-unrated", ["n"], "next unrated step", "Move"],
  ...MOVES,
  ["same", ["h"], "highlight a word of the step wherever it stands; again: the next word", "Look"],
  ["same-previous-word", ["H"], "… the word before", "Look"],
  ["same-next", [">"], "next step with that word", "Look"],
  ["same-previous", ["<"], "step before with that word", "Look"],
  ["history", ["l"], "history of the labels: everything that was ever said of the step", "Look"],
  ["raw", ["m"], "Markdown and formulas rendered, or the raw text", "Look"],
  ["undo", ["z", "Ctrl+z"], "undo; with nothing to undo: take the last submission back", "The trace"],
  ["redo", ["Z", "Ctrl+Z"], "redo", "The trace"],
  ["verdict", ["v"], "verdict on the trace: v, then 1–4", "The trace"],
  ["tags", ["#"], "tags of the trace", "The trace"],
  ["exit", ["q"], "leave it: skip, unsure, give up …", "The trace"],
  ["stop", ["p"], "stop the model that is still writing", "The trace"],
  ["submit", ["Ctrl+Enter"], "submit", "The trace"],
  ["help", ["?"], "this sheet", "The trace"],
];
