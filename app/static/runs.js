// What the pages of things that run on the server (evaluations, probes, jobs) share: a state as a chip, a list that keeps the focus,
// buttons that ask the server once. Knows no kind of thing.

import { remove } from "./api.js";
import { confirmed } from "./confirm.js";
import { h, say } from "./dom.js";

const STATES = { queued: ["…", "waiting"], running: ["▶", "running"], stopping: ["…", "stopping"], stopped: ["■", "stopped"], failed: ["✗", "failed"], done: ["✓", "done"] };

export function stateChip(state) {
  const [glyph, word] = STATES[state] ?? ["?", state];
  return h("span", { class: `state-chip ${state}` }, h("span", { "aria-hidden": "true" }, glyph), word);
}

/** `ask`, but null where a newer call is on its way: the older answer may lack what was just started. */
export function newest(ask) {
  let turn = 0;
  return async () => {
    const mine = ++turn;
    const found = await ask();
    return mine === turn ? found : null;
  };
}

/** A list item each, whose buttons have a `data-key`. Made anew only when `key` changed, or a press would be lost and the focus with it. */
export function drawRuns(box, key, items, empty) {
  if (box.dataset.key === key) return;
  const focus = box.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  box.dataset.key = key;
  box.replaceChildren(items.length ? h("ul", { class: "joblist" }, items) : h("p", { class: "muted" }, empty));
  if (focus) box.querySelector(`[data-key="${focus}"]`)?.focus();
}

/** `act` while the button cannot be pressed again; where it fails that is said, and it can. */
export async function once(button, failed, act) {
  button.disabled = true;
  try {
    await act();
  } catch (error) {
    failed("command", error);
    button.disabled = false;
  }
}

/** Asks, deletes `path`, and calls `gone`. what: "evaluation"; words: what goes with it. */
export async function dropRun(button, failed, { what, words, path, gone }) {
  if (!(await confirmed(`Delete this ${what}?`, words))) return;
  await once(button, failed, async () => {
    await remove(path);
    say(`The ${what} is deleted`);
    await gone();
  });
}
