// The head of the Rate page and its history: which queue, its guidelines, the reference answer, how far the rater is and how
// fast, what they did last. Knows no step and no key.

import { ApiError, get } from "./api.js";
import { h, param, plural, setParams, when } from "./dom.js";
import { lastOnes, paceWords, readLast, readMine } from "./mine.js";
import { shownText } from "./reading.js";

const QUEUE = "worldline.queue";
const SEEN = "worldline.guidelines"; // rubric -> the version this browser has shown

export class QueueHead {
  /** at(id): an element of the page; chosen(): another queue was chosen. */
  constructor(at, { chosen }) {
    Object.assign(this, { at, rater: null, queues: [] });
    this.queue = param("queue") ?? sessionStorage.getItem(QUEUE) ?? "default";
    at("queue").addEventListener("change", () => {
      this.choose(at("queue").value);
      chosen();
    });
    at("guidelines-button").addEventListener("click", () => this.#open(at("guidelines").hidden));
    at("guidelines").addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      this.#open(false);
      at("guidelines-button").focus();
    });
  }

  /** The queues there are; one that is gone is left for the first of them. */
  async load() {
    this.queues = (await get("/api/queues")).filter((q) => q.unit === "trace" && !q.archived);
    if (this.queues.length && !this.queues.some((q) => q.queue_id === this.queue)) this.choose(this.queues[0].queue_id);
    this.at("queue-pick").hidden = this.queues.length < 2;
    this.#drawQueues(this.queue);
  }

  /** Queues that have something left for a rater, beside the chosen one: [{queue_id, title, remaining}]. Raises ApiError. */
  async others(rater_id) {
    const others = this.queues.filter((q) => q.queue_id !== this.queue);
    const mine = await Promise.all(others.map(({ queue_id }) => readMine({ queue_id, rater_id })));
    return others.map((q, i) => ({ ...q, remaining: mine[i].remaining })).filter((q) => q.remaining);
  }

  /** From now on the next trace comes from here. */
  choose(queue) {
    this.queue = queue;
    sessionStorage.setItem(QUEUE, queue);
    if (param("queue")) setParams({ queue });
  }

  #drawQueues(shown) {
    this.at("queue").replaceChildren(...this.queues.map((q) => h("option", { value: q.queue_id, selected: q.queue_id === shown }, q.title)));
  }

  /** payload: what /api/assignments answers of the trace that is shown now. */
  shown(payload) {
    const { assignment, rubric, reference, progress, note } = payload;
    this.assignment = assignment;
    if (this.queues.some((q) => q.queue_id === assignment.queue_id)) this.choose(assignment.queue_id); // the next comes from where this one is
    this.#drawQueues(assignment.queue_id);
    this.#drawGuidelines(rubric);
    this.#drawReference(reference);
    this.#drawPace(progress);
    this.at("sampling-note").textContent = note ?? "";
    this.at("sampling-note").hidden = !note;
    this.refresh();
  }

  /** How far the rater is, and what they did last, as the server has it now. */
  async refresh() {
    const { assignment } = this;
    try {
      const [mine, last] = await Promise.all([readMine(assignment), readLast(assignment.rater_id)]);
      if (this.assignment !== assignment) return;
      this.#drawPace(mine);
      this.#drawHistory(last);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error; // the page works without, and another's history is not for everybody
    }
  }

  #drawPace(mine) {
    if (mine) this.at("pace").textContent = paceWords(mine);
  }

  #drawReference(reference) {
    const { policy, known, text } = reference ?? { policy: "hidden", known: false, text: null };
    this.at("reference-box").hidden = !known || policy === "hidden";
    this.at("reference").replaceChildren(...(text === null ? [h("span", { class: "muted" }, "shown after you submit")] : shownText(text)));
  }

  // ---------------------------------------------------------------- guidelines

  #open(open) {
    this.at("guidelines").hidden = !open;
    this.at("guidelines-button").setAttribute("aria-expanded", open);
    if (open) this.#seen();
  }

  #drawGuidelines(rubric) {
    this.rubric = rubric;
    this.at("guidelines-button").hidden = !rubric;
    if (!rubric) return this.#open(false);
    const before = seen()[rubric.rubric_id];
    const changed = before !== undefined && before !== rubric.version;
    this.at("guidelines-button").replaceChildren("Guidelines", changed ? h("span", { class: "changed" }, " (changed)") : "");
    this.at("guidelines").replaceChildren(
      h("div", { class: "guidelines-text" }, ...shownText(rubric.guidelines)),
      h("p", { class: "muted note" }, `Version ${rubric.version}${rubric.created_at ? ` of ${when(rubric.created_at)}` : ""}. Your judgements are kept with it.`));
    if (!changed && before === undefined) this.#seen();
  }

  /** From now on only another version is a change. */
  #seen() {
    if (!this.rubric) return;
    localStorage.setItem(SEEN, JSON.stringify({ ...seen(), [this.rubric.rubric_id]: this.rubric.version }));
    this.at("guidelines-button").querySelector(".changed")?.remove();
  }

  // ---------------------------------------------------------------- history

  #drawHistory(last) {
    this.at("recent-card").hidden = last.length === 0;
    this.at("recent").replaceChildren(...lastOnes(last, this.assignment.assignment_id));
    this.at("recent-title").textContent = last.length === 1 ? "Your last one" : `Your last ${plural(last.length, "one")}`;
  }
}

function seen() {
  return JSON.parse(localStorage.getItem(SEEN) ?? "{}");
}
