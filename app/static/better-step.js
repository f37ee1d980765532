// What should stand in the place of a step: the rater writes it over a copy of the step. What is kept is the whole text of a
// step as the model would have written it, its special tokens included, so that it can go into a training row as it is.

import { h } from "./dom.js";
import { wordDiff } from "./word-diff.js";

const MOST = 20_000; // characters one event may hold
const FIELD = /<\|reasoning_step_(name|thought|summary|reflection)_start\|>([\s\S]*?)<\|reasoning_step_\1_end\|>/g;
const TOKEN = /<\|[^|<>\n]{1,80}\|>/;

/** The parts of a step that a person may write: [{name, from, to}]; a format without fields has one, without the white space. */
export function partsOf(raw) {
  const parts = [...raw.matchAll(FIELD)].map((found) => {
    const from = found.index + found[0].indexOf("|>") + 2;
    return { name: found[1], from, to: from + found[2].length };
  });
  if (parts.length) return parts;
  const from = raw.length - raw.trimStart().length;
  return [{ name: "", from, to: Math.max(from, raw.trimEnd().length) }];
}

/** The raw text with other words in its parts. */
export function withParts(raw, words) {
  let out = "";
  let end = 0;
  partsOf(raw).forEach(({ from, to }, i) => {
    out += raw.slice(end, from) + words[i];
    end = to;
  });
  return out + raw.slice(end);
}

/** The content of the panel. raw: the step as the model wrote it; held: the better step, or null; change(text or null). */
export function betterStep({ step, raw, held, change }) {
  const written = held() ?? raw;
  const originals = partsOf(raw).map((p) => raw.slice(p.from, p.to));
  const boxes = partsOf(written).map(({ name, from, to }, i) => h("textarea", {
    rows: Math.min(8, Math.max(2, Math.ceil((to - from) / 80))), value: written.slice(from, to), "aria-label": `Step ${step + 1}, ${name || "text"}, as it should be`, oninput: check, dataset: { part: i },
  }));
  let drawn = boxes.map((box) => box.value);
  const sentence = h("p", { class: "bad-input", role: "status" });
  const back = h("button", { type: "button", class: "secondary", onclick: () => { boxes.forEach((box, i) => (box.value = originals[i] ?? "")); check(); boxes[0].focus(); } }, "As the model wrote it");

  function problem() {
    const token = boxes.map((box) => TOKEN.exec(box.value)?.[0]).find(Boolean);
    const whole = withParts(raw, boxes.map((box) => box.value));
    if (token && boxes.length > 1) return `“${token}” would cut the step in two: leave it out.`;
    return whole.length > MOST ? `The step has ${whole.length.toLocaleString("en")} characters; at most ${MOST.toLocaleString("en")} can be kept.` : "";
  }

  function check() {
    sentence.textContent = problem();
  }

  function keep() {
    check();
    if (problem()) return false;
    const words = boxes.map((box) => box.value);
    const same = words.every((word, i) => word.trim() === (originals[i] ?? "").trim());
    const next = same || words.every((word) => word.trim() === "") ? null : withParts(raw, words);
    if (next !== held()) change(next);
    return true;
  }

  return {
    name: "better",
    title: `What should stand in step ${step + 1}?`,
    step,
    body: [
      ...boxes.map((box, i) => (boxes.length > 1 ? h("label", { class: "detail-row" }, h("span", { class: "what" }, partsOf(raw)[i]?.name ?? ""), box) : box)),
      h("p", { class: "span-hint" }, h("span", { class: "hint" }, "It is kept when you are done, and becomes a row for fine-tuning and preferences."), back), sentence,
    ],
    keep,
    redraw() {
      const now = held() ?? raw;
      if (boxes.some((box, i) => box.value !== drawn[i])) return; // what is not kept yet stays
      partsOf(now).forEach(({ from, to }, i) => boxes[i] && (boxes[i].value = now.slice(from, to)));
      drawn = boxes.map((box) => box.value);
    },
    focus: () => (boxes.find((box) => box.value.trim()) ?? boxes[0]).focus({ preventScroll: true }),
  };
}

/** In a row: what was written, without its tokens, and what of the step it takes away and adds. */
export function betterLine(text, raw) {
  const now = readable(text);
  const parts = wordDiff(readable(raw), now);
  const tags = { gone: "del", new: "ins" };
  return h("p", { class: "better-line" }, h("span", { class: "what" }, "✎ better"),
    h("span", { class: "text" }, parts ? parts.map(({ kind, text: words }) => (tags[kind] ? h(tags[kind], {}, words) : words)) : now));
}

function readable(raw) {
  return partsOf(raw).map(({ from, to }) => raw.slice(from, to).trim()).filter(Boolean).join("\n");
}
