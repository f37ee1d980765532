// Changes of judgements as the events that the server takes, on Rate and on Compare. No DOM.

import { presentMs } from "./idle.js";
import { COMMENT } from "./judgements.js";

const DWELL_MOST_MS = 2 ** 31 - 1;

/**
 * work: {id, assignment, lastSeq, lastPress, dwellFrom}, of which the counters go on. changes: as Judgements returns them;
 * action: where it is none of a judgement (submit, skip, reopen); seen: whether what should not lead a judgement was in view.
 */
export function eventsOf(work, changes, method, action, seen, build) {
  // One press, one time, and no two the same: what belongs together is undone together, after a reload too.
  work.lastPress = Math.max(Date.now(), (work.lastPress ?? 0) + 1);
  const ts_client = new Date(work.lastPress).toISOString();
  return changes.map((c) => {
    work.lastSeq = Math.max(work.lastSeq + 1, Date.now());
    const remark = c.target === "step" && c.dimension === COMMENT;
    const cleared = c.value === null && !c.text;
    return {
      event_id: crypto.randomUUID(), assignment_id: work.id, rater_id: work.assignment.rater_id, seq: work.lastSeq, ts_client,
      action: action ?? (remark ? "comment" : cleared ? "clear" : "set"), target: c.target, step_idx: c.step, dimension: remark ? "" : c.dimension, value: c.value,
      value_text: remark ? c.text ?? "" : c.text ?? null,
      input_method: method, dwell_ms: Math.min(DWELL_MOST_MS, Math.round(presentMs() - work.dwellFrom)), prelabel_visible: seen, ui_build: build,
    };
  });
}
