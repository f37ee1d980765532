// "The same for the next 12 steps": the last rating, given to the steps that follow. Steps that are rated already keep their
// rating; one undo takes all of it back. Knows no list and no network.

import { h, plural } from "./dom.js";

const AT_FIRST = 5; // steps

/** The steps that would be rated: those of the `n` from `from` on that have no rating. */
export function stepsToRate(judgements, from, n, total) {
  const out = [];
  for (let at = from; at < Math.min(total, from + n); at += 1) if (!judgements.rated.has(at)) out.push(at);
  return out;
}

/** The content of the panel. from: the first of the following steps; choice: the rating; apply(steps, n) gives it and closes. */
export function applyNext({ judgements, choice, from, total, apply, close }) {
  const most = total - from;
  const count = h("input", { type: "number", min: 1, max: most, value: Math.min(AT_FIRST, most), "aria-label": "How many of the following steps", oninput: check });
  const sentence = h("p", { class: "hint", role: "status" });
  const go = h("button", { type: "button", class: "primary", onclick: done }, "Apply", h("kbd", { "aria-hidden": "true" }, "Enter"));
  const all = h("button", { type: "button", class: "secondary", onclick: () => { count.value = most; check(); count.focus(); } }, `all ${most}`);

  function wanted() {
    const n = Number(count.value);
    return Number.isInteger(n) && n >= 1 && n <= most ? n : null;
  }

  function check() {
    const n = wanted();
    go.disabled = n === null || stepsToRate(judgements, from, n, total).length === 0;
    if (n === null) {
      sentence.textContent = `Give a whole number from 1 to ${most}.`;
      return;
    }
    const steps = stepsToRate(judgements, from, n, total);
    const kept = n - steps.length;
    sentence.textContent = `${n === 1 ? `Step ${from + 1}` : `Steps ${from + 1} to ${from + n}`}: ${plural(steps.length, "rating")}${kept ? `, ${kept} rated already ${kept === 1 ? "stays" : "stay"} as ${kept === 1 ? "it is" : "they are"}` : ""}. One undo takes all back.`;
  }

  function done() {
    const n = wanted();
    if (n === null) return;
    apply(stepsToRate(judgements, from, n, total), n);
    close();
  }

  count.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.ctrlKey || event.metaKey || event.isComposing) return;
    event.preventDefault();
    event.stopPropagation();
    done();
  });
  check();
  return {
    name: "apply",
    title: `Rate the following steps ${choice.word}, too`,
    body: [h("div", { class: "apply-row" }, h("span", { class: `glyph ${choice.name}`, "aria-hidden": "true" }, choice.glyph), h("span", {}, choice.word, " for the next"), count, h("span", {}, "steps"), go, all), sentence],
    redraw: check,
    focus: () => count.select(),
  };
}
