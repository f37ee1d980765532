// A line over steps: the raw values thin, a running mean bold, round numbers on the axes. Takes rows, draws SVG; knows no job.

import { h, svg } from "./dom.js";

const PAD = { left: 52, right: 14, top: 12, bottom: 26 };
const MAX_POINTS = 600; // more than the pixels of the chart help nobody
// Weight of the newest value in the running mean: short curves follow their points, long ones are calmed.
const weight = (count) => Math.min(0.6, Math.max(0.05, 10 / count));

export function lineChart(host, rows, { x = "step", y = "loss", total = null, label = "Loss", height = 240, named = true }) {
  const points = rows.filter((r) => Number.isFinite(r[x]) && Number.isFinite(r[y])).map((r) => [r[x], r[y]]);
  const width = Math.max(220, host.clientWidth || 600);
  if (points.length === 0) {
    host.replaceChildren();
    return;
  }
  const lastX = Math.max(total ?? 0, points.at(-1)[0], 1);
  const values = points.map((p) => p[1]);
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const bottom = least < 0 ? -niceTop(-least) : 0; // rewards and margins go below zero
  const top = most <= 0 && bottom < 0 ? 0 : niceTop(most);
  const px = (v) => PAD.left + (v / lastX) * (width - PAD.left - PAD.right);
  const py = (v) => PAD.top + (1 - (v - bottom) / (top - bottom)) * (height - PAD.top - PAD.bottom);
  let mean = points[0][1];
  const share = weight(points.length);
  const smooth = points.map(([a, b]) => [a, (mean += share * (b - mean))]);
  const line = (list) => thin(list).map(([a, b], i) => `${i ? "L" : "M"}${px(a).toFixed(1)} ${py(Math.max(bottom, b)).toFixed(1)}`).join("");
  const marks = bottom < 0 && top > 0 ? [bottom, 0, top] : (height < 200 ? [0, 0.5, 1] : [0, 0.25, 0.5, 0.75, 1]).map((f) => bottom + f * (top - bottom));
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((f) => Math.round(f * lastX));
  const last = points.at(-1);
  host.replaceChildren(svg("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${label} over steps: ${points[0][1].toFixed(3)} at step ${points[0][0]}, ${last[1].toFixed(3)} at step ${last[0]}${total ? ` of ${total}` : ""}.` },
    marks.map((m) => svg("g", {}, svg("line", { class: m === 0 ? "axis" : "grid", x1: PAD.left, x2: width - PAD.right, y1: py(m), y2: py(m) }), svg("text", { x: PAD.left - 8, y: py(m) + 4, "text-anchor": "end" }, short(m)))),
    [...new Set(ticks)].map((t) => svg("text", { x: px(t), y: height - 8, "text-anchor": t === 0 ? "start" : t === lastX ? "end" : "middle" }, String(t))),
    named ? svg("text", { x: PAD.left + 6, y: PAD.top + 14 }, label) : null,
    svg("path", { class: "raw", d: line(points) }), svg("path", { class: "smooth", d: line(smooth) }),
    svg("circle", { cx: px(last[0]), cy: py(smooth.at(-1)[1]), r: 3.5, fill: "var(--wl-good)" }),
    svg("text", { x: Math.min(px(last[0]) + 8, width - PAD.right), y: Math.max(PAD.top - 1, py(smooth.at(-1)[1]) - 8), "text-anchor": px(last[0]) > width - 80 ? "end" : "start" }, short(smooth.at(-1)[1]))));
}

// Okabe and Ito's colours that stand out on light and dark, and dashes, so that a line is known without its colour.
const LINES = [["var(--wl-good)", ""], ["var(--wl-bad)", "7 4"], ["#009E73", "2 3"], ["#CC79A7", "9 3 2 3"], ["#56B4E9", "4 4"], ["var(--wl-back)", "12 4"]];

/** Running means of several runs over steps: series of {name, rows}. More than six share the looks of the first ones. */
export function linesChart(host, series, { x = "step", y = "loss", label = "Loss" }) {
  const all = series.map(({ name, rows }) => ({ name, points: rows.filter((r) => Number.isFinite(r[x]) && Number.isFinite(r[y])).map((r) => [r[x], r[y]]) }));
  const drawn = all.filter((s) => s.points.length);
  if (drawn.length === 0) {
    host.replaceChildren();
    return;
  }
  const width = Math.max(280, host.clientWidth || 600);
  const height = 260;
  for (const s of drawn) {
    let mean = s.points[0][1];
    const share = weight(s.points.length);
    s.smooth = s.points.map(([a, b]) => [a, (mean += share * (b - mean))]);
  }
  const lastX = Math.max(1, ...drawn.map((s) => s.smooth.at(-1)[0]));
  const top = niceTop(Math.max(...drawn.flatMap((s) => s.smooth.map((p) => p[1]))));
  const px = (v) => PAD.left + (v / lastX) * (width - PAD.left - PAD.right);
  const py = (v) => PAD.top + (1 - v / top) * (height - PAD.top - PAD.bottom);
  const path = (list) => thin(list).map(([a, b], i) => `${i ? "L" : "M"}${px(a).toFixed(1)} ${py(Math.max(0, b)).toFixed(1)}`).join("");
  const look = (i) => LINES[i % LINES.length];
  const words = drawn.map((s) => `${s.name} ${short(s.smooth.at(-1)[1])} at step ${s.smooth.at(-1)[0]}`).join("; ");
  host.replaceChildren(svg("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${label}: ${words}.` },
    [0, 0.25, 0.5, 0.75, 1].map((f) => svg("g", {}, svg("line", { class: f === 0 ? "axis" : "grid", x1: PAD.left, x2: width - PAD.right, y1: py(f * top), y2: py(f * top) }), svg("text", { x: PAD.left - 8, y: py(f * top) + 4, "text-anchor": "end" }, short(f * top)))),
    [...new Set([0, 0.5, 1].map((f) => Math.round(f * lastX)))].map((t) => svg("text", { x: px(t), y: height - 8, "text-anchor": t === 0 ? "start" : t === lastX ? "end" : "middle" }, String(t))),
    drawn.map((s, i) => svg("path", { d: path(s.smooth), fill: "none", stroke: look(i)[0], "stroke-width": 2.2, "stroke-dasharray": look(i)[1] }))),
    h("ul", { class: "chart-legend" }, drawn.map((s, i) => h("li", {}, svg("svg", { width: 34, height: 10, "aria-hidden": "true" }, svg("path", { d: "M0 5H34", stroke: look(i)[0], "stroke-width": 2.4, "stroke-dasharray": look(i)[1] })), `${s.name}: ${short(s.smooth.at(-1)[1])}`))));
}

function thin(list) {
  const every = Math.ceil(list.length / MAX_POINTS);
  return every <= 1 ? list : list.filter((_, i) => i % every === 0 || i === list.length - 1);
}

function niceTop(max) {
  if (max <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(max));
  return [1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10].map((f) => f * power).find((t) => t >= max) ?? 10 * power;
}

function short(value) {
  return value < 0 ? `−${short(-value)}` : value === 0 ? "0" : value >= 100 ? value.toFixed(0) : value >= 1 ? value.toFixed(2) : value.toFixed(3);
}
