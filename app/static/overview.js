// Draws the overview: one box a run, a strip of colour for its steps, the way to the newest or selected step in bold.
// The step list beside it is the keyboard's and the screen reader's way to the same steps.

import { framed, svg } from "./dom.js";
import { BOX, layoutRuns } from "./overview-layout.js";

const REDRAW_MS = 200; // the layout is remade from scratch; five times a second is enough for the eye
const CHARS = 17; // what fits a box at 11 px
const ROOT = 40;

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
    this.drawn = null; // what is on screen: {runs, runOf, edges, boxes, …}
    host.classList.add("wl-overview");
    host.addEventListener("click", (event) => {
      const box = event.target.closest("[data-step]");
      if (box) this.onSelect(Number(box.dataset.step));
    });
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
    else if (this.pale) for (const [index, strip] of this.drawn.strips) strip.setAttribute("class", `strip ${this.toneOf(model.steps[index])}`);
    this.stale = this.pale = false;
    this.#mark(model);
  }

  /** Lay out and draw everything anew. */
  #draw(model) {
    const { runs, runOf, width, height } = layoutRuns(model);
    const left = (run) => ROOT + BOX.gapX + run.x * (BOX.width + BOX.gapX);
    const top = (run) => BOX.gapY + run.y * (BOX.height + BOX.gapY);
    const edges = [];
    const boxes = [];
    for (const run of runs) {
      const from = run.parent === null ? { x: ROOT, y: BOX.gapY + BOX.height / 2 } : { x: left(runs[run.parent]) + BOX.width, y: top(runs[run.parent]) + BOX.height / 2 };
      const to = { x: left(run), y: top(run) + BOX.height / 2 };
      const bend = Math.min(12, Math.abs(to.y - from.y));
      const mid = from.x + BOX.gapX / 2;
      const d = to.y === from.y ? `M${from.x} ${from.y} H${to.x}`
        : `M${from.x} ${from.y} H${mid - 6} Q${mid} ${from.y} ${mid} ${from.y + bend} V${to.y - bend} Q${mid} ${to.y} ${mid + 6} ${to.y} H${to.x}`;
      edges.push(svg("path", { d, class: `${run.back ? "jump" : "edge"}${model.steps[run.steps[0]].other ? " other" : ""}` }));
      boxes.push(this.#box(run, left(run), top(run)));
    }
    const root = svg("g", { class: "box root", "data-step": -1 }, svg("rect", { x: 8, y: BOX.gapY, width: ROOT - 8, height: BOX.height, rx: 4 }),
      svg("text", { x: 8 + (ROOT - 8) / 2, y: BOX.gapY + 17, "text-anchor": "middle" }, "Q"));
    // Edges of the way in use are moved into `way`, which lies over the others.
    const others = svg("g", {}, edges);
    const way = svg("g", {});
    const drawing = svg("svg", {
      width: width + ROOT, height, role: "img",
      "aria-label": `Overview: ${model.steps.length} steps in ${runs.length} runs, ${model.backtracks} backtracks. The step list holds the same steps.`,
    }, others, way, root, boxes);
    const { scrollLeft, scrollTop } = this.host;
    this.host.replaceChildren(drawing);
    const strips = [...drawing.querySelectorAll(".strip")].map((strip) => [Number(strip.dataset.step), strip]);
    this.host.scrollLeft = scrollLeft;
    this.host.scrollTop = scrollTop;
    this.drawn = { runs, runOf, edges, boxes, others, way, left, top, strips, path: [], selected: null };
  }

  /** The way to the selected (else the newest) step, and the selected run. */
  #mark(model) {
    const { runs, runOf, edges, boxes, others, way, left, top } = this.drawn;
    const own = model.own ?? model.steps.length; // steps beyond these belong to other world lines
    const focus = this.selected !== null && this.selected >= 0 && this.selected < own ? this.selected : own - 1;
    for (const id of this.drawn.path) {
      edges[id].classList.remove("path");
      boxes[id].classList.remove("path");
      others.append(edges[id]);
    }
    this.drawn.path = [...new Set(model.path(focus).map((i) => runOf[i]))];
    for (const id of this.drawn.path) {
      edges[id].classList.add("path");
      boxes[id].classList.add("path");
      way.append(edges[id]);
    }
    boxes[this.drawn.selected]?.classList.remove("selected");
    this.drawn.selected = runOf[this.selected] ?? null;
    boxes[this.drawn.selected]?.classList.add("selected");
    if (this.following) {
      const run = runs[runOf[focus]];
      this.host.scrollLeft = Math.max(0, left(run) + BOX.width + 20 - this.host.clientWidth);
      this.host.scrollTop = Math.max(0, top(run) + BOX.height + 24 - this.host.clientHeight);
    }
  }

  #box(run, x, y) {
    const first = run.steps[0];
    const last = run.steps.at(-1);
    const shown = (index) => (this.model.at?.(index)?.index ?? index) + 1;
    const range = first === last ? String(shown(first)) : `${shown(first)}–${shown(last)}`;
    const name = this.model.steps[last].name || "";
    const room = CHARS - range.length - 1;
    const short = name.length > room ? `${name.slice(0, Math.max(1, room - 1))}…` : name;
    const cell = (BOX.width - 12) / run.steps.length;
    const strip = run.steps.map((index, i) => svg("rect", {
      class: `strip ${this.toneOf(this.model.steps[index])}`, x: x + 6 + i * cell, y: y + BOX.height - 6, width: Math.max(1, cell - (cell > 4 ? 1 : 0)), height: 3, "data-step": index,
    }));
    return svg("g", { class: this.model.steps[first].other ? "box other" : "box", "data-step": first },
      svg("title", {}, this.model.steps[first].other ? `Another world line: ${name}` : `Steps ${range}: ${name}`),
      svg("rect", { class: "frame", x, y, width: BOX.width, height: BOX.height, rx: 4 }),
      svg("text", { x: x + 6, y: y + 14 }, svg("tspan", { class: "range" }, range), svg("tspan", { dx: 5, class: "name" }, short)),
      strip);
  }
}
