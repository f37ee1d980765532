// Undo and redo on Rate and Compare, beyond what the page itself has seen: what an earlier page did is read from the log of the
// assignment, and when nothing is left to undo, the last submission (or exit) is taken back. `room` is the page:
// {work, desk, outbox, notices, apply, thing: what is judged, told: the notice of the last submission}; see rate.js.

import { ApiError, get } from "./api.js";
import { h, notice, say } from "./dom.js";

export class History {
  constructor(room) {
    this.room = room;
    this.reading = false; // the log is being read
    this.wanted = []; // presses since then, each what it does
    this.resting = false; // a held key undoes nothing more once a submission was taken back
    this.takenBack = null; // the assignment whose submission was taken back: redo submits it again
  }

  undo(method, repeat = false) {
    const { work, desk, apply } = this.room;
    if (repeat && this.resting) return;
    this.resting = false;
    if (this.reading) {
      this.wanted.push(() => this.undo(method, true));
      return;
    }
    if (work.readOnly) return repeat ? undefined : this.#takeBack(work, method);
    const changes = work.judgements.undo();
    if (changes) return apply(changes, method, "", true);
    if (desk.left) return repeat ? undefined : this.#takeBack(desk.left, method); // the last thing done
    if (work.hadLog) return this.#read(() => this.undo(method, true));
    say("Nothing to undo.");
  }

  redo(method) {
    const { work, desk, apply } = this.room;
    if (this.reading) {
      this.wanted.push(() => this.redo(method));
      return;
    }
    if (work.readOnly) return say(`This ${this.room.thing} is submitted: there is nothing to redo in it.`);
    const changes = work.judgements.redo();
    if (changes) return apply(changes, method, "", true);
    if (this.takenBack === work.id) {
      this.takenBack = null;
      return desk.submit();
    }
    if (work.hadLog && !work.judgements.touched) return this.#read(() => this.redo(method));
    say("Nothing to redo.");
  }

  /** The way back while no trace is on screen. */
  takeBackButton() {
    const { left } = this.room.desk;
    return left && h("button", { type: "button", class: "secondary", onclick: () => this.#takeBack(left, "mouse") }, "Take the last one back");
  }

  /** Something was judged: a submission that was taken back is not redone over it. */
  judged() {
    this.takenBack = null;
  }

  /** The log of what was done before this page, then what was pressed. */
  async #read(press) {
    const { work, outbox } = this.room;
    this.reading = true;
    this.wanted = [press];
    try {
      const log = await get(`/api/ratings/${encodeURIComponent(work.id)}/events`);
      const known = new Set(log.map((e) => e.event_id));
      const waiting = outbox.waitingFor(work.id).filter((e) => !known.has(e.event_id));
      work.judgements.remember([...log, ...waiting].filter((e) => e.seq <= work.firstSeq));
      work.hadLog = false;
      const leaves = log.filter((e) => ["submit", "skip"].includes(e.action)).at(-1);
      if (log.at(-1)?.action === "reopen" && leaves?.action === "submit" && !work.judgements.touched) this.takenBack = work.id;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.wanted = [];
      say(`What was done before this page cannot be undone now: ${error.message}`);
      notice(this.room.notices, "undo", "warn", `What was done before this page cannot be undone now: ${error.message}`);
    } finally {
      this.reading = false;
    }
    if (work !== this.room.work) return;
    for (const next of this.wanted.splice(0)) next();
  }

  async #takeBack(work, method) {
    this.resting = true;
    const exit = work.leftBy === "skip" || work.assignment.status === "skipped";
    await this.room.desk.reopen(work, method);
    if (this.room.work?.id !== work.id || this.room.work.readOnly) return;
    this.takenBack = exit ? null : work.id;
    notice(this.room.notices, this.room.told, "good", exit ? "The exit is taken back. Undo once more takes back your last judgement." : "The submission is taken back: change what you like and submit again. Undo once more takes back your last judgement, redo submits.");
    say(exit ? "The exit is taken back." : "The submission is taken back.");
  }
}
