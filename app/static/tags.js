// Tags of a whole trace: those the rubric offers as switches, and others that are written. Kept as one text, a tag a line.

import { h } from "./dom.js";

// Where the rubric names none.
export const TAGS = ["right answer, wrong reasoning", "wrong answer, good reasoning", "lucky guess", "goes in circles", "gave up early", "unreadable"];
const MOST = 80; // characters of one tag

export function tagsOf(text) {
  return text ? text.split("\n") : [];
}

/** Draw into `host`. offered: the rubric's tags; text: what is kept; change(text or null, method). Returns what takes the tag that is typed in the box. */
export function drawTags(host, { offered, text, readOnly, change }) {
  const now = tagsOf(text);
  const focused = host.contains(document.activeElement) ? document.activeElement.dataset.focusKey : null;
  const set = (tags, method) => change(tags.length ? tags.join("\n") : null, method);
  const toggle = (tag, method) => set(now.includes(tag) ? now.filter((t) => t !== tag) : [...now, tag], method);
  const own = host.querySelector("input")?.value ?? "";
  const box = h("input", { type: "text", maxlength: MOST, placeholder: "another, then Enter", "aria-label": "Another tag", value: own, disabled: readOnly, dataset: { focusKey: "tag-own" } });
  box.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.ctrlKey || event.metaKey || event.isComposing) return;
    event.preventDefault();
    take();
  });
  const take = () => {
    const tag = box.value.replace(/\s+/g, " ").trim();
    box.value = "";
    if (tag && !now.includes(tag)) toggle(tag, "key");
  };
  host.replaceChildren(
    ...[...new Set([...offered, ...now])].map((tag) => h("button", {
      type: "button", class: "pick-one", "aria-pressed": now.includes(tag), disabled: readOnly, dataset: { focusKey: `tag-${tag}` },
      onclick: (event) => toggle(tag, event.detail ? "mouse" : "key"),
    }, tag)), box);
  if (focused) [...host.children].find((e) => e.dataset.focusKey === focused)?.focus({ preventScroll: true });
  return take;
}
