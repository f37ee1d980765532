// Moves in a step list by keys: from row to row, along backtracks, between sibling branches, to landmarks. Shared by all pages
// that show a list; knows its model, its folds and its selection, no rating.

import { say } from "./dom.js";
import { WORDS, landmark } from "./landmarks.js";

/** Returns true when it knew the action. */
export function navigate(list, action) {
  const { model, folds } = list;
  if (!model) return false;
  const at = list.selected ?? -1;
  const last = model.steps.length - 1;
  const go = (index, options) => {
    if (list.select(Math.max(-1, Math.min(last, index)), "key", options)) list.revealSoon();
    return true;
  };
  switch (action) {
    // From row to row: a folded run is one.
    case "next": return go(list.stepAt(list.place(at) + 1) ?? last, { unfold: false });
    case "previous": return go(list.stepAt(list.place(at) - 1) ?? -1, { unfold: false });
    case "fold":
    case "unfold":
      if (folds.run(at)) list.fold(at, action === "fold");
      else say("This step is not part of a straight run that could be folded.");
      return true;
    case "fold-all":
      list.foldAll(!folds.all);
      return true;
    case "first": return go(0);
    case "last": return go(last);
    case "sibling-previous":
    case "sibling-next": {
      const family = model.siblings(at);
      const target = family[family.indexOf(at) + (action === "sibling-next" ? 1 : -1)];
      if (target === undefined) say(family.length > 1 ? "No further branch on this side." : "This step has no sibling branch.");
      return target === undefined ? true : go(target);
    }
    case "jump": return jump(list, at, go);
  }
  const [what, side] = action.split("-");
  if (!(what in WORDS)) return false;
  const found = landmark(model, at, what, side === "next" ? 1 : -1);
  if (found !== null) return go(found);
  say(`There is no ${WORDS[what]} ${side === "next" ? "after" : "before"} this.`);
  return true;
}

/** Along the dashed line: from the step a backtrack led to, to where it went on from; and back again. */
function jump(list, at, go) {
  const { steps } = list.model;
  const step = steps[at];
  if (step?.is_backtrack) {
    const target = step.parent ?? -1;
    list.jumpedFrom = { at: target, index: at };
    return go(target);
  }
  if (list.jumpedFrom?.at === at) return go(list.jumpedFrom.index);
  const child = list.model.childrenOf(at < 0 ? null : at).find((i) => steps[i].is_backtrack);
  const next = child ?? steps.find((s) => s.index > at && s.is_backtrack)?.index;
  if (next !== undefined) return go(next);
  say("There is no backtrack from here on.");
  return true;
}
