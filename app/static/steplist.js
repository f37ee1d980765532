// The list of steps with its gutter, one row a step, row 0 the question. Two looks of one list: "compact" (one line a
// step, for watching a run) and "full" (all of the text, for rating). The caller may add cells to a row (`decorate`). In the
// compact look straight runs can be folded to one row (folds.js): a row is known by its first step, and stands at a place.
// Knows nothing about runs, ratings or the network.

import { framed, h, plural, say } from "./dom.js";
import { Folds } from "./folds.js";
import { gutterRow, gutterWidth } from "./gutter.js";
import { WORDS, landmark } from "./landmarks.js";
import { Lanes } from "./lanes.js";
import { stepWord } from "./trace-model.js";
import { backChip, decisionChip, foldButton, kindChip, kindCounts, oneLine } from "./row-parts.js";

const COMPACT_ROW_PX = 32;
const COMPACT_DOT_Y = 16;
const FULL_DOT_Y = 20;
// Below this every row is in the page (search in page works); above it only those in view (2,000 rows stay smooth).
const WINDOW_ABOVE = 600;
// Rows kept on either side of the view, and how few may be left before the window moves. A move draws all its rows: with 44 of
// them it takes some 10 ms of a frame's 16, with the 80 of a wider margin it took 20 and the frame was late.
const OVERSCAN = 14;
const SPARE_ROWS = 7;
// Rows with all their text and buttons are 60 elements each: above this many only those near the view are filled.
const FILL_ALL_BELOW = 200;
const FILL_MARGIN_PX = 1500;
// How far from the end still counts as "at the end": less than two rows.
const FOLLOW_SLACK_PX = 60;
// From this many steps on straight runs are folded at first, unless the reader has chosen.
const FOLD_FROM = 400;
const FOLD_CHOICE = "worldline.fold-runs";
// As much of a step's text as is read out at once; all of it is in the row.
const SPOKEN = 1200;
// What stays visible above and below the selected row, so that the eye sees what comes next.
const MARGIN_PX = 40;

export class StepList {
  /**
   * host: an empty element. look: "compact" | "full". decorate(step) -> {chips: Node[], body: Node|null, classes: string, tone: string,
   *   said: string (what is read out after the name of a full row), fields: Node[] (instead of the texts, in the full look)}, all of them optional
   * follows: whether a run that is still written scrolls its newest step into view, as long as the reader is at the end.
   * onSelect(index, how) after the selection changed; index -1 is the question.
   */
  constructor(host, { look = "compact", label = "Steps", follows = true, decorate = () => ({}), onSelect = () => {} }) {
    this.host = host;
    this.look = look;
    this.follows = follows;
    this.decorate = decorate;
    this.onSelect = onSelect;
    this.model = null;
    this.lanes = new Lanes();
    this.rows = []; // row number -> element, sparse when windowed
    this.dirty = new Set();
    this.marked = new Set(); // steps that a search has found
    this.hot = []; // the pieces of gutter that stand out now
    this.folds = new Folds();
    this.refold = false; // the runs have to be found anew
    this.selected = null;
    this.following = true;
    this.flush = framed(() => this.#paint());
    this.revealSoon = framed(() => this.selected !== null && this.reveal(this.selected));
    this.inner = h("div", { class: "wl-rows" });
    host.classList.add("wl-steplist", look);
    host.setAttribute("role", "tree");
    host.setAttribute("aria-label", label);
    host.tabIndex = 0;
    host.append(this.inner);
    host.addEventListener("click", (event) => {
      const row = event.target.closest(".wl-row");
      const turn = event.target.closest("button.fold");
      if (turn) this.fold(Number(row.dataset.row) - 1, turn.dataset.fold === "yes");
      else if (row && !event.target.closest("button, input, label, a, textarea") && !selects(row)) this.select(Number(row.dataset.row) - 1, "mouse");
    });
    host.addEventListener("scroll", () => {
      const following = host.scrollHeight - host.scrollTop - host.clientHeight < FOLLOW_SLACK_PX;
      if (following !== this.following) host.dispatchEvent(new CustomEvent("follow", { detail: following }));
      this.following = following;
      if (this.#windowed) this.flush();
    }, { passive: true });
    this.near = new Set();
    this.watcher = new IntersectionObserver((entries) => this.#seen(entries), { root: host, rootMargin: `${FILL_MARGIN_PX}px 0px` });
  }

  show(model) {
    this.model = model;
    this.marked.clear();
    this.lanes = Lanes.of(model.steps);
    this.selected = null;
    this.following = true;
    this.folds.reset(this.look === "compact" && (foldChoice() ?? model.steps.length >= FOLD_FROM));
    this.#tellFold();
    this.rebuild();
  }

  rebuild() {
    this.rows = [];
    this.near.clear();
    this.watcher.disconnect();
    this.inner.replaceChildren();
    this.inner.classList.remove("windowed");
    this.window = null;
    this.inner.style.height = "";
    this.refold = true;
    this.dirty.clear();
    for (let row = 0; row <= (this.model?.steps.length ?? 0); row += 1) this.dirty.add(row);
    this.flush();
  }

  /** Take in what TraceModel.apply reported. */
  update({ opened, changed, moved, other }) {
    if (moved) {
      this.lanes = Lanes.of(this.model.steps);
      this.rebuild();
      return;
    }
    if (opened !== null) {
      const step = this.model.steps[opened];
      const width = this.lanes.width;
      const from = this.lanes.push((step.parent ?? -1) + 1, step.is_backtrack);
      if (gutterWidth(width) !== gutterWidth(this.lanes.width)) {
        this.rebuild();
      } else {
        for (let row = from; row <= opened + 1; row += 1) this.dirty.add(row);
      }
    }
    if (changed !== null) this.dirty.add(changed + 1);
    if (opened !== null || this.model.state !== "running") this.refold = true;
    if (other && this.model.steps.length === 0) this.dirty.add(0);
    this.flush();
  }

  touch(index) {
    this.dirty.add(index + 1);
    this.flush();
  }

  /** Change a row that is on the page by hand, where drawing it anew would cost more, or would end a selection in it. */
  change(index, draw) {
    if (!this.dirty.has(index + 1)) draw(this.#element(index));
  }

  /** The steps that a search has found. */
  mark(indexes) {
    this.marked = new Set(indexes);
    for (const element of this.inner.children) {
      const row = Number(element.dataset.row);
      element.classList.toggle("match", this.#found(row - 1) > 0);
      if (element.dataset.last) this.dirty.add(row); // it says how many
    }
    if (this.dirty.size) this.flush();
  }

  /** How many of the steps that a row stands for a search has found. */
  #found(index) {
    let found = 0;
    for (let at = index; at <= this.folds.lastOf(index); at += 1) found += this.marked.has(at);
    return found;
  }

  // ---- straight runs

  /** Fold or unfold the run of a step. The selection goes to its first step rather than out of sight. */
  fold(index, folded) {
    if (!this.folds.set(index, folded)) return;
    const { first, last } = this.folds.run(index);
    if (folded && this.selected > first && this.selected <= last) this.select(first, "key", { unfold: false });
    this.#foldedAnew();
    say(`Steps ${first + 1} to ${last + 1} ${folded ? "folded" : "unfolded"}`);
  }

  /** All runs at once; remembered. */
  foldAll(all) {
    try {
      localStorage.setItem(FOLD_CHOICE, all ? "yes" : "no");
    } catch { /* only the memory of it is lost */ }
    const before = this.selected ?? -1;
    const y = this.#top(before) - this.host.scrollTop;
    const run = this.folds.run(before);
    this.folds.reset(all);
    if (all && run && before > run.first) this.select(run.first, "key", { unfold: false });
    this.#foldedAnew();
    // What was selected stays where the eye has it.
    if (y >= 0 && y < this.host.clientHeight) this.host.scrollTop = this.#top(this.selected ?? -1) - y;
    this.#tellFold();
    say(all ? "Straight runs are folded" : "All steps are shown");
  }

  #foldedAnew() {
    this.refold = true;
    this.#paint();
  }

  #tellFold() {
    this.host.dispatchEvent(new CustomEvent("fold", { detail: this.folds.all }));
  }

  /** Find the runs anew; rows that stand for other steps than before are drawn again, rows that are not shown go. */
  #layoutFolds() {
    this.refold = false;
    if (this.look !== "compact") return;
    this.folds.layout(this.model, this.selected);
    this.window = null;
    if (this.#windowed) return;
    const shown = new Set(this.folds.shown);
    for (const [row, element] of this.rows.entries()) {
      if (!element || shown.has(row - 1)) continue;
      element.remove();
      delete this.rows[row];
    }
    for (const index of shown) if (!this.#isOf(this.rows[index + 1], index)) this.dirty.add(index + 1);
  }

  /** Whether an element is the row of a step as it is folded now. */
  #isOf(element, index) {
    return element !== undefined && Number(element.dataset.last ?? index) === this.folds.lastOf(index);
  }

  /** The row that shows a step; undefined where none is in the page. */
  #element(index) {
    return this.rows[this.folds.head(index) + 1];
  }

  #top(index) {
    return this.#windowed ? this.folds.place(index) * COMPACT_ROW_PX : (this.#element(index)?.offsetTop ?? 0);
  }

  touchAll() {
    for (let row = 0; row <= this.model.steps.length; row += 1) this.dirty.add(row);
    this.flush();
  }

  get #sketched() {
    return this.look === "full" && (this.model?.steps.length ?? 0) > FILL_ALL_BELOW;
  }

  /** Rows that come near the view are filled; they stay so, since their heights are known then. */
  #seen(entries) {
    for (const { target, isIntersecting } of entries) {
      const row = Number(target.dataset.row);
      if (!isIntersecting || this.near.has(row)) continue;
      this.near.add(row);
      this.dirty.add(row);
    }
    if (this.dirty.size) this.flush();
  }

  get #windowed() {
    return this.look === "compact" && (this.model?.steps.length ?? 0) > WINDOW_ABOVE;
  }

  #paint() {
    if (!this.model) return;
    const stick = this.follows && this.following && this.model.state === "running";
    this.host.setAttribute("aria-busy", this.model.state === "running");
    if (this.refold) this.#layoutFolds();
    if (this.#windowed) this.#paintWindow(this.folds.shown.length);
    else {
      const total = this.model.steps.length + 1;
      for (const row of this.#dirtyRows()) {
        if (row >= total) continue;
        const fresh = this.#row(row);
        const old = this.rows[row];
        this.rows[row] = fresh;
        if (this.#sketched) {
          if (old) this.watcher.unobserve(old);
          if (!this.near.has(row)) this.watcher.observe(fresh);
        }
        if (old?.isConnected) {
          const focused = old.contains(document.activeElement) ? document.activeElement.dataset.focusKey : null;
          old.replaceWith(fresh);
          if (focused) fresh.querySelector(`[data-focus-key="${focused}"]`)?.focus({ preventScroll: true });
        } else {
          const next = this.rows.slice(row + 1).find((r) => r?.isConnected);
          if (next) next.before(fresh);
          else this.inner.append(fresh);
        }
      }
    }
    if (this.dirty.size && !this.#windowed) this.#light(this.selected);
    this.dirty.clear();
    if (stick) this.host.scrollTop = this.host.scrollHeight;
  }

  /** In order; a step in a folded run is drawn in the run's row. */
  #dirtyRows() {
    return [...new Set([...this.dirty].map((row) => this.folds.head(row - 1) + 1))].sort((a, b) => a - b);
  }

  #paintWindow(total) {
    const { scrollTop, clientHeight } = this.host;
    const top = Math.floor(scrollTop / COMPACT_ROW_PX);
    const bottom = Math.ceil((scrollTop + clientHeight) / COMPACT_ROW_PX);
    const known = this.window;
    if (known && !this.dirty.size && Math.max(0, top - SPARE_ROWS) >= known.first && Math.min(total, bottom + SPARE_ROWS) <= known.last) return;
    const first = Math.max(0, top - OVERSCAN);
    const last = Math.min(total, bottom + OVERSCAN);
    this.window = { first, last };
    this.inner.style.height = `${total * COMPACT_ROW_PX}px`;
    this.inner.classList.add("windowed");
    const keep = [];
    const dirty = new Set(this.#dirtyRows());
    for (let place = first; place < last; place += 1) {
      const index = this.folds.shown[place];
      const row = index + 1;
      const before = this.rows[row];
      const element = this.#isOf(before, index) && !dirty.has(row) ? before : this.#row(row);
      const top = `${place * COMPACT_ROW_PX}px`;
      if (element.style.top !== top) element.style.top = top;
      keep[row] = element;
    }
    // Rows that stay are left where they are: a scrolled frame costs the few rows that come into view.
    for (const old of [...this.inner.children]) if (keep[Number(old.dataset.row)] !== old) old.remove();
    let next = this.inner.firstChild;
    for (let place = first; place < last; place += 1) {
      const element = keep[this.folds.shown[place] + 1];
      if (element === next) next = next.nextSibling;
      else this.inner.insertBefore(element, next);
    }
    this.rows = keep;
    this.#light(this.selected);
  }

  #row(row) {
    const index = row - 1;
    const compact = this.look === "compact";
    const dotY = compact ? COMPACT_DOT_Y : FULL_DOT_Y;
    const selected = this.selected !== null && this.folds.head(this.selected) === index;
    const common = {
      role: "treeitem", id: `${this.host.id}-row-${row}`, "aria-selected": selected, "aria-description": selected ? this.#spoken(index) : null, "aria-posinset": (compact ? this.folds.place(index) : row) + 1,
      "aria-setsize": this.model.state === "running" ? -1 : compact ? this.folds.shown.length : this.model.steps.length + 1, dataset: { row },
    };
    if (index < 0) {
      return h(
        "div",
        { ...common, class: `wl-row question${selected ? " selected" : ""}${this.marked.has(-1) ? " match" : ""}`, "aria-level": 1 },
        gutterRow(this.lanes.rows[0], this.lanes.width, dotY, { kind: "question" }),
        h("div", { class: "wl-cells" },
          h("div", { class: "wl-line" }, h("span", { class: "num" }, "Q"), h("span", { class: "text prompt" }, this.model.prompt))),
      );
    }
    const step = this.model.steps[index];
    if (this.#sketched && !this.near.has(row) && !selected) {
      return h("div", { ...common, class: "wl-row sketch", "aria-level": this.model.depth(index) + 2, "aria-label": `Step ${index + 1}: ${step.name}` },
        gutterRow(this.lanes.rows[row], this.lanes.width, dotY, { kind: "step" }),
        h("div", { class: "wl-cells" }, h("div", { class: "wl-line" }, h("span", { class: "num" }, index + 1), h("span", { class: "name" }, step.name))));
    }
    if (this.folds.lastOf(index) > index) return this.#foldedRow(step, common, selected);
    const extra = this.decorate(step);
    const run = compact && this.folds.first[index] === index ? this.folds.run(index) : null;
    if (run && run.last !== this.#growing) common["aria-expanded"] = true;
    const classes = ["wl-row", extra.classes ?? "", selected ? "selected" : "", this.marked.has(index) ? "match" : "", step.writing ? "writing" : "", step.complete === false && !step.writing ? "cut" : ""];
    const line = h("div", { class: "wl-line" },
      h("span", { class: "num" }, index + 1),
      h("span", { class: "turn" }, backChip(step)),
      common["aria-expanded"] ? foldButton(run, true) : null,
      h("span", { class: "name" }, step.name || (step.writing ? "…" : "(no name)")),
      compact ? h("span", { class: "text" }, oneLine(step)) : null,
      h("span", { class: "wl-chips" }, kindChip(step), extra.chips ?? [], decisionChip(step)),
    );
    const body = compact ? null : h("div", { class: "wl-fields" },
      extra.fields ?? ["thought", "summary", "reflection"].filter((f) => step[f]).map((f) => h("p", { class: f }, step[f])), extra.body ?? null);
    return h(
      "div",
      { ...common, class: classes.filter(Boolean).join(" "), "aria-level": this.model.depth(index) + 2, "aria-label": compact ? null : [`Step ${index + 1}: ${step.name}`, step.is_backtrack ? `goes back to ${stepWord(step.resumes ?? step.parent)}` : null, extra.said].filter(Boolean).join(", ") },
      gutterRow(this.lanes.rows[row], this.lanes.width, dotY, { kind: step.writing ? "writing" : "step", tone: extra.tone }),
      h("div", { class: "wl-cells" }, line, body),
    );
  }

  /** What a screen reader hears of the selected step after its name: the label of a full row stands for all that is in it. */
  #spoken(index) {
    const step = this.model.steps[index];
    return this.look === "full" && step ? [step.thought, step.summary, step.reflection].filter(Boolean).join(" ").slice(0, SPOKEN) : null;
  }

  /** The last step while it is being written; its run is not folded. */
  get #growing() {
    return this.model.state === "running" ? this.model.steps.length - 1 : -1;
  }

  /** One row for a straight run: how many steps, where it begins and ends, what it does beside deriving, what was found in it. */
  #foldedRow(step, common, selected) {
    const { first, last } = this.folds.run(step.index);
    const steps = this.model.steps.slice(first, last + 1);
    const found = this.#found(first);
    const extra = this.decorate(steps.at(-1));
    const names = `${step.name} … ${steps.at(-1).name}`;
    common.dataset.last = last;
    return h("div", { ...common, class: `wl-row folded${selected ? " selected" : ""}${found ? " match" : ""}`, "aria-level": this.model.depth(first) + 2, "aria-expanded": false },
      gutterRow(this.lanes.span(first + 1, last + 1), this.lanes.width, COMPACT_DOT_Y, { kind: "folded", tone: step.is_backtrack ? "back" : extra.tone }),
      h("div", { class: "wl-cells" }, h("div", { class: "wl-line" },
        h("span", { class: "num" }, first + 1),
        h("span", { class: "turn" }, backChip(step)),
        foldButton({ first, last }, false),
        h("span", { class: "name" }, plural(last - first + 1, "step")),
        h("span", { class: "text" }, names),
        h("span", { class: "wl-chips" }, kindCounts(steps), found ? h("span", { class: "wl-chip back" }, `${found} found`) : null, decisionChip(steps.at(-1))))));
  }

  /** unfold: a step in a folded run is unfolded, so that what a search, a jump or a link leads to can be seen. */
  select(index, how = "code", { unfold = true } = {}) {
    if (!this.model || index < -1 || index >= this.model.steps.length) return false;
    if (this.refold) this.#layoutFolds();
    if (unfold && this.folds.set(index, false)) this.#foldedAnew();
    const before = this.selected;
    this.selected = index;
    for (const at of [before, index]) {
      const element = at === null ? null : this.#element(at);
      element?.classList.toggle("selected", at === index);
      element?.setAttribute("aria-selected", at === index);
      element?.setAttribute("aria-description", at === index ? this.#spoken(at) : "");
    }
    this.host.setAttribute("aria-activedescendant", `${this.host.id}-row-${this.folds.head(index) + 1}`);
    this.#light(index);
    this.onSelect(index, how);
    return true;
  }

  /** Make the jump into and out of the selected step stand out. */
  #light(index) {
    for (const e of this.hot) e.classList.remove("hot");
    this.hot = [];
    const step = this.model.steps[index];
    if (!step?.is_backtrack) return;
    const from = (step.parent ?? -1) + 1;
    for (let row = this.folds.head(from - 1) + 1; row <= index + 1; row += 1) {
      // Below the selected step the same rail goes on to later branches: not this step's jump.
      const other = row === index + 1 ? ":not([data-kind=pass])" : "";
      this.rows[row]?.querySelectorAll(`[data-from="${from}"].jump${other}`).forEach((e) => {
        e.classList.add("hot");
        this.hot.push(e);
      });
    }
  }

  /** Scroll the list, never the page, until the step is in view. */
  reveal(index, block = "nearest") {
    if (this.dirty.size || this.refold) this.#paint();
    if (this.#windowed) {
      const top = this.#top(index);
      if (top < this.host.scrollTop || top > this.host.scrollTop + this.host.clientHeight - COMPACT_ROW_PX) this.host.scrollTop = top - this.host.clientHeight / 2;
      return;
    }
    const row = this.#element(index);
    if (!row) return;
    const top = row.offsetTop;
    const bottom = top + row.offsetHeight;
    const { scrollTop, clientHeight } = this.host;
    if (block === "center") this.host.scrollTop = top - Math.max(0, (clientHeight - row.offsetHeight) / 2);
    else if (top < scrollTop + MARGIN_PX) this.host.scrollTop = top - MARGIN_PX;
    else if (bottom > scrollTop + clientHeight - MARGIN_PX) this.host.scrollTop = Math.min(top - MARGIN_PX, bottom - clientHeight + MARGIN_PX);
  }

  followNewest() {
    this.following = true;
    this.host.scrollTop = this.host.scrollHeight;
  }

  /** j/k, siblings, jumps: shared by all pages that show this list. Returns true when it knew the action. */
  navigate(action) {
    if (!this.model) return false;
    const at = this.selected ?? -1;
    const last = this.model.steps.length - 1;
    const go = (index, options) => {
      if (this.select(Math.max(-1, Math.min(last, index)), "key", options)) this.revealSoon();
      return true;
    };
    switch (action) {
      // From row to row: a folded run is one.
      case "next": return go(this.look === "compact" ? this.folds.shown[this.folds.place(at) + 1] ?? last : at + 1, { unfold: false });
      case "previous": return go(this.look === "compact" ? this.folds.shown[this.folds.place(at) - 1] ?? -1 : at - 1, { unfold: false });
      case "fold":
      case "unfold":
        if (this.folds.run(at)) this.fold(at, action === "fold");
        else say("This step is not part of a straight run that could be folded.");
        return true;
      case "fold-all":
        this.foldAll(!this.folds.all);
        return true;
      case "first": return go(0);
      case "last": return go(last);
      case "sibling-previous":
      case "sibling-next": {
        const family = this.model.siblings(at);
        const target = family[family.indexOf(at) + (action === "sibling-next" ? 1 : -1)];
        if (target === undefined) say(family.length > 1 ? "No further branch on this side." : "This step has no sibling branch.");
        return target === undefined ? true : go(target);
      }
      case "jump": return this.#jump(at, go);
    }
    const [what, side] = action.split("-");
    if (!(what in WORDS)) return false;
    const found = landmark(this.model, at, what, side === "next" ? 1 : -1);
    if (found !== null) return go(found);
    say(`There is no ${WORDS[what]} ${side === "next" ? "after" : "before"} this.`);
    return true;
  }

  /** Along the dashed line: from the step a backtrack led to, to where it went on from; and back again. */
  #jump(at, go) {
    const step = this.model.steps[at];
    if (step?.is_backtrack) {
      const target = step.parent ?? -1;
      this.jumpedFrom = { at: target, index: at };
      return go(target);
    }
    if (this.jumpedFrom?.at === at) return go(this.jumpedFrom.index);
    const child = this.model.childrenOf(at < 0 ? null : at).find((i) => this.model.steps[i].is_backtrack);
    const next = child ?? this.model.steps.find((s) => s.index > at && s.is_backtrack)?.index;
    if (next === undefined) {
      say("There is no backtrack from here on.");
      return true;
    }
    return go(next);
  }
}

/** Whether the click ends a drag over text of the row: that selects the text, not the row, which would be drawn anew under it. */
function selects(row) {
  const selection = getSelection();
  return !selection.isCollapsed && row.contains(selection.anchorNode);
}

function foldChoice() {
  try {
    return { yes: true, no: false }[localStorage.getItem(FOLD_CHOICE)] ?? null;
  } catch {
    return null;
  }
}

