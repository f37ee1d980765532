// The list of steps with its gutter, one row a step, row 0 the question. Two looks of one list: "compact" (one line a
// step, for watching a run) and "full" (all of the text, for rating). The caller may add cells to a row (`decorate`). In the
// compact look straight runs can be folded to one row (folds.js): a row is known by its first step, and stands at a place.
// What is in a row: step-row.js; moves by keys: list-moves.js; a long list has only the rows in view in the page: row-window.js.
// Knows nothing about runs, ratings or the network.

import { framed, h, say } from "./dom.js";
import { Folds } from "./folds.js";
import { gutterWidth } from "./gutter.js";
import { Lanes } from "./lanes.js";
import { navigate } from "./list-moves.js";
import { EqualHeights, MeasuredHeights } from "./row-heights.js";
import { RowWindow } from "./row-window.js";
import { buildRow, spoken } from "./step-row.js";

const COMPACT_ROW_PX = 32;
// Below this every row is in the page (search in page works); above it only those in view: 5,000 steps react as 50 do.
// A row with all its text and buttons is 60 elements.
const WINDOW_ABOVE = { compact: 600, full: 200 };
// Rows kept on either side of the view, and how few may be left before the window moves. A move draws all its rows: with 44
// compact ones it takes some 10 ms of a frame's 16, with the 80 of a wider margin it took 20 and the frame was late.
const MARGINS = { compact: { over: 14, spare: 7 }, full: { over: 4, spare: 2 } };
// How high a full row will be, guessed from its text: a line, what stands around the text, the width of a letter.
const LINE_PX = 21;
const AROUND_TEXT_PX = 47;
const QUESTIONS_PX = 58;
const LETTER_PX = 7;
const [LINE_LEAST, LINE_MOST] = [20, 84]; // letters; the most as in pages.css
// How far from the end still counts as "at the end": less than two rows.
const FOLLOW_SLACK_PX = 60;
// From this many steps on straight runs are folded at first, unless the reader has chosen.
const FOLD_FROM = 400;
const FOLD_CHOICE = "worldline.fold-runs";
// What stays visible above and below the selected row, so that the eye sees what comes next.
const MARGIN_PX = 40;

export class StepList {
  /**
   * host: an empty element. look: "compact" | "full". decorate(step) -> {chips: Node[], body: Node|null, classes: string, tone: string,
   *   said: string (what is read out after the name of a full row), fields: Node[] (instead of the texts, in the full look)}, all of them optional
   * asked(prompt) -> the question as its row shows it.
   * runChips(steps) -> nodes for the row of a folded run.
   * follows: whether a run that is still written scrolls its newest step into view, as long as the reader is at the end.
   * onSelect(index, how) after the selection changed; index -1 is the question.
   */
  constructor(host, { look = "compact", label = "Steps", follows = true, decorate = () => ({}), asked = (prompt) => prompt, runChips = () => [], onSelect = () => {} }) {
    this.host = host;
    this.look = look;
    this.follows = follows;
    this.decorate = decorate;
    this.asked = asked;
    this.runChips = runChips;
    this.onSelect = onSelect;
    this.model = null;
    this.lanes = new Lanes();
    this.rows = []; // row number -> element, sparse when windowed
    this.hidden = 0; // so many first rows are not shown
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
    this.heights = look === "compact" ? new EqualHeights(COMPACT_ROW_PX) : new MeasuredHeights((row) => this.#guess(row));
    this.window = new RowWindow(host, this.inner, this.heights, { ...MARGINS[look], moved: this.flush });
  }

  show(model) {
    this.model = model;
    this.marked.clear();
    this.lanes = Lanes.of(model.steps);
    this.selected = null;
    this.following = true;
    this.folds.reset(this.look === "compact" && (foldChoice() ?? model.steps.length >= FOLD_FROM));
    this.#tellFold();
    this.window.close();
    this.heights.reset?.();
    this.host.scrollTop = 0;
    this.rebuild();
  }

  /** Every row anew, where the reader is. */
  rebuild() {
    if (this.#windowed) this.window.forget();
    else this.inner.replaceChildren();
    this.rows = [];
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

  /** Show no row before this one; the question is row 0. */
  hideFirst(rows) {
    this.hidden = rows;
    this.heights.hide?.(rows);
    for (const [row, element] of this.rows.entries()) if (element) element.hidden = row < rows;
    this.dirty.add(rows);
    this.flush();
  }

  /** The rows in view. */
  inView() {
    const { scrollTop, clientHeight } = this.host;
    return [...this.inner.children].filter((row) => row.offsetTop + row.offsetHeight >= scrollTop && row.offsetTop <= scrollTop + clientHeight);
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
      element.classList.toggle("match", this.found(row - 1) > 0);
      if (element.dataset.last) this.dirty.add(row); // it says how many
    }
    if (this.dirty.size) this.flush();
  }

  /** How many of the steps that a row stands for a search has found. */
  found(index) {
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
    const y = this.top(before) - this.host.scrollTop;
    const run = this.folds.run(before);
    this.folds.reset(all);
    if (all && run && before > run.first) this.select(run.first, "key", { unfold: false });
    this.#foldedAnew();
    // What was selected stays where the eye has it.
    if (y >= 0 && y < this.host.clientHeight) this.host.scrollTop = this.top(this.selected ?? -1) - y;
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
    this.window.places = null;
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

  /** How far below the list's beginning a step's row stands. */
  top(index) {
    return this.#windowed ? this.heights.top(this.place(index)) : (this.#element(index)?.offsetTop ?? 0);
  }

  /** The row that a step stands in, counted from the top; and back. */
  place(index) {
    return this.look === "compact" ? this.folds.place(index) : index + 1;
  }

  stepAt(place) {
    return this.look === "compact" ? this.folds.shown[place] : place > this.model.steps.length ? undefined : place - 1;
  }

  get count() {
    return this.look === "compact" ? this.folds.shown.length : this.model.steps.length + 1;
  }

  #guess(row) {
    // The width is asked for once in a while: a question to the layout costs more than the answer is worth.
    if (row === 0) this.letters = Math.max(LINE_LEAST, Math.min(LINE_MOST, (this.host.clientWidth - gutterWidth(this.lanes.width) - AROUND_TEXT_PX) / LETTER_PX));
    const step = this.model.steps[row - 1];
    const lines = (step ? [step.thought, step.summary, step.reflection] : [this.model.prompt]).reduce((n, text) => n + Math.ceil((text?.length ?? 0) / this.letters), 0);
    return AROUND_TEXT_PX + lines * LINE_PX + (step?.is_backtrack ? QUESTIONS_PX : 0);
  }

  touchAll() {
    for (let row = 0; row <= this.model.steps.length; row += 1) this.dirty.add(row);
    this.flush();
  }

  get #windowed() {
    return (this.model?.steps.length ?? 0) > WINDOW_ABOVE[this.look];
  }

  #paint() {
    if (!this.model) return;
    const stick = this.follows && this.following && this.model.state === "running";
    this.host.setAttribute("aria-busy", this.model.state === "running");
    if (this.refold) this.#layoutFolds();
    if (this.#windowed) this.#paintWindow();
    else {
      const total = this.model.steps.length + 1;
      for (const row of this.#dirtyRows()) {
        if (row >= total) continue;
        const fresh = buildRow(this, row);
        const old = this.rows[row];
        this.rows[row] = fresh;
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

  #paintWindow() {
    this.window.open([...this.rows.entries()].filter(([, element]) => element).map(([row, element]) => [this.place(row - 1), element]));
    const dirty = new Set(this.#dirtyRows());
    const keep = [];
    this.window.paint({
      count: this.count, force: dirty.size > 0, pinned: this.selected === null ? null : this.place(this.selected),
      draw: (place) => {
        const index = this.stepAt(place);
        const row = index + 1;
        const before = this.rows[row];
        const element = this.#isOf(before, index) && !dirty.delete(row) ? before : buildRow(this, row);
        this.rows[row] = element;
        return element;
      },
    });
    for (const [place, element] of this.window.shown) keep[this.stepAt(place) + 1] = element;
    this.rows = keep;
    this.#light(this.selected);
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
      element?.setAttribute("aria-description", at === index ? spoken(this, at) : "");
    }
    if (this.#windowed) this.flush(); // the selected row stays in the page
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
      this.rows[row]?.querySelectorAll(`[data-from~="${from}"].jump${other}`).forEach((e) => {
        e.classList.add("hot");
        this.hot.push(e);
      });
    }
  }

  /** Scroll the list, never the page, until the step is in view. */
  reveal(index, block = "nearest") {
    if (this.dirty.size || this.refold) this.#paint();
    if (this.#windowed && this.look === "compact") {
      const top = this.top(index);
      if (top < this.host.scrollTop || top > this.host.scrollTop + this.host.clientHeight - COMPACT_ROW_PX) this.host.scrollTop = top - this.host.clientHeight / 2;
      return;
    }
    if (this.#windowed && !this.window.has(this.place(index))) {
      // Where it is said to be; what stands around it is measured there.
      this.host.scrollTop = this.top(index) - this.host.clientHeight / 2;
      this.#paint();
    }
    const row = this.#element(index);
    if (!row) return;
    const top = this.top(index);
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

  /** j/k, siblings, jumps. Returns true when it knew the action. */
  navigate(action) {
    return navigate(this, action);
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

