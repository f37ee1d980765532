// A slider over uneven stops, beside a number field that holds the value. The slider is the coarse hand, the field the exact
// one: any number can be typed, and the slider then stands at the nearest stop. Knows nothing of what the numbers mean.

/**
 * range, field: two inputs. stops: rising numbers. open: words for a last stop beyond them, at which the field is empty.
 * Moving the slider fires `change` on the field, as typing does. Returns draw(), for when the field was set by a script.
 */
export function slider(range, field, { stops, unit, open = null }) {
  const ends = open === null ? stops : [...stops, Infinity];
  range.min = 0;
  range.max = ends.length - 1;
  range.step = 1;
  const draw = () => {
    const typed = field.value === "" ? (open === null ? Number(field.defaultValue) : Infinity) : Number(field.value);
    const at = nearest(ends, typed);
    range.value = at;
    range.setAttribute("aria-valuetext", typed === Infinity ? open : `${typed} ${unit}`);
    range.style.setProperty("--wl-filled", `${(at / (ends.length - 1)) * 100}%`);
  };
  range.addEventListener("input", () => {
    const value = ends[Number(range.value)];
    field.value = value === Infinity ? "" : value;
    field.dispatchEvent(new Event("change", { bubbles: true }));
  });
  for (const kind of ["input", "change"]) field.addEventListener(kind, draw);
  draw();
  return draw;
}

function nearest(stops, value) {
  if (value === Infinity) return stops.length - 1;
  let best = 0;
  stops.forEach((stop, i) => {
    if (Math.abs(stop - value) < Math.abs(stops[best] - value)) best = i;
  });
  return best;
}

/** Two fields of which the first is never above the second: the one that is moved takes the other along. */
export function ordered(low, high) {
  const follow = (moved, other, wrong) => moved.addEventListener("change", () => {
    if (moved.value === "" || other.value === "" || !wrong(Number(moved.value), Number(other.value))) return;
    other.value = moved.value;
    other.dispatchEvent(new Event("change", { bubbles: true }));
  });
  follow(low, high, (mine, its) => mine > its);
  follow(high, low, (mine, its) => mine < its);
}
