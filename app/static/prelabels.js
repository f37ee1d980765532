// What a reward model thinks of the steps, shown once the rater's own first pass is over (or from the start, in verify mode).
// The server decides when: the page only asks, and asks again after a pass that has become whole. `room` is the page: {work,
// outbox, list, notices}; see rate.js.

import { ApiError, get } from "./api.js";
import { notice, plural } from "./dom.js";
import { shortId } from "./step-detail.js";

export class Prelabels {
  constructor(room) {
    this.room = room;
    this.asking = null; // the work that was asked about, until it is answered
    this.settled = null; // the work that has its answer: shown, or there is nothing to show
  }

  /** Another trace is there. */
  begin() {
    const { work, notices } = this.room;
    this.settled = work.scores || work.readOnly || work.live ? work : null;
    notice(notices, "prelabels", "info", work.verifying && work.scores && !work.readOnly
      ? `Verify mode: the scores of ${shortId(work.scores.scorer)} stand beside the steps from the start. Every judgement is kept as made with them in view.` : null);
    if (work.hadLog) this.#ask(); // they may have been seen in another window
  }

  /** A judgement was saved. */
  look() {
    const { work, outbox } = this.room;
    if (this.settled === work || work.readOnly || work.live || work.judgements.count === 0 || work.missing > 0 || outbox.waitingFor(work.id).length) return;
    this.#ask();
  }

  async #ask() {
    const { work } = this.room;
    if (this.asking === work || this.settled === work) return;
    this.asking = work;
    try {
      const found = await get(`/api/ratings/${encodeURIComponent(work.id)}/prelabels`);
      if (work !== this.room.work) return;
      if (found.visible) this.settled = work;
      if (work.showScores(found.scores)) this.#show();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error; // not answered: asked again with the next judgement
    } finally {
      this.asking = null;
    }
  }

  #show() {
    const { work, list, notices } = this.room;
    const { values, scorer } = work.scores;
    const odds = values.filter((p, step) => { const own = work.judgements.choice("step", step, "correctness"); return (own === "good" && p < 0.5) || (own === "bad" && p >= 0.5); }).length;
    list.touchAll();
    notice(notices, "prelabels", "info", `Your first pass is complete. The scores of ${shortId(scorer)} are shown now${odds ? `: it is at odds with ${plural(odds, "rating")} of yours (≠)` : " and agree with your ratings"}. You may change your mind: a change is kept as made with the scores in view.`);
  }
}
