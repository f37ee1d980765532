// A remark on a step, written in the panel. Knows no rating.

import { h } from "./dom.js";

const MOST = 20_000; // characters one event may hold

/** The content of the panel. held() -> the remark; change(text or null); close() */
export function commentStep({ step, held, change, close }) {
  const box = h("textarea", { rows: 2, maxlength: MOST, "aria-label": `Comment on step ${step + 1}`, dataset: { comment: step }, placeholder: "Enter keeps it, Shift+Enter begins a line", value: held() });
  let drawn = box.value;
  box.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.ctrlKey || event.metaKey || event.isComposing) return;
    event.preventDefault();
    event.stopPropagation();
    close();
  });
  return {
    name: "comment",
    title: `Comment on step ${step + 1}`,
    body: [box],
    keep() {
      const text = box.value.trim();
      if (text !== held()) change(text || null);
    },
    redraw() {
      if (box.value !== drawn) return; // what is not kept yet stays
      box.value = held();
      drawn = box.value;
    },
    focus: () => box.focus({ preventScroll: true }),
  };
}
