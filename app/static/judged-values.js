// How the values of what is judged are shown: a glyph, a word and a tone each, never a colour alone. Knows no page.

const STEP = new Map([[-1, ["✗", "bad", "bad"]], [0, ["○", "neutral", "neutral"]], [1, ["✓", "good", "good"]]]);
const YES_NO = new Map([[0, ["✗", "no", "bad"]], [1, ["✓", "yes", "good"]]]);
const STRENGTH = ["", "slightly", "clearly", "much"];

/** [glyph, word, tone] of a value; text: "unsure", "both_bad". */
export function shownValue(dimension, value, text) {
  if (value === null || value === undefined) {
    if (text === "unsure") return ["?", "unsure", "unsure"];
    return text === "both_bad" ? ["✗", "both bad", "bad"] : ["–", text || "nothing", "quiet"];
  }
  if (dimension.startsWith("preference")) return value === 0 ? ["=", "tie", "neutral"] : [value < 0 ? "◀" : "▶", `${value < 0 ? "left" : "right"} ${STRENGTH[Math.abs(value)]} better`, "good"];
  if (dimension === "first_error") return ["✗", "first error", "bad"];
  const known = (dimension === "correctness" || dimension === "verdict" ? STEP : YES_NO).get(value);
  return known ?? ["", String(value), "quiet"];
}

export const DIMENSIONS = [
  ["correctness", "Steps: good, neutral, bad"], ["worth_exploring", "Branches: worth exploring?"], ["left_in_time", "Branches: left in time?"],
  ["right_return", "Branches: right place?"], ["verdict", "Traces: the verdict"], ["preference", "Pairs: which is better"],
];
