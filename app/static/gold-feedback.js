// After an item whose right judgement is known was submitted: what was right, and why. Before that nothing tells it from the
// others. Asked for beside the next trace, which is not kept waiting. Knows no page.

import { ApiError, get } from "./api.js";
import { h, plural } from "./dom.js";
import { shownValue } from "./judged-values.js";
import { shownText } from "./reading.js";

const THINGS = { correctness: "", first_error: "first error", worth_exploring: "worth exploring", left_in_time: "left in time", right_return: "right place", verdict: "the trace", preference: "the pair" };

/** A dialog with the feedback on this assignment, where there is any; resolves when it is closed, at once where there is none. */
export async function goldFeedback(assignmentId) {
  let found;
  try {
    found = await get(`/api/assignments/${encodeURIComponent(assignmentId)}/feedback`);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    return; // the work is saved; that its feedback cannot be shown is no reason to stop
  }
  if (!found.gold) return;
  const before = document.activeElement;
  const wrong = found.compared.filter((c) => !c.right);
  const value = (c, which) => {
    const [glyph, word] = shownValue(c.dimension, c[which], c[`${which}_text`]);
    return `${glyph} ${word}`;
  };
  const close = h("button", { type: "button", class: "primary" }, "Go on");
  const dialog = h("dialog", { class: "wl-sheet wl-page gold-feedback", "aria-label": "Feedback" },
    h("div", { class: "wl-sheet-head" }, h("h2", {}, wrong.length ? `${found.right} of ${found.of} right` : `All ${found.of} right`)),
    h("div", { class: "wl-sheet-body" }, h("p", { class: "words" }, "The right judgement of what you just submitted is known."),
      found.feedback ? h("div", { class: "words" }, shownText(found.feedback)) : null,
      wrong.length ? h("table", {}, h("thead", {}, h("tr", {}, ["Where", "You said", "Right is"].map((t) => h("th", { scope: "col" }, t)))), h("tbody", {}, wrong.map((c) => h("tr", {},
        h("td", {}, [c.step_idx === null ? null : `step ${c.step_idx + 1}`, THINGS[c.dimension]].filter(Boolean).join(", ")), h("td", {}, value(c, "given")), h("td", {}, value(c, "expected")))))) : null),
    h("div", { class: "wl-sheet-foot" }, h("span", { class: "muted" }, wrong.length ? `${plural(wrong.length, "judgement")} differed. What you said stays as it is.` : ""), close));
  close.addEventListener("click", () => dialog.close());
  document.body.append(dialog);
  dialog.showModal();
  close.focus();
  await new Promise((done) => dialog.addEventListener("close", done, { once: true }));
  dialog.remove();
  if (before?.isConnected) before.focus({ preventScroll: true });
}
