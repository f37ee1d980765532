// A clock that stands still while nobody is there: time on a step is time spent, not a lunch break. A stretch without a key, a
// move or a scroll counts for a minute at most, and a page that is not in sight not at all. Knows no page.

export const IDLE_MS = 60_000; // a long step is read without touching anything, but hardly for more than a minute
const INPUT = ["keydown", "pointerdown", "pointermove", "wheel", "scroll", "touchmove"];

let counted = 0;
let last = performance.now();
let away = document.hidden;

function since() {
  return away ? 0 : Math.min(performance.now() - last, IDLE_MS);
}

function seen() {
  counted += since();
  last = performance.now();
}

for (const name of INPUT) addEventListener(name, seen, { capture: true, passive: true });
document.addEventListener("visibilitychange", () => {
  seen();
  away = document.hidden;
});

/** Milliseconds with somebody there, since the page was opened. Only differences mean anything. */
export function presentMs() {
  return counted + since();
}
