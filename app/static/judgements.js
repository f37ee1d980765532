// What a rater has judged in one assignment: the current values, how they came about, undo and redo. Every change returns the
// changes that must be sent, in order. Pure data: no DOM, no network.

export const UNSURE = "unsure";
export const CHOICES = [
  { name: "bad", value: -1, text: null, glyph: "✗", word: "bad" },
  { name: "neutral", value: 0, text: null, glyph: "○", word: "neutral" },
  { name: "good", value: 1, text: null, glyph: "✓", word: "good" },
  { name: "unsure", value: null, text: UNSURE, glyph: "?", word: "unsure" },
];
export const QUESTIONS = [
  { dimension: "worth_exploring", action: "worth", short: "Worth exploring?", words: "Was what it gave up worth exploring?" },
  { dimension: "left_in_time", action: "time", short: "Left in time?", words: "Was it left at the right time?" },
  { dimension: "right_return", action: "place", short: "Right place?", words: "Did it return to the right place?" },
];

// What is said of an error, that it is the first one too; it goes when the step is bad no more.
export const DETAILS = ["first_error", "span", "error_type", "severity", "rationale", "recovered"];

export const COMMENT = "comment"; // a remark on a step: undone like a judgement, sent as an action of its own

export class Judgements {
  /** ratings and comments as the server gives them. */
  constructor(ratings = [], comments = []) {
    this.now = new Map();
    this.rated = new Set(); // the steps with a rating
    this.firstError = null;
    this.done = [];
    this.undone = [];
    for (const r of ratings) this.#write({ target: r.target, step: r.step_idx ?? null, dimension: r.dimension, value: r.value, text: r.value_text });
    for (const c of comments) this.replay({ action: "comment", ...c });
  }

  comment(step) {
    return this.get("step", step, COMMENT)?.text ?? "";
  }

  get(target, step, dimension) {
    return this.now.get(id(target, step, dimension)) ?? null;
  }

  /** The choice ("bad", …) of a judged thing, or null. */
  choice(target, step, dimension) {
    const held = this.get(target, step, dimension);
    if (!held) return null;
    return CHOICES.find((c) => (held.text === UNSURE ? c.text === UNSURE : c.value === held.value))?.name ?? null;
  }

  /** step -> the parent that the rater gave it (-1: the question). */
  get parents() {
    return this.#given("parent", (held) => held.value);
  }

  /** step -> the kind that the rater gave it. */
  get kinds() {
    return this.#given("kind", (held) => held.text);
  }

  #given(dimension, value) {
    const out = new Map();
    for (const [key, held] of this.now) if (key.startsWith("step|") && key.endsWith(`|${dimension}`)) out.set(held.step, value(held));
    return out;
  }

  get count() {
    return this.rated.size;
  }

  /** Whether anything was judged on this page, undone or not. */
  get touched() {
    return this.done.length + this.undone.length > 0;
  }

  /** How many of the first `n` steps have no rating. */
  missing(n) {
    let rated = 0;
    for (const step of this.rated) rated += step < n ? 1 : 0;
    return n - rated;
  }

  /** Where the rater cut a step: offsets into the response in code points, ascending. */
  cuts(step) {
    return this.get("step", step, "cuts")?.text.split(" ").map(Number) ?? [];
  }

  joined(step) {
    return this.get("step", step, "joined") !== null;
  }

  /** Cut a step at `at`, or take that cut back. All cuts of a step are one value, so that the latest wins as a whole. */
  cutChanges(step, at) {
    const held = this.cuts(step);
    const cuts = held.includes(at) ? held.filter((c) => c !== at) : [...held, at].sort((a, b) => a - b);
    return [{ target: "step", step, dimension: "cuts", value: null, text: cuts.length ? cuts.join(" ") : null }];
  }

  /** Join a step with the one before, or no longer. */
  joinChanges(step) {
    return [{ target: "step", step, dimension: "joined", value: this.joined(step) ? null : 1, text: null }];
  }

  /** Rate a step (choice null: take the rating away). What was said of its error goes with the "bad" it was said of. */
  rateChanges(step, choice) {
    const cleared = (dimension) => ({ target: "step", step, dimension, value: null, text: null });
    const gone = choice?.name === "bad" ? [] : DETAILS.filter((d) => this.get("step", step, d)).map(cleared);
    return [{ ...cleared("correctness"), value: choice?.value ?? null, text: choice?.text ?? null }, ...gone];
  }

  /** The place of the error in a step: offsets into the response in code points, or null. */
  span(step) {
    return this.get("step", step, "span")?.text.split(" ").map(Number) ?? null;
  }

  /** Everything as it was inferred. */
  inferredChanges(step) {
    return ["parent", "kind", "cuts", "joined"].filter((d) => this.get("step", step, d)).map((dimension) => ({ target: "step", step, dimension, value: null, text: null }));
  }

  /** changes: [{target, step, dimension, value, text}] with value and text null meaning "clear". One press = one group. */
  change(changes) {
    const group = changes.map((after) => {
      const held = this.get(after.target, after.step, after.dimension);
      return { after, before: { ...after, value: held?.value ?? null, text: held?.text ?? null } };
    });
    this.done.push(group);
    this.undone = [];
    group.forEach((g) => this.#write(g.after));
    return changes;
  }

  undo() {
    const group = this.done.pop();
    if (!group) return null;
    this.undone.push(group);
    const back = group.map((g) => g.before).reverse();
    back.forEach((c) => this.#write(c));
    return back;
  }

  redo() {
    const group = this.undone.pop();
    if (!group) return null;
    this.done.push(group);
    group.forEach((g) => this.#write(g.after));
    return group.map((g) => g.after);
  }

  /**
   * Take what an earlier page did as what can be undone, below what was done here, and what it had undone as what can be done
   * again, if nothing was judged here. events: the log of that time. One press has one time; a press that took the one before
   * back is an undo, one that does the last undone again a redo.
   */
  remember(events) {
    const past = new Map();
    const groups = [];
    let undone = [];
    const presses = new Map();
    for (const e of [...events].sort((a, b) => a.seq - b.seq)) {
      if (!changeOf(e)) continue;
      const press = e.ts_client || e.event_id;
      presses.set(press, [...(presses.get(press) ?? []), e]);
    }
    for (const press of presses.values()) {
      const group = press.map((e) => {
        const after = changeOf(e);
        const key = id(after.target, after.step, after.dimension);
        const before = past.get(key) ?? { ...after, value: null, text: null };
        past.set(key, after);
        return { after, before };
      });
      const last = groups.at(-1);
      if (last?.length === group.length && last.every((g) => group.some(({ after }) => same(after, g.before)))) {
        undone.push(groups.pop());
        continue;
      }
      const again = undone.at(-1);
      if (again?.length === group.length && again.every((g) => group.some(({ after }) => same(after, g.after)))) undone.pop();
      else undone = [];
      groups.push(group);
    }
    if (!this.done.length && !this.undone.length) this.undone = undone;
    this.done = [...groups, ...this.done];
  }

  /** Mark the first error: bad, and no other step is the first. Marking it again takes the mark away (the rating stays). */
  firstErrorChanges(step) {
    const old = this.firstError;
    const mark = (at, value) => ({ target: "step", step: at, dimension: "first_error", value, text: null });
    if (old === step) return [mark(step, null)];
    const changes = old === null ? [] : [mark(old, null)];
    return [...changes, { target: "step", step, dimension: "correctness", value: -1, text: null }, mark(step, 1)];
  }

  /** An event of an earlier page that was not sent yet. */
  replay(event) {
    const change = changeOf(event);
    if (change) this.#write(change);
  }

  #write(change) {
    const key = id(change.target, change.step, change.dimension);
    const cleared = change.value === null && (change.text === null || change.text === undefined || change.text === "");
    if (cleared) this.now.delete(key);
    else this.now.set(key, { step: change.step, value: change.value, text: change.text ?? null });
    if (change.target !== "step") return;
    if (change.dimension === "correctness") this.rated[cleared ? "delete" : "add"](change.step);
    else if (change.dimension === "first_error" && !cleared && change.value === 1) this.firstError = change.step;
    else if (change.dimension === "first_error" && this.firstError === change.step) this.firstError = null;
  }
}

/** What an event of the log says of the judgements; null: nothing. A remark is kept by an action of its own. */
function changeOf({ action, target, step_idx: step = null, dimension, value, value_text: text }) {
  if (action === "comment") return step === null ? null : { target: "step", step, dimension: COMMENT, value: null, text: text || null };
  if (action === "set") return { target, step, dimension, value: value ?? null, text: text ?? null };
  return action === "clear" ? { target, step, dimension, value: null, text: null } : null;
}

function same(a, b) {
  return a.target === b.target && a.step === b.step && a.dimension === b.dimension && a.value === b.value && (a.text ?? null) === (b.text ?? null);
}

function id(target, step, dimension) {
  return `${target}|${step ?? ""}|${dimension}`;
}
