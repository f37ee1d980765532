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

export class Judgements {
  constructor(ratings = []) {
    this.now = new Map();
    this.rated = new Set(); // the steps with a rating
    this.firstError = null;
    this.done = [];
    this.undone = [];
    for (const r of ratings) this.#write({ target: r.target, step: r.step_idx ?? null, dimension: r.dimension, value: r.value, text: r.value_text });
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
    const out = new Map();
    for (const [key, held] of this.now) if (key.startsWith("step|") && key.endsWith("|parent")) out.set(held.step, held.value);
    return out;
  }

  get count() {
    return this.rated.size;
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
    if (event.action === "set" || event.action === "clear") {
      this.#write({ target: event.target, step: event.step_idx ?? null, dimension: event.dimension, value: event.action === "clear" ? null : event.value, text: event.action === "clear" ? null : event.value_text });
    }
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

function id(target, step, dimension) {
  return `${target}|${step ?? ""}|${dimension}`;
}
