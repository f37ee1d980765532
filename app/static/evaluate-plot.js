// Points with intervals, joined where they belong together: accuracy against cost, over k, over bins. Every point can be reached with
// the keys and says what it is; lines differ in colour, dash and mark. Takes points, draws SVG; knows no evaluation.

import { h, svg } from "./dom.js";

const PAD = { left: 46, right: 16, top: 12, bottom: 44 };
const HEIGHT = 300;
const REACH = 12; // px around a point that a pointer may hit (2.5.8: 24 across)
// Okabe and Ito's colours that stand out on light and dark, as in chart.js; a mark and a dash tell lines apart without them.
export const LOOKS = [["var(--wl-good)", "", "circle"], ["var(--wl-bad)", "7 4", "square"], ["#009E73", "2 3", "diamond"], ["#CC79A7", "9 3 2 3", "triangle"], ["#56B4E9", "4 4", "circle"], ["var(--wl-back)", "12 4", "square"]];

/** lines: [{name, points: [{x, y, low, high, words, pick}]}]; x: "log" or "even" (x is then an index into `names`).
 *  pick: what `onpick` is called with; ticks: where the axis is marked, else round numbers. */
export function plot(host, lines, { label, xWords, x = "log", names = [], ticks: marked = null, onpick = null, chosen = null }) {
  const drawn = lines.map((l) => ({ ...l, points: l.points.filter((p) => Number.isFinite(p.y) && (x !== "log" || p.x > 0)).sort((a, b) => a.x - b.x) })).filter((l) => l.points.length);
  if (!drawn.length) {
    host.replaceChildren(h("p", { class: "muted" }, "Nothing to draw yet."));
    return;
  }
  const width = Math.max(260, host.clientWidth || 520);
  const xs = drawn.flatMap((l) => l.points.map((p) => p.x));
  const [low, high] = x === "log" ? around(Math.log10(Math.min(...xs)), Math.log10(Math.max(...xs))) : [-0.4, names.length - 0.6];
  const px = (v) => PAD.left + (((x === "log" ? Math.log10(v) : v) - low) / (high - low)) * (width - PAD.left - PAD.right);
  const py = (v) => PAD.top + (1 - v) * (HEIGHT - PAD.top - PAD.bottom);
  const grid = [0, 0.25, 0.5, 0.75, 1].map((y) => [svg("line", { class: y ? "grid" : "axis", x1: PAD.left, x2: width - PAD.right, y1: py(y), y2: py(y) }), svg("text", { x: PAD.left - 8, y: py(y) + 4, "text-anchor": "end" }, `${100 * y} %`)]);
  const ticks = x === "log" ? (marked ?? logTicks(10 ** low, 10 ** high, Math.max(3, Math.floor(width / 70)))).map((v) => [v, short(v)]) : names.map((name, i) => [i, name]);
  const bottom = HEIGHT - PAD.bottom;
  const focused = host.contains(document.activeElement) ? document.activeElement.dataset.words : null;
  host.replaceChildren(
    svg("svg", { class: "chart eval-plot", viewBox: `0 0 ${width} ${HEIGHT}`, role: "group", "aria-label": `${label}: ${drawn.length} lines` },
      grid.flat(),
      ticks.map(([v, words]) => [svg("line", { class: "grid", x1: px(v), x2: px(v), y1: PAD.top, y2: bottom }), svg("text", { x: px(v), y: bottom + 16, "text-anchor": "middle" }, words)]).flat(),
      svg("text", { x: (PAD.left + width - PAD.right) / 2, y: HEIGHT - 8, "text-anchor": "middle" }, xWords),
      drawn.map((l, i) => line(l, LOOKS[i % LOOKS.length], px, py)),
      drawn.flatMap((l, i) => l.points.map((p) => point(p, l, LOOKS[i % LOOKS.length], px(p.x), py, onpick, chosen)))),
    h("ul", { class: "chart-legend" }, drawn.map((l, i) => h("li", {}, svg("svg", { width: 34, height: 12, "aria-hidden": "true" }, svg("path", { d: "M0 6H34", stroke: LOOKS[i % LOOKS.length][0], "stroke-width": 2, "stroke-dasharray": LOOKS[i % LOOKS.length][1] }), mark(LOOKS[i % LOOKS.length], 17, 6)), l.name))),
    h("p", { class: "eval-said muted", "aria-hidden": "true" }, onpick ? "Choose a point to see the searches behind it." : ""),
  );
  const words = host.querySelector(".eval-said");
  const tell = (event) => {
    const hit = event.target.closest?.("[data-words]");
    if (hit) words.textContent = hit.dataset.words;
  };
  host.firstChild.addEventListener("pointerover", tell);
  host.firstChild.addEventListener("focusin", tell);
  if (focused) [...host.querySelectorAll("[data-words]")].find((p) => p.dataset.words === focused)?.focus();
}

function line(l, [colour, dash], px, py) {
  const d = l.points.map((p, i) => `${i ? "L" : "M"}${px(p.x).toFixed(1)} ${py(p.y).toFixed(1)}`).join("");
  return svg("path", { d, fill: "none", stroke: colour, "stroke-width": 2, "stroke-dasharray": dash });
}

function point(p, l, look, x, py, onpick, chosen) {
  const words = `${l.name}: ${p.words}`;
  const whisker = Number.isFinite(p.low) && Number.isFinite(p.high) ? svg("path", { d: `M${x - 4} ${py(p.high)}h8M${x} ${py(p.high)}V${py(p.low)}M${x - 4} ${py(p.low)}h8`, stroke: look[0], "stroke-opacity": 0.6, fill: "none" }) : null;
  const group = svg("g", { class: `eval-point${chosen !== null && p.pick === chosen ? " chosen" : ""}`, tabindex: 0, role: onpick ? "button" : "img", "aria-label": words, "data-words": words, "data-pick": p.pick ?? null },
    whisker, svg("circle", { class: "reach", cx: x, cy: py(p.y), r: REACH, fill: "transparent" }), mark(look, x, py(p.y)), svg("title", {}, words));
  if (onpick) {
    group.addEventListener("click", () => onpick(p.pick));
    group.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      onpick(p.pick);
    });
  }
  return group;
}

function mark([colour, , shape], x, y) {
  if (shape === "circle") return svg("circle", { class: "mark", cx: x, cy: y, r: 4.5, fill: colour });
  const corners = { square: [[-4, -4], [4, -4], [4, 4], [-4, 4]], diamond: [[0, -5.5], [5.5, 0], [0, 5.5], [-5.5, 0]], triangle: [[0, -5.5], [5, 4], [-5, 4]] }[shape];
  return svg("polygon", { class: "mark", points: corners.map(([dx, dy]) => `${x + dx},${y + dy}`).join(" "), fill: colour });
}

function around(low, high) {
  const room = high - low < 0.2 ? 0.3 : 0.06 * (high - low);
  return [low - room, high + room];
}

/** 1, 2, 5 times the powers of ten where they fit, else the powers. */
function logTicks(low, high, most) {
  const powers = [];
  for (let p = Math.floor(Math.log10(low)); p <= Math.ceil(Math.log10(high)); p += 1) powers.push(10 ** p);
  for (const factors of [[1, 2, 5], [1, 3], [1]]) {
    const found = powers.flatMap((p) => factors.map((f) => f * p)).filter((v) => v >= low && v <= high);
    if (found.length <= most && found.length) return found;
  }
  const found = powers.filter((v) => v >= low && v <= high);
  return found.filter((_, i) => i % Math.ceil(found.length / most) === 0);
}

/** 2000 -> 2k, 3e9 -> 3G */
export function short(v) {
  for (const [size, letter] of [[1e15, "P"], [1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]]) if (v >= size) return `${Number((v / size).toPrecision(3))}${letter}`;
  return String(Number(v.toPrecision(3)));
}
