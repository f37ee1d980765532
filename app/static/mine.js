// How far a rater is in a queue, how fast, and what they did last, the way back to it: told alike on Rate and Compare. Knows no page.

import { get } from "./api.js";
import { h, number, when } from "./dom.js";

const LAST = 20;
const REASONS = { skip: "skipped", unsure: "unsure", give_up: "gave up", bad_problem: "bad problem", bad_segmentation: "bad segmentation" };

export function readMine({ queue_id: queue, rater_id: rater }) {
  return get(`/api/queues/${encodeURIComponent(queue)}/mine?rater=${encodeURIComponent(rater)}`);
}

/** What they submitted or left last, latest first. unit: "trace" | "pair"; null: both. */
export function readLast(rater, unit = null) {
  return get(`/api/assignments?${new URLSearchParams({ limit: LAST, rater, ...(unit ? { unit } : {}) })}`);
}

export function paceWords(mine) {
  const minutes = mine.minutes_each;
  const pace = minutes === null ? "" : ` · about ${minutes < 1 ? `${number(minutes * 60)} s` : `${number(minutes, minutes < 10 ? 1 : 0)} min`} each`;
  return `${number(mine.submitted)} of ${number(mine.submitted + mine.remaining)} submitted · ${number(mine.submitted_today)} today${pace}`;
}

/** Lines of a list, each a link that opens it again. current: the id of the assignment on screen. */
export function lastOnes(last, current) {
  return last.map((done) => {
    const skipped = done.status === "skipped";
    return h("li", {}, h("a", { href: `${done.pair_id ? "/ui/compare" : "/ui/rate"}?assignment=${encodeURIComponent(done.assignment_id)}`, title: done.prompt, "aria-current": done.assignment_id === current ? "true" : null },
      h("span", { class: `glyph ${skipped ? "muted" : ""}`, "aria-hidden": "true" }, skipped ? "–" : "✓"), h("span", { class: "prompt" }, done.prompt),
      h("span", { class: "muted" }, skipped ? REASONS[done.status_reason] ?? "skipped" : when(done.updated_at))));
  });
}
