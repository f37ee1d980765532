// The family of a trace: the one on screen and its other world lines (forks), joined into one tree; how they ended. Knows
// no page.

import { get } from "./api.js";
import { h } from "./dom.js";

// Lines whose steps are fetched and drawn; beyond, they are counted and listed. The newest come first.
const DRAWN_MOST = 24;
// Lines under way that are drawn as they grow; further ones when they have ended.
const GROWING_MOST = 4;

export class Family {
  constructor() {
    this.traceId = null;
    this.asked = 0; // how often was asked: an answer that a later question has overtaken is dropped
    this.lines = []; // rows of GET /api/traces/{id}/family
    this.steps = new Map(); // trace id -> steps of a line
    this.growing = new Set(); // trace ids of those whose steps are not all there yet
  }

  /** Ask the server; true when something has changed. */
  async load(traceId) {
    const asked = ++this.asked;
    const lines = await get(`/api/traces/${encodeURIComponent(traceId)}/family`);
    if (asked !== this.asked) return false;
    const changed = traceId !== this.traceId || JSON.stringify(lines) !== JSON.stringify(this.lines);
    if (traceId !== this.traceId) [this.steps, this.growing] = [new Map(), new Set()];
    this.traceId = traceId;
    this.lines = lines;
    const others = lines.filter((l) => l.trace_id !== traceId);
    const wanted = [
      ...others.filter((l) => l.state === "done" && (!this.steps.has(l.trace_id) || this.growing.has(l.trace_id))).slice(-DRAWN_MOST),
      ...others.filter((l) => l.state === "running").slice(-GROWING_MOST),
    ];
    for (const line of wanted) {
      if (this.steps.size >= DRAWN_MOST && !this.steps.has(line.trace_id)) continue;
      const { steps } = await get(`/api/traces/${encodeURIComponent(line.trace_id)}?lean=true&so_far=true`);
      if (this.traceId !== traceId) return false; // another trace was opened meanwhile
      this.steps.set(line.trace_id, steps);
      if (line.state === "running") this.growing.add(line.trace_id);
      else this.growing.delete(line.trace_id);
    }
    return changed || wanted.length > 0;
  }

  get running() {
    return this.lines.some((l) => l.state === "running");
  }

  line(traceId) {
    return this.lines.find((l) => l.trace_id === traceId) ?? null;
  }

  /** The trace and step of the line that wrote a step first: shared steps belong to the line they were kept from. */
  owner(traceId, index) {
    let at = traceId;
    for (let i = 0; i <= this.lines.length; i += 1) {
      const origin = this.line(at)?.origin;
      if (!origin || index > origin.step) break;
      at = origin.trace_id;
    }
    return at;
  }

  /** Lines that leave the trace on screen right after step `index` (-1: the question), newest first. */
  leaving(index) {
    return this.lines.filter((l) => l.trace_id !== this.traceId && l.origin && l.origin.step === index
      && this.owner(l.origin.trace_id, index) === this.owner(this.traceId, index)
      && !this.#holds(l)).reverse();
  }

  /** Whether a line is one that the trace on screen goes through. */
  #holds(line) {
    for (let at = this.line(this.traceId); at?.origin; at = this.line(at.origin.trace_id)) if (at.origin.trace_id === line.trace_id) return true;
    return false;
  }

  /** How many steps of the trace on screen were kept from another. */
  get shared() {
    return (this.line(this.traceId)?.origin?.step ?? -1) + 1;
  }

  /**
   * The model on screen with the steps of the other lines after its own: what the overview draws. Steps from
   * `model.steps.length` on belong to others; `at(i)` tells {traceId, index} of any.
   */
  merged(model) {
    const steps = [...model.steps];
    const places = steps.map((s) => ({ traceId: this.traceId, index: s.index }));
    const known = new Map(steps.map((s) => [`${this.owner(this.traceId, s.index)}:${s.index}`, s.index]));
    for (const [traceId, others] of this.steps) {
      for (const step of others) {
        const key = `${this.owner(traceId, step.index)}:${step.index}`;
        if (known.has(key)) continue;
        const parent = step.parent === null ? null : known.get(`${this.owner(traceId, step.parent)}:${step.parent}`);
        if (parent === undefined) continue; // its line could not be fetched
        known.set(key, steps.length);
        places.push({ traceId, index: step.index });
        steps.push({ ...step, index: steps.length, parent, other: true });
      }
    }
    const children = [[], ...steps.map(() => [])];
    for (const step of steps) children[(step.parent ?? -1) + 1].push(step.index);
    return {
      steps, children, own: model.steps.length, backtracks: model.backtracks, at: (i) => places[i],
      childrenOf: (i) => children[(i ?? -1) + 1] ?? [],
      path: (i) => model.path(i),
    };
  }
}

const ANSWERS_MOST = 6;
const ANSWER_CHARS = 40;

/** An answer as it stands in a line of text. */
export const answerWords = (answer) => (answer.length > ANSWER_CHARS ? `${answer.slice(0, ANSWER_CHARS)}…` : answer || "no answer");

/** "3 solved, 1 not, 1 running"; where nobody can say, what they answer: "391 ×5, no answer ×1". And the share solved of those that were checked. */
export function outcomes(lines) {
  const solved = lines.filter((l) => l.solved === true).length;
  const not = lines.filter((l) => l.solved === false).length;
  const running = lines.filter((l) => l.state === "running").length;
  const counts = new Map();
  for (const line of lines) if (line.solved === null && line.state !== "running") counts.set(line.answer ?? "", (counts.get(line.answer ?? "") ?? 0) + 1);
  const answers = [...counts].sort(([a, n], [b, m]) => m - n || (a === "") - (b === ""));
  const others = answers.slice(ANSWERS_MOST).reduce((sum, [, n]) => sum + n, 0);
  const counted = (n, word) => (n ? [`${n} ${word}`] : []);
  const words = [
    ...counted(solved, "solved"), ...counted(not, "not solved"),
    ...answers.slice(0, ANSWERS_MOST).map(([answer, n]) => `${answerWords(answer)} ×${n}`), ...(others ? [`other answers ×${others}`] : []),
    ...counted(running, "running"),
  ];
  return { solved, checked: solved + not, words: words.join(", ") };
}

/** "✓ solved", "… running": how a run or trace ended, as a glyph and a word. */
export function outcomeMark({ state, solved }) {
  const [glyph, word, tone] = state === "running" ? ["…", "running", "running"] : solved === true ? ["✓", "solved", "good"] : solved === false ? ["✗", "not solved", "bad"] : ["○", "not checked", "none"];
  return h("span", { class: `mark ${tone}` }, h("span", { "aria-hidden": "true" }, glyph), ` ${word}`);
}
