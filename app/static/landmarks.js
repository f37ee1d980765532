// The places in a trace that a reader jumps to: turns back, points where branches part, checks. Pure data: no DOM.

const IS = {
  backtrack: (model, index) => Boolean(model.steps[index]?.is_backtrack),
  branch: (model, index) => model.childrenOf(index < 0 ? null : index).length > 1,
  verify: (model, index) => model.steps[index]?.kind === "verify",
};
export const WORDS = { backtrack: "backtrack", branch: "branch point", verify: "verification" };

/** The next landmark after (direction 1) or before (-1) a step; null where there is none. -1 is the question. */
export function landmark(model, from, what, direction) {
  for (let at = from + direction; at >= -1 && at < model.steps.length; at += direction) if (IS[what](model, at)) return at;
  return null;
}

export function hasLandmark(model, what) {
  return landmark(model, -2, what, 1) !== null;
}
