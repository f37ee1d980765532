// A trace while it is made or when it is read back: steps with their fields and their place in the tree.
// Pure data: no DOM, no network.

export const FIELDS = ["name", "thought", "summary", "reflection"];

export class TraceModel {
  constructor() {
    this.traceId = null;
    this.prompt = "";
    this.model = "";
    this.steps = [];
    this.answer = "";
    this.state = "empty"; // empty | running | done
    this.finishReason = "";
    this.solved = null;
    this.error = "";
    this.stats = {};
    this.knownFormat = null;
    this.earlier = null; // {trace_ids, given_as}: what the question was asked after
    this.children = [[]]; // children[row of the parent]; row 0 is the question, row i + 1 is step i
    this.depths = []; // those asked for so far; forgotten when a step moves
  }

  static fromTrace(trace) {
    const model = new TraceModel();
    model.traceId = trace.trace_id;
    model.prompt = trace.prompt;
    model.model = trace.model ?? "";
    model.answer = trace.answer ?? "";
    model.finishReason = trace.finish_reason ?? "";
    model.solved = trace.solved ?? null;
    model.error = trace.error ?? "";
    model.stats = trace.stats ?? {};
    model.knownFormat = trace.format ?? null;
    model.earlier = trace.earlier ?? null;
    model.state = "done";
    for (const step of trace.steps) model.#put({ ...step });
    return model;
  }

  /** Apply one run event; returns {opened, changed, replaced} with step indexes, so that views repaint only those. */
  apply(event) {
    const out = { opened: null, changed: null, moved: false, other: false };
    switch (event.type) {
      case "start":
        this.traceId = event.trace_id;
        this.prompt = event.prompt;
        this.model = event.model;
        this.earlier = event.earlier ?? null;
        this.state = "running";
        out.other = true;
        break;
      case "step_open":
        this.#put({
          index: event.index, name: "", thought: "", summary: "", reflection: "", decision: null, complete: false,
          parent: event.parent, is_backtrack: event.is_backtrack, resumes: event.resumes, replaces: event.replaces,
          confidence: event.confidence, writing: true,
        });
        out.opened = event.index;
        break;
      case "step_delta": {
        const step = this.steps[event.index];
        if (!step) break;
        step[event.field] += event.text;
        step.field = event.field;
        out.changed = event.index;
        break;
      }
      case "step_close": {
        const before = this.steps[event.step.index];
        out.moved = !before || before.parent !== event.step.parent || before.is_backtrack !== event.step.is_backtrack;
        this.#put({ ...event.step, decision: event.step.decision ?? before?.decision ?? null, writing: false });
        if (before && out.moved) this.#link();
        out.changed = event.step.index;
        break;
      }
      case "decision":
        if (this.steps[event.index]) this.steps[event.index].decision = event.decision;
        out.changed = event.index;
        break;
      case "answer_delta":
        this.answer += event.text;
        out.other = true;
        break;
      case "stats": {
        const { type, seq, ...stats } = event;
        this.stats = { ...this.stats, ...stats };
        out.other = true;
        break;
      }
      case "done": {
        this.state = "done";
        this.finishReason = event.finish_reason;
        this.answer = event.answer ?? this.answer;
        this.solved = event.solved ?? null;
        this.error = event.error ?? "";
        this.stats = { ...this.stats, ...event.stats };
        const last = this.steps.at(-1);
        if (last?.writing) {
          last.writing = false;
          out.changed = last.index;
        }
        out.other = true;
        break;
      }
    }
    return out;
  }

  #put(step) {
    const fresh = this.steps[step.index] === undefined;
    if (!fresh && this.steps[step.index].parent !== step.parent) this.depths = [];
    this.steps[step.index] = step;
    if (!fresh) return;
    this.children[step.index + 1] ??= [];
    (this.children[(step.parent ?? -1) + 1] ??= []).push(step.index);
  }

  #link() {
    this.depths = [];
    this.children = [[], ...this.steps.map(() => [])];
    for (const step of this.steps) this.children[(step.parent ?? -1) + 1].push(step.index);
  }

  /**
   * Show the tree as a person corrected it: `parents` maps a step to the parent it was given (-1: the question), `kinds` to its
   * kind. Whoever names the kind says whether the step turns back (storage/recut.py has the same rule).
   */
  correct(parents, kinds) {
    for (const step of this.steps) {
      step.inferred ??= { parent: step.parent, is_backtrack: step.is_backtrack, resumes: step.resumes, kind: step.kind };
      const given = parents.get(step.index);
      const parent = given === undefined ? step.inferred.parent : given < 0 ? null : given;
      const elsewhere = (parent ?? -1) !== step.index - 1;
      const kind = kinds.get(step.index);
      const turned = kind ? kind === "backtrack" && elsewhere : given === undefined ? step.inferred.is_backtrack : elsewhere;
      Object.assign(step, { parent, is_backtrack: turned, resumes: given === undefined ? step.inferred.resumes : parent, kind: kind ?? step.inferred.kind });
    }
    this.#link();
  }

  /** Lay what a model says otherwise over the tree (`changes` as a refinement lists them); none shows what was inferred. */
  refine(changes, by) {
    for (const step of this.steps) {
      if (!step.refined) continue;
      Object.assign(step, step.refined.old);
      delete step.refined;
    }
    for (const change of changes) {
      const step = this.steps[change.index];
      if (!step) continue;
      const placed = change.fields.some((field) => field !== "kind");
      Object.assign(step, change.new, { confidence: placed ? null : step.confidence, refined: { ...change, by, old: { ...change.old, confidence: step.confidence } } });
    }
    this.#link();
  }

  childrenOf(index) {
    return this.children[(index ?? -1) + 1] ?? [];
  }

  siblings(index) {
    const step = this.steps[index];
    return step ? this.childrenOf(step.parent) : [];
  }

  /** How many steps lie above; each is asked of its parent once, since a list of thousands asks for all of them. */
  depth(index) {
    const way = [];
    let at = index;
    while (at !== null && at !== undefined && this.depths[at] === undefined && this.steps[at] && way.length <= this.steps.length) {
      way.push(at);
      at = this.steps[at].parent;
    }
    let depth = this.depths[at] ?? -1;
    for (const step of way.reverse()) this.depths[step] = depth += 1;
    return Math.max(0, this.depths[index] ?? 0);
  }

  /** Indexes from the first step down to `index`. */
  path(index) {
    const out = [];
    for (let at = index; at !== null && at !== undefined && this.steps[at] && out.length <= this.steps.length; at = this.steps[at].parent) out.push(at);
    return out.reverse();
  }

  /** Of a run, only whether it is Steiner's can be told: no other format names what it writes. */
  get format() {
    return this.knownFormat ?? (this.steps.some((s) => s.summary || s.reflection) ? "steiner" : "plain");
  }

  get backtracks() {
    return this.steps.reduce((n, s) => n + (s.is_backtrack ? 1 : 0), 0);
  }
}

/** Where a step entered by a backtrack went on from, in words: "step 4" or "the question". */
export function stepWord(index) {
  return index === null || index === undefined ? "the question" : `step ${index + 1}`;
}
