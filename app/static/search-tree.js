// Draws the tree of a search and lets the reader walk it: a node a box, coloured by its score, pruned ones faint, the chosen line
// strong. A layer below the other; the arrow keys go along it. Knows the model, not the page.

import { framed, svg } from "./dom.js";
import { NODE, layoutTree } from "./search-layout.js";
import { nodeWords } from "./search-model.js";
import { scoreBand } from "./step-detail.js";

const REDRAW_MS = 120; // the layout is remade from scratch; eight times a second is enough for the eye
// Boxes in the page. With 3,000 a redraw takes a tenth of a second on a slow core; what is beyond is said, not drawn.
export const DRAWN_MOST = 3000;
const ZOOMS = [0.15, 0.25, 0.4, 0.6, 0.8, 1, 1.3, 1.7];
const READABLE = 0.7; // as small as a tree becomes by itself; below that the scores cannot be read

export class SearchTree {
  /** onSelect(id, how): "mouse" or "key". */
  constructor(host, { onSelect }) {
    Object.assign(this, { host, onSelect, model: null, selected: null, zoom: 1, fitting: true, following: true, layout: null, timer: null });
    this.drawn = new Map(); // id -> {box, edge, look}
    this.edges = svg("g", { "aria-hidden": "true" });
    this.strong = svg("g", { "aria-hidden": "true" }); // the chosen line lies over the others
    this.boxes = svg("g", { role: "none" });
    this.drawing = svg("svg", { role: "tree", "aria-label": "Tree of the search" }, this.edges, this.strong, this.boxes);
    host.replaceChildren(this.drawing);
    this.paint = framed(() => this.#paint());
    this.drawing.addEventListener("click", (event) => {
      const box = event.target.closest("[data-node]");
      if (box) this.#go(Number(box.dataset.node), "mouse");
    });
    this.drawing.addEventListener("keydown", (event) => this.#key(event));
    for (const kind of ["pointerdown", "wheel"]) host.addEventListener(kind, () => (this.following = false), { passive: true });
  }

  show(model) {
    this.model = model;
    this.selected = null;
    this.fitting = this.following = true;
    this.drawn.clear();
    for (const layer of [this.edges, this.strong, this.boxes]) layer.replaceChildren();
    this.paint();
  }

  /** The model has changed. At the pace of the eye, not of the stream. */
  update() {
    this.timer ??= setTimeout(() => {
      this.timer = null;
      this.paint();
    }, REDRAW_MS);
  }

  /** Select a node and bring it into view. */
  select(id, { focus = false } = {}) {
    const before = this.drawn.get(this.selected);
    this.selected = id;
    for (const one of [before, this.drawn.get(id)]) if (one) this.#mark(one);
    this.#tabStop();
    const box = this.drawn.get(id)?.box;
    if (!box) return;
    if (focus) box.focus({ preventScroll: true });
    this.#reveal(id);
  }

  /** By so many steps of the zoom; null fits the whole tree into the view. */
  scale(by) {
    const { host, layout } = this;
    if (!layout) return;
    const [x, y] = [(host.scrollLeft + host.clientWidth / 2) / this.zoom, (host.scrollTop + host.clientHeight / 2) / this.zoom];
    if (by === null) this.zoom = this.#fit(ZOOMS[0]);
    else {
      const at = ZOOMS.findIndex((z) => z >= this.zoom - 0.01);
      this.zoom = ZOOMS[Math.max(0, Math.min(ZOOMS.length - 1, (at < 0 ? ZOOMS.length - 1 : at) + by))];
    }
    this.fitting = this.following = false;
    this.#size();
    host.scrollLeft = x * this.zoom - host.clientWidth / 2;
    host.scrollTop = y * this.zoom - host.clientHeight / 2;
  }

  #paint() {
    const { model } = this;
    if (!model?.nodes.length) return;
    const nodes = model.nodes.slice(0, DRAWN_MOST);
    this.layout = layoutTree(nodes);
    for (const node of nodes) this.#place(node);
    if (this.fitting) this.zoom = this.#fit(READABLE);
    this.#size();
    this.#tabStop();
    this.drawing.setAttribute("aria-label", `Tree of the search: ${model.nodes.length} nodes in ${this.layout.layers.length} layers. The arrow keys walk it.`);
    if (this.following) this.#reveal(this.selected ?? nodes.at(-1).id);
  }

  /** The zoom at which the whole tree is in view, between the given one and 1. */
  #fit(least) {
    const { host, layout } = this;
    return Math.max(least, Math.min(1, (host.clientWidth - 4) / layout.width, (host.clientHeight - 4) / layout.height));
  }

  #size() {
    const { width, height } = this.layout;
    this.drawing.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.drawing.setAttribute("width", width * this.zoom);
    this.drawing.setAttribute("height", height * this.zoom);
  }

  /** Draw a node, or what changed of it. */
  #place(node) {
    const { x, y } = this.layout;
    let one = this.drawn.get(node.id);
    if (!one) {
      one = { id: node.id, look: "", at: "", edge: node.parent === null ? null : svg("path", {}) };
      one.box = svg("g", { role: "treeitem", "data-node": node.id, tabindex: -1, "aria-level": node.path ? node.path.split(".").length + 1 : 1 });
      this.drawn.set(node.id, one);
      this.boxes.append(one.box);
    }
    const at = `${x[node.id]} ${y[node.id]} ${x[node.parent ?? 0]}`;
    if (one.at !== at) {
      one.at = at;
      one.box.setAttribute("transform", `translate(${x[node.id]} ${y[node.id]})`);
      if (one.edge) {
        const [top, end, middle] = [y[node.parent] + NODE.height / 2, y[node.id] - NODE.height / 2, (y[node.parent] + y[node.id]) / 2];
        one.edge.setAttribute("d", `M${x[node.parent]} ${top} C${x[node.parent]} ${middle} ${x[node.id]} ${middle} ${x[node.id]} ${end}`);
      }
    }
    const look = `${node.score} ${node.value} ${node.visits} ${node.count} ${node.pruned} ${node.chosen}`;
    if (one.look === look) return;
    one.look = look;
    const words = nodeWords(node);
    const [w, height] = [NODE.width, NODE.height];
    one.box.replaceChildren(...[
      svg("title", {}, words),
      svg("rect", { x: -w / 2, y: -height / 2, width: w, height, rx: node.end === "eos" ? height / 2 : 5 }),
      svg("text", { "text-anchor": "middle", y: 4 }, glyph(node)),
      node.count > 1 ? svg("text", { class: "count", x: w / 2 - 2, y: -height / 2 - 3, "text-anchor": "end" }, `×${node.count}`) : null,
    ].filter(Boolean));
    one.box.setAttribute("aria-label", words);
    this.#mark(one);
    if (!one.edge) return;
    one.edge.setAttribute("class", ["edge", node.pruned && !node.chosen && "pruned", node.chosen && "chosen"].filter(Boolean).join(" "));
    (node.chosen ? this.strong : this.edges).append(one.edge);
  }

  #mark(one) {
    const node = this.model.nodes[one.id];
    const classes = ["node", node.score === null ? "unscored" : `s${scoreBand(node.score)}`, node.end, node.right === true ? "right" : node.right === false ? "wrong" : "",
      node.pruned && !node.chosen ? "pruned" : "", node.chosen ? "chosen" : "", one.id === this.selected ? "selected" : ""];
    one.box.setAttribute("class", classes.filter(Boolean).join(" "));
    one.box.setAttribute("aria-selected", one.id === this.selected);
  }

  /** One node takes part in the order of Tab: the selected one, or the question. */
  #tabStop() {
    const stop = this.drawn.get(this.selected) ?? this.drawn.get(0);
    for (const box of this.boxes.querySelectorAll('[tabindex="0"]')) if (box !== stop?.box) box.setAttribute("tabindex", -1);
    stop?.box.setAttribute("tabindex", 0);
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.layout) return;
    if (event.key === "+" || event.key === "-" || event.key === "0") {
      event.preventDefault();
      this.scale(event.key === "0" ? null : event.key === "+" ? 1 : -1);
      return;
    }
    const { layers, place, children } = this.layout;
    const id = this.selected ?? 0;
    const node = this.model.nodes[id];
    const depth = node.path ? node.path.split(".").length : 0;
    const to = {
      ArrowDown: () => children[id].find((c) => this.model.nodes[c].chosen) ?? children[id].find((c) => !this.model.nodes[c].pruned) ?? children[id][0],
      ArrowUp: () => node.parent,
      ArrowLeft: () => layers[depth][place[id] - 1],
      ArrowRight: () => layers[depth][place[id] + 1],
      Home: () => 0,
      End: () => this.model.nodes.findLast((n) => n.chosen)?.id,
    }[event.key];
    if (!to) return;
    event.preventDefault();
    const next = to();
    if (next !== undefined && next !== null) this.#go(next, "key");
  }

  #go(id, how) {
    this.following = false;
    this.select(id, { focus: true });
    this.onSelect(id, how);
  }

  #reveal(id) {
    const { host, zoom, layout } = this;
    if (!layout || layout.x[id] === undefined) return;
    const [x, y, room] = [layout.x[id] * zoom, layout.y[id] * zoom, 40];
    if (x - room < host.scrollLeft) host.scrollLeft = x - room;
    else if (x + room > host.scrollLeft + host.clientWidth) host.scrollLeft = x + room - host.clientWidth;
    if (y - room < host.scrollTop) host.scrollTop = y - room;
    else if (y + room > host.scrollTop + host.clientHeight) host.scrollTop = y + room - host.clientHeight;
  }
}

/** A finished answer shows whether it is right, anything else its score in hundredths. */
function glyph(node) {
  if (node.end === "root") return "Q";
  if (node.end === "eos") return node.right === true ? "✓" : node.right === false ? "✗" : "■";
  if (node.end === "empty") return "∅";
  if (node.end === "length") return "✂";
  if (node.score !== null) return node.score >= 0.995 ? "1.0" : `.${String(Math.round(node.score * 100)).padStart(2, "0")}`;
  return node.visits ? String(node.visits) : "";
}
