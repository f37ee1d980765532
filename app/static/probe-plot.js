// Seconds against generated tokens: a point an answer, and the fitted line. One point is in the tab order, the arrow keys go from one to
// the next in the order of tokens, and each says what it is. Takes points and a fit, draws SVG; knows no probe.

import { h, number, plural, svg } from "./dom.js";

const PAD = { left: 46, right: 16, top: 22, bottom: 44 };
const HEIGHT = 320;
const REACH = 12; // px around a point that a pointer may hit
const POINT = "var(--wl-good)";
const LINE = "var(--wl-back)";
const MOVES = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 };

/** points: [{tokens, seconds, question}]; fit: {a, b}, or null while there is none. */
export function probePlot(host, points, fit) {
  if (!points.length) {
    host.replaceChildren(h("p", { class: "muted" }, "Answers appear here one by one."));
    return;
  }
  const sorted = [...points].sort((a, b) => a.tokens - b.tokens || a.seconds - b.seconds);
  const width = Math.max(260, host.clientWidth || 520);
  const most = { x: 1.05 * sorted.at(-1).tokens, y: 1.08 * Math.max(...sorted.map((p) => p.seconds)) };
  const bottom = HEIGHT - PAD.bottom;
  const px = (v) => PAD.left + (v / most.x) * (width - PAD.left - PAD.right);
  const py = (v) => bottom - (v / most.y) * (bottom - PAD.top);
  const rows = round(most.y, 5).map((v) => [svg("line", { class: v ? "grid" : "axis", x1: PAD.left, x2: width - PAD.right, y1: py(v), y2: py(v) }), svg("text", { x: PAD.left - 8, y: py(v) + 4, "text-anchor": "end" }, plain(v))]);
  const columns = round(most.x, Math.max(2, Math.floor(width / 90))).map((v) => [svg("line", { class: v ? "grid" : "axis", x1: px(v), x2: px(v), y1: PAD.top, y2: bottom }), svg("text", { x: px(v), y: bottom + 16, "text-anchor": "middle" }, plain(v))]);
  const focused = host.contains(document.activeElement) ? document.activeElement.dataset.words : null;
  const marks = sorted.map((p) => mark(p, px(p.tokens), py(p.seconds)));
  const picture = svg("svg", { class: "chart eval-plot", viewBox: `0 0 ${width} ${HEIGHT}`, role: "group", "aria-label": `Response time against generated tokens: ${plural(points.length, "answer")}; arrow keys go from one to the next` },
    rows.flat(), columns.flat(), svg("text", { x: PAD.left - 8, y: 11 }, "seconds"),
    svg("text", { x: (PAD.left + width - PAD.right) / 2, y: HEIGHT - 8, "text-anchor": "middle" }, "generated tokens, reasoning included"),
    fit ? svg("path", { class: "fit", d: path(fit, most, px, py), stroke: LINE, "stroke-width": 2, fill: "none" }) : null, marks);
  const words = h("p", { class: "eval-said muted", "aria-hidden": "true" });
  host.replaceChildren(picture,
    h("ul", { class: "chart-legend" }, h("li", {}, svg("svg", { width: 14, height: 12, "aria-hidden": "true" }, dot(7, 6)), "an answer"),
      fit ? h("li", {}, svg("svg", { width: 34, height: 12, "aria-hidden": "true" }, svg("path", { d: "M0 6H34", stroke: LINE, "stroke-width": 2 })), h("span", {}, equation(fit))) : null), words);
  let at = Math.max(0, marks.findIndex((m) => m.dataset.words === focused));
  marks[at].setAttribute("tabindex", 0);
  const tell = (event) => {
    const hit = event.target.closest?.("[data-words]");
    if (hit) words.textContent = hit.dataset.words;
  };
  picture.addEventListener("pointerover", tell);
  picture.addEventListener("focusin", tell);
  picture.addEventListener("keydown", (event) => {
    const to = event.key === "Home" ? 0 : event.key === "End" ? marks.length - 1 : event.key in MOVES ? at + MOVES[event.key] : null;
    if (to === null || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    if (!marks[to]) return;
    marks[at].setAttribute("tabindex", -1);
    at = to;
    marks[at].setAttribute("tabindex", 0);
    marks[at].focus();
  });
  if (focused !== null) marks[at].focus({ preventScroll: true });
}

/** t = 0.00 s + 8.38 ms · tokens */
export function equation({ a, b }) {
  return `t = ${number(a, 2)} s ${b < 0 ? "−" : "+"} ${number(Math.abs(1000 * b), 2)} ms · tokens`;
}

/** Where the line is inside the picture. */
function path({ a, b }, most, px, py) {
  const [from, to] = b === 0 ? [0, most.x] : [-a / b, (most.y - a) / b].sort((p, q) => p - q).map((x) => Math.min(Math.max(x, 0), most.x));
  return from === to ? "" : `M${px(from).toFixed(1)} ${py(a + b * from).toFixed(1)}L${px(to).toFixed(1)} ${py(a + b * to).toFixed(1)}`;
}

function mark(p, x, y) {
  const words = `${number(p.tokens)} tokens in ${number(p.seconds, 2)} s, ${number(p.tokens / p.seconds)} tokens/s: ${p.question.slice(0, 200)}`;
  return svg("g", { class: "eval-point", tabindex: -1, role: "img", "aria-label": words, "data-words": words }, svg("circle", { class: "reach", cx: x, cy: y, r: REACH, fill: "transparent" }), dot(x, y), svg("title", {}, words));
}

function dot(x, y) {
  return svg("circle", { class: "mark", cx: x, cy: y, r: 4.5, fill: POINT, "fill-opacity": 0.75 });
}

/** 0 and the multiples of 1, 2 or 5 times a power of ten up to `most`, about so many. */
function round(most, count) {
  const rough = most / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((f) => f * power).find((s) => s >= rough);
  return Array.from({ length: Math.floor(most / step) + 1 }, (_, i) => i * step);
}

function plain(v) {
  return v >= 10_000 ? `${Number((v / 1000).toPrecision(3))}k` : Number(v.toPrecision(3)).toLocaleString("en", { maximumFractionDigits: 6 });
}
