// How the reader wants a step shown: rendered or as it was written (remembered), and the link to it.

import { h, say } from "./dom.js";
import { RICH_MOST, hasMarkup, renderRich } from "./rich-text.js";

const STORE = "worldline.raw-text";
const COPIED_MS = 1800;

let raw = false;
try {
  raw = localStorage.getItem(STORE) === "yes";
} catch { /* only the memory of it is lost */ }

export const showsRaw = () => raw;

export function setRaw(value) {
  raw = value;
  try {
    localStorage.setItem(STORE, raw ? "yes" : "no");
  } catch { /* as above */ }
}

/** The two-way switch; null where rendering would change nothing. */
export function rawSwitch(texts, changed) {
  if (!texts.some((text) => hasMarkup(text ?? ""))) return null;
  const button = (words, value) => h("button", { type: "button", "aria-pressed": raw === value, onclick: () => { setRaw(value); changed(); } }, words);
  return h("div", { class: "switch", role: "group", "aria-label": "How the text is shown" }, button("Rendered", false), button("Raw text", true));
}

/** A text as the reader wants it. `after`: see renderRich. */
export function shownText(text, after) {
  if (text.length > RICH_MOST && !raw) return [h("p", { class: "muted note" }, `Shown as it was written: a text beyond ${RICH_MOST.toLocaleString("en")} characters is not rendered.`), h("p", { class: "field-text" }, text)];
  return raw || !hasMarkup(text) ? [h("p", { class: "field-text" }, text)] : [renderRich(text, after)];
}

/** A button that puts the address of a step on the clipboard. */
export function copyButton(address, words) {
  const button = h("button", { type: "button", class: "secondary copy", title: `Copy the link to ${words}`, onclick: async () => {
    const done = await copy(address);
    label.textContent = done ? "Copied" : "Copy it from the address bar";
    glyph.textContent = done ? "✓" : "!";
    say(done ? `The link to ${words} is copied.` : "The link could not be copied.");
    setTimeout(() => { label.textContent = "Copy link"; glyph.textContent = "#"; }, COPIED_MS);
  } });
  const glyph = h("span", { "aria-hidden": "true" }, "#");
  const label = h("span", {}, "Copy link");
  button.append(glyph, label);
  return button;
}

/** Put a text on the clipboard; whether it is there. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // No clipboard for a page of plain http elsewhere than on this machine: the old way.
    const area = h("textarea", { class: "wl-visually-hidden", "aria-hidden": "true", value: text });
    const focused = document.activeElement;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    focused?.focus({ preventScroll: true });
    return done;
  }
}
