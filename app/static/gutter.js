// Draws one row of the gutter as its own small SVG, as high as the row whatever its text needs: rows and graph cannot
// drift apart. Takes its geometry from lanes.js; knows nothing about texts or ratings beyond a class name for the dot.

import { h, svg } from "./dom.js";

const LANE_PX = 16;
const GUTTER_MAX_PX = 176; // wider gutters push the text away; beyond 11 lanes they are squeezed instead
const NARROW_MAX_PX = 64; // on a telephone
const LANE_MIN_PX = 3;
const narrow = matchMedia("(max-width: 640px)");
const DOT = 4.5;
const MARGIN = 10;

export function laneWidth(lanes) {
  const most = narrow.matches ? NARROW_MAX_PX : GUTTER_MAX_PX;
  return Math.max(LANE_MIN_PX, Math.min(LANE_PX, (most - 2 * MARGIN) / lanes));
}

/** Lanes beyond these lie on the last one: a search may go back and forth hundreds of times deep. */
function lanesShown(lanes) {
  return Math.min(lanes, Math.floor(((narrow.matches ? NARROW_MAX_PX : GUTTER_MAX_PX) - 2 * MARGIN) / LANE_MIN_PX));
}

export function gutterWidth(lanes) {
  return Math.ceil(2 * MARGIN + (lanesShown(lanes) - 0.5) * laneWidth(lanes));
}

/**
 * Rails that pass by in the same place are one line, which names all the rows that they come from: a search that turns back
 * hundreds of times has hundreds in a row, and under one another they would look like one and cost a line each.
 */
function joined(pieces, last) {
  const out = [];
  const passing = new Map();
  for (const piece of pieces) {
    if (piece.kind !== "pass") {
      out.push(piece);
      continue;
    }
    const place = `${Math.min(piece.at, last)} ${piece.back}`;
    const there = passing.get(place);
    if (there) there.from.push(piece.from);
    else {
      const line = { ...piece, from: [piece.from] };
      passing.set(place, line);
      out.push(line);
    }
  }
  for (const line of passing.values()) line.from = line.from.join(" ");
  return out;
}

/** dotY: px from the row's top to its dot; mark: {kind: "question"|"step"|"writing"|"folded", tone} */
export function gutterRow(row, lanes, dotY, mark) {
  const unit = laneWidth(lanes);
  const last = lanesShown(lanes) - 1;
  const x = (lane) => MARGIN + Math.min(lane, last) * unit;
  const dotX = x(row.lane);
  const bend = Math.min(14, dotY - 2);
  const parts = [];
  for (const piece of joined(row.pieces, last)) {
    const shape = { class: piece.back ? "jump" : "edge", "data-from": piece.from, "data-kind": piece.kind };
    const railX = piece.at === undefined ? dotX : x(piece.at);
    const line = (y1, y2) => svg("line", { ...shape, x1: railX, x2: railX, y1, y2 });
    if (piece.kind === "in") parts.push(line(0, dotY));
    else if (piece.kind === "out") parts.push(line(dotY, "100%"));
    else if (piece.kind === "pass") parts.push(line(0, "100%"));
    else if (piece.kind === "rail-in") {
      parts.push(line(0, dotY - bend));
      parts.push(svg("path", { ...shape, d: `M${railX} ${dotY - bend} Q${railX} ${dotY} ${dotX} ${dotY}` }));
    } else {
      parts.push(svg("path", { ...shape, d: `M${dotX} ${dotY} Q${railX} ${dotY} ${railX} ${dotY + bend}` }));
      parts.push(line(dotY + bend, "100%"));
    }
  }
  // Solid edges first, jumps over them, the dot on top.
  parts.sort((a, b) => (a.getAttribute("class") === "jump") - (b.getAttribute("class") === "jump"));
  if (mark.kind === "question") parts.push(svg("rect", { class: "dot question", x: dotX - 5, y: dotY - 5, width: 10, height: 10, rx: 2 }));
  else if (mark.kind === "folded") parts.push(svg("rect", { class: `dot ${mark.tone ?? ""}`, x: dotX - DOT, y: dotY - 8, width: 2 * DOT, height: 16, rx: DOT }));
  else parts.push(svg("circle", { class: `dot ${mark.kind} ${mark.tone ?? ""}`, cx: dotX, cy: dotY, r: DOT }));
  // The cell is as wide as the gutter, the drawing as high as the row: an SVG in the flow would bring a height of its own.
  return h("div", { class: "wl-gutter", style: `width:${gutterWidth(lanes)}px`, "aria-hidden": "true" },
    svg("svg", { width: gutterWidth(lanes), height: "100%", focusable: "false" }, parts));
}
