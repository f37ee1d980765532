// The list of steps with its gutter, one row a step, row 0 the question. Two looks of one list: "compact" (one line a
// step, for watching a run) and "full" (all of the text, for rating). The caller may add cells to a row (`decorate`).
// Knows nothing about runs, ratings or the network.

import { framed, h, say } from "./dom.js";
import { gutterRow, gutterWidth } from "./gutter.js";
import { WORDS, landmark } from "./landmarks.js";
import { Lanes } from "./lanes.js";
import { stepWord } from "./trace-model.js";

const COMPACT_ROW_PX = 32;
const COMPACT_DOT_Y = 16;
const FULL_DOT_Y = 20;
// Below this every row is in the page (search in page works); above it only those in view (2,000 rows stay smooth).
const WINDOW_ABOVE = 600;
const OVERSCAN = 14;
const SPARE_ROWS = 7; // the window moves when fewer rows than these are left on a side: not in every frame
// Rows with all their text and buttons are 60 elements each: above this many only those near the view are filled.
const FILL_ALL_BELOW = 200;
const FILL_MARGIN_PX = 1500;
// How far from the end still counts as "at the end": less than two rows.
const FOLLOW_SLACK_PX = 60;
// What stays visible above and below the selected row, so that the eye sees what comes next.
const MARGIN_PX = 40;

export class StepList {
  /**
   * host: an empty element. look: "compact" | "full". decorate(step) -> {chips: Node[], body: Node|null, classes: string, tone: string,
   *   above: Node (over the line), fields: Node[] (instead of the texts, in the full look)}, all of them optional
   * onSelect(index, how) after the selection changed; index -1 is the question.
   */
  constructor(host, { look = "compact", label = "Steps", decorate = () => ({}), onSelect = () => {} }) {
    this.host = host;
    this.look = look;
    this.decorate = decorate;
    this.onSelect = onSelect;
    this.model = null;
    this.lanes = new Lanes();
    this.rows = []; // row number -> element, sparse when windowed
    this.dirty = new Set();
    this.marked = new Set(); // steps that a search has found
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
      if (row && !event.target.closest("button, input, label, a, textarea")) this.select(Number(row.dataset.row) - 1, "mouse");
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
    if (other && this.model.steps.length === 0) this.dirty.add(0);
    this.flush();
  }

  touch(index) {
    this.dirty.add(index + 1);
    this.flush();
  }

  /** The steps that a search has found. */
  mark(indexes) {
    this.marked = new Set(indexes);
    for (const row of this.inner.children) row.classList.toggle("match", this.marked.has(Number(row.dataset.row) - 1));
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
    const stick = this.following && this.model.state === "running";
    const total = this.model.steps.length + 1;
    this.host.setAttribute("aria-busy", this.model.state === "running");
    if (this.#windowed) this.#paintWindow(total);
    else {
      for (const row of [...this.dirty].sort((a, b) => a - b)) {
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
    for (let row = first; row < last; row += 1) {
      const before = this.rows[row];
      const element = before && !this.dirty.has(row) ? before : this.#row(row);
      element.style.top = `${row * COMPACT_ROW_PX}px`;
      keep[row] = element;
    }
    // Rows that stay are left where they are: a scrolled frame costs the few rows that come into view.
    for (const old of [...this.inner.children]) if (keep[Number(old.dataset.row)] !== old) old.remove();
    let next = this.inner.firstChild;
    for (let row = first; row < last; row += 1) {
      if (keep[row] === next) next = next.nextSibling;
      else this.inner.insertBefore(keep[row], next);
    }
    this.rows = keep;
    this.#light(this.selected);
  }

  #row(row) {
    const index = row - 1;
    const compact = this.look === "compact";
    const dotY = compact ? COMPACT_DOT_Y : FULL_DOT_Y;
    const selected = this.selected === index;
    const common = {
      role: "treeitem", id: `${this.host.id}-row-${row}`, "aria-selected": selected, "aria-posinset": row + 1,
      "aria-setsize": this.model.state === "running" ? -1 : this.model.steps.length + 1, dataset: { row },
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
    const extra = this.decorate(step);
    const classes = ["wl-row", extra.classes ?? "", selected ? "selected" : "", this.marked.has(index) ? "match" : "", step.writing ? "writing" : "", step.complete === false && !step.writing ? "cut" : ""];
    const line = h("div", { class: "wl-line" },
      h("span", { class: "num" }, index + 1),
      h("span", { class: "turn" }, step.is_backtrack ? h("span", { class: "wl-chip back", title: `Goes back to ${stepWord(step.resumes ?? step.parent)}` }, `↩ ${shortWord(step.resumes ?? step.parent)}`) : null),
      h("span", { class: "name" }, step.name || (step.writing ? "…" : "(no name)")),
      compact ? h("span", { class: "text" }, oneLine(step)) : null,
      h("span", { class: "wl-chips" }, kindChip(step), extra.chips ?? [], decisionChip(step)),
    );
    const body = compact ? null : h("div", { class: "wl-fields" },
      extra.fields ?? ["thought", "summary", "reflection"].filter((f) => step[f]).map((f) => h("p", { class: f }, step[f])), extra.body ?? null);
    return h(
      "div",
      { ...common, class: classes.filter(Boolean).join(" "), "aria-level": this.model.depth(index) + 2, "aria-label": compact ? null : `Step ${index + 1}: ${step.name}` },
      gutterRow(this.lanes.rows[row], this.lanes.width, dotY, { kind: step.writing ? "writing" : "step", tone: extra.tone }),
      h("div", { class: "wl-cells" }, extra.above ?? null, line, body),
    );
  }

  select(index, how = "code") {
    if (!this.model || index < -1 || index >= this.model.steps.length) return false;
    const before = this.selected;
    this.selected = index;
    for (const row of [before, index]) {
      const element = row === null ? null : this.rows[row + 1];
      element?.classList.toggle("selected", row === index);
      element?.setAttribute("aria-selected", row === index);
    }
    this.host.setAttribute("aria-activedescendant", `${this.host.id}-row-${index + 1}`);
    this.#light(index);
    this.onSelect(index, how);
    return true;
  }

  /** Make the jump into and out of the selected step stand out. */
  #light(index) {
    this.inner.querySelectorAll(".hot").forEach((e) => e.classList.remove("hot"));
    const step = this.model.steps[index];
    if (!step?.is_backtrack) return;
    const from = (step.parent ?? -1) + 1;
    for (let row = from; row <= index + 1; row += 1) {
      // Below the selected step the same rail goes on to later branches: not this step's jump.
      const other = row === index + 1 ? ":not([data-kind=pass])" : "";
      this.rows[row]?.querySelectorAll(`[data-from="${from}"].jump${other}`).forEach((e) => e.classList.add("hot"));
    }
  }

  /** Scroll the list, never the page, until the step is in view. */
  reveal(index, block = "nearest") {
    if (this.dirty.size) this.#paint();
    if (this.#windowed) {
      const top = (index + 1) * COMPACT_ROW_PX;
      if (top < this.host.scrollTop || top > this.host.scrollTop + this.host.clientHeight - COMPACT_ROW_PX) this.host.scrollTop = top - this.host.clientHeight / 2;
      return;
    }
    const row = this.rows[index + 1];
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
    const go = (index) => {
      if (this.select(Math.max(-1, Math.min(last, index)), "key")) this.revealSoon();
      return true;
    };
    switch (action) {
      case "next": return go(at + 1);
      case "previous": return go(at - 1);
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

function oneLine(step) {
  if (step.writing) return step[step.field === "name" ? "thought" : (step.field ?? "thought")] ?? "";
  return [step.summary || step.thought, step.reflection].filter(Boolean).join(" · ");
}

function shortWord(index) {
  return index === null || index === undefined ? "Q" : String(index + 1);
}

/** What an unmarked step does, where it is not plain deriving. */
const KINDS = { plan: "plan", verify: "verify", explore: "explore", backtrack: "turns back", conclude: "concludes", setup: "setup", aside: "aside" };
function kindChip(step) {
  return KINDS[step.kind] && !step.writing ? h("span", { class: `wl-chip kind ${step.kind}` }, KINDS[step.kind]) : null;
}

function decisionChip(step) {
  if (step.writing) return h("span", { class: "wl-chip quiet" }, "writing");
  if (step.decision === "finish") return h("span", { class: "wl-chip finish" }, "■ finish");
  if (step.complete === false) return h("span", { class: "wl-chip warn" }, "cut off");
  return null;
}
