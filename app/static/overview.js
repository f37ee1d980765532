// Draws the overview: one box a run, a strip of colour for its steps, the way to the newest or selected step in bold.
// The step list beside it is the keyboard's and the screen reader's way to the same steps.

import { framed, svg } from "./dom.js";
import { BOX, layoutRuns } from "./overview-layout.js";

const REDRAW_MS = 200; // the layout is remade from scratch; five times a second is enough for the eye
const CHARS = 17; // what fits a box at 11 px
const ROOT = 40;
// Up to here all boxes are drawn at once; beyond, those in view and this far around it (a box is some nine elements, and
// 4,000 of them took seconds to draw).
const DRAW_ALL_BELOW = 400;
const AROUND_PX = 600;
const DASH = 8; // px of a dash and its gap, as in theme.css
const FINEST_STRIP = BOX.width - 12; // a run of more steps than pixels shows one colour a pixel

export class Overview {
  /** toneOf(step) -> class name of the strip's colour; onSelect(index) */
  constructor(host, { toneOf, onSelect }) {
    this.host = host;
    this.toneOf = toneOf;
    this.onSelect = onSelect;
    this.selected = null;
    this.following = true;
    this.paint = framed(() => this.#paint());
    this.timer = null;
    this.stale = true;
    this.drawn = null; // the layout and what of it is in the page: {runs, runOf, boxes: Map of run -> element, …}
    host.classList.add("wl-overview");
    if (!host.hasAttribute("tabindex")) {
      // It scrolls, so the keyboard has to get there (axe: scrollable-region-focusable).
      host.tabIndex = 0;
      host.setAttribute("role", "group");
      host.setAttribute("aria-label", "Overview of the tree");
    }
    host.addEventListener("click", (event) => {
      const box = event.target.closest("[data-step]");
      if (box) this.onSelect(Number(box.dataset.step));
    });
    const scrolled = framed(() => this.drawn && this.#fill());
    host.addEventListener("scroll", scrolled, { passive: true });
    new ResizeObserver(scrolled).observe(host);
    host.addEventListener("pointerdown", () => (this.following = false));
    host.addEventListener("wheel", () => (this.following = false), { passive: true });
  }

  show(model) {
    this.model = model;
    this.following = true;
    this.stale = true;
    this.paint();
  }

  /** The model or the colours have changed. At the pace of the eye, not of the stream. */
  update() {
    this.stale = true;
    this.#soon();
  }

  /** Only the colours have changed. */
  recolour() {
    this.pale = true;
    this.#soon();
  }

  select(index) {
    this.selected = index;
    this.paint();
  }

  /** Like select, at the pace of a stream. */
  followTo(index) {
    this.selected = index;
    this.#soon();
  }

  #soon() {
    if (this.timer !== null) return;
    this.timer = setTimeout(() => {
      this.timer = null;
      this.paint();
    }, REDRAW_MS);
  }

  #paint() {
    const model = this.model;
    if (!model || model.steps.length === 0) {
      this.host.replaceChildren();
      this.drawn = null;
      return;
    }
    if (this.stale || !this.drawn) this.#draw(model);
    else if (this.pale) for (const strip of this.drawn.layer.querySelectorAll(".strip")) strip.setAttribute("class", `strip ${this.#tone(strip.dataset.step)}`);
    this.stale = this.pale = false;
    this.#mark(model);
  }

  /** Lay out anew, and draw what is in view. */
  #draw(model) {
    const { runs, runOf, width, height } = layoutRuns(model);
    const left = (run) => ROOT + BOX.gapX + run.x * (BOX.width + BOX.gapX);
    const top = (run) => BOX.gapY + run.y * (BOX.height + BOX.gapY);
    const root = svg("g", { class: "box root", "data-step": -1 }, svg("rect", { x: 8, y: BOX.gapY, width: ROOT - 8, height: BOX.height, rx: 4 }),
      svg("text", { x: 8 + (ROOT - 8) / 2, y: BOX.gapY + 17, "text-anchor": "middle" }, "Q"));
    const others = svg("g", {});
    const way = svg("g", {}); // the way in use lies over the others
    const layer = svg("g", {});
    const drawing = svg("svg", {
      width: width + ROOT, height, role: "img",
      "aria-label": `Overview: ${model.steps.length} steps in ${runs.length} runs, ${model.backtracks} backtracks. The step list holds the same steps.`,
    }, others, way, root, layer);
    const { scrollLeft, scrollTop } = this.host;
    this.host.replaceChildren(drawing);
    this.host.scrollLeft = scrollLeft;
    this.host.scrollTop = scrollTop;
    this.drawn = { runs, runOf, boxes: new Map(), layer, others, way, left, top, path: new Set(), selected: null };
  }

  /** Have in the page what is in view, and nothing far from it. */
  #fill() {
    const { runs, boxes, left, top } = this.drawn;
    if (runs.length <= DRAW_ALL_BELOW) {
      if (!boxes.size) for (const run of runs) this.#place(run);
      this.#edges(runs, -Infinity, Infinity);
      return;
    }
    const { scrollLeft, scrollTop, clientWidth, clientHeight } = this.host;
    const [west, east] = [scrollLeft - AROUND_PX, scrollLeft + clientWidth + AROUND_PX];
    // In whole dashes, so that a jump's dashes stay where they are.
    const [north, south] = [scrollTop - AROUND_PX, scrollTop + clientHeight + AROUND_PX].map((y) => Math.floor(y / DASH) * DASH);
    const drawn = [];
    const passing = new Set(); // parents with an edge that leaves the view below: later children lie on the same line
    for (const run of runs) {
      const x = left(run);
      const y = top(run);
      const beside = x < east && x + BOX.width > west;
      if (beside && y < south && y + BOX.height > north) {
        if (!boxes.has(run.id)) this.#place(run);
        drawn.push(run);
        continue;
      }
      boxes.get(run.id)?.remove();
      boxes.delete(run.id);
      const from = run.parent === null ? 0 : top(runs[run.parent]);
      if (!beside || y < south || from > south) continue;
      const line = `${run.parent}:${run.back}:${this.drawn.path.has(run.id)}`;
      if (passing.has(line)) continue;
      passing.add(line);
      drawn.push(run);
    }
    this.#edges(drawn, north, south);
  }

  #place(run) {
    const box = this.#box(run, this.drawn.left(run), this.drawn.top(run));
    this.drawn.boxes.set(run.id, box);
    this.drawn.layer.append(box);
    this.#show(run.id);
  }

  /** The edges that lead to these runs, cut off at the borders of what is drawn (a dash costs even where nobody sees it). */
  #edges(shown, north, south) {
    const { runs, left, top, path, others, way } = this.drawn;
    const edges = { others: [], way: [] };
    for (const run of shown) {
      const from = run.parent === null ? { x: ROOT, y: BOX.gapY + BOX.height / 2 } : { x: left(runs[run.parent]) + BOX.width, y: top(runs[run.parent]) + BOX.height / 2 };
      const to = { x: left(run), y: top(run) + BOX.height / 2 };
      const bend = Math.min(12, Math.abs(to.y - from.y));
      const mid = from.x + BOX.gapX / 2;
      const start = from.y < north ? `M${mid} ${north}` : `M${from.x} ${from.y} H${mid - 6} Q${mid} ${from.y} ${mid} ${from.y + bend}`;
      const end = to.y > south ? `V${south}` : `V${to.y - bend} Q${mid} ${to.y} ${mid + 6} ${to.y} H${to.x}`;
      const onWay = path.has(run.id);
      const classes = [run.back ? "jump" : "edge", this.model.steps[run.steps[0]].other && "other", onWay && "path"];
      edges[onWay ? "way" : "others"].push(svg("path", { d: to.y === from.y ? `M${from.x} ${from.y} H${to.x}` : `${start} ${end}`, class: classes.filter(Boolean).join(" ") }));
    }
    others.replaceChildren(...edges.others);
    way.replaceChildren(...edges.way);
  }

  /** Whether a run's box is on the way in use, and whether it is the selected one. */
  #show(id) {
    const box = this.drawn.boxes.get(id);
    box?.classList.toggle("path", this.drawn.path.has(id));
    box?.classList.toggle("selected", id === this.drawn.selected);
  }

  /** The way to the selected (else the newest) step, and the selected run. */
  #mark(model) {
    const { runs, runOf, left, top, path, selected } = this.drawn;
    const own = model.own ?? model.steps.length; // steps beyond these belong to other world lines
    const focus = this.selected !== null && this.selected >= 0 && this.selected < own ? this.selected : own - 1;
    this.drawn.path = new Set(model.path(focus).map((i) => runOf[i]));
    this.drawn.selected = runOf[this.selected] ?? null;
    for (const id of new Set([...path, ...this.drawn.path, selected, this.drawn.selected])) this.#show(id);
    if (this.following) {
      const run = runs[runOf[focus]];
      this.host.scrollLeft = Math.max(0, left(run) + BOX.width + 20 - this.host.clientWidth);
      this.host.scrollTop = Math.max(0, top(run) + BOX.height + 24 - this.host.clientHeight);
    }
    this.#fill();
  }

  #tone(index) {
    return this.toneOf(this.model.steps[index]);
  }

  /** The steps whose colours a run's strip shows: all, or one a pixel, the one that stands out. */
  #strip(run) {
    if (run.steps.length <= FINEST_STRIP) return run.steps;
    return Array.from({ length: FINEST_STRIP }, (_, i) => {
      const of = run.steps.slice(Math.floor((i * run.steps.length) / FINEST_STRIP), Math.floor(((i + 1) * run.steps.length) / FINEST_STRIP));
      return of.find((index) => this.#tone(index) !== "plain") ?? of[0];
    });
  }

  #box(run, x, y) {
    const first = run.steps[0];
    const last = run.steps.at(-1);
    const shown = (index) => (this.model.at?.(index)?.index ?? index) + 1;
    const range = first === last ? String(shown(first)) : `${shown(first)}–${shown(last)}`;
    const name = this.model.steps[last].name || "";
    const room = CHARS - range.length - 1;
    const short = name.length > room ? `${name.slice(0, Math.max(1, room - 1))}…` : name;
    const shownSteps = this.#strip(run);
    const cell = (BOX.width - 12) / shownSteps.length;
    const strip = shownSteps.map((index, i) => svg("rect", {
      class: `strip ${this.#tone(index)}`, x: x + 6 + i * cell, y: y + BOX.height - 6, width: Math.max(1, cell - (cell > 4 ? 1 : 0)), height: 3, "data-step": index,
    }));
    return svg("g", { class: this.model.steps[first].other ? "box other" : "box", "data-step": first },
      svg("title", {}, this.model.steps[first].other ? `Another world line: ${name}` : `Steps ${range}: ${name}`),
      svg("rect", { class: "frame", x, y, width: BOX.width, height: BOX.height, rx: 4 }),
      svg("text", { x: x + 6, y: y + 14 }, svg("tspan", { class: "range" }, range), svg("tspan", { dx: 5, class: "name" }, short)),
      strip);
  }
}
