// Rating events on their way to the server: kept in localStorage from the key press until the server says they are committed,
// sent one batch at a time in order, tried again for as long as it takes. Sending an event twice is harmless (its id is
// ours). Knows nothing about what an event means.

import { me } from "./account.js";
import { ApiError, post } from "./api.js";

const PREFIX = "worldline.out.";
const BATCH = 50;
const REFUSED = [400, 413, 422]; // what is wrong with the events themselves; all else (a proxy's 404 or 408, a login that ended) passes
const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 8000;

export class Outbox {
  /** committed(event), rejected(event, sentence), changed({waiting, offline, sentence}) */
  constructor({ committed, rejected, changed }) {
    this.callbacks = { committed, rejected, changed };
    this.queue = this.#left();
    this.offline = "";
    this.kept = true; // false: localStorage refuses, events live in this page only
    this.sending = false;
    this.tries = 0;
    addEventListener("online", () => this.#wake());
    addEventListener("beforeunload", (event) => {
      if (this.queue.length && !this.kept) event.preventDefault();
    });
    this.#tell();
    this.#wake();
  }

  get waiting() {
    return this.queue.length;
  }

  waitingFor(assignmentId) {
    return this.queue.filter((e) => e.assignment_id === assignmentId);
  }

  /** Keep and send. Synchronous up to here: nothing pressed later can overtake. */
  put(events) {
    for (const event of events) {
      this.queue.push(event);
      try {
        localStorage.setItem(key(event), JSON.stringify(event));
      } catch {
        this.kept = false;
      }
    }
    this.#tell();
    this.#wake();
  }

  /** Resolves when nothing of this assignment waits any more. */
  async drained(assignmentId) {
    while (this.waitingFor(assignmentId).length) await new Promise((resolve) => setTimeout(resolve, 20));
  }

  /** What an earlier page left behind, in order. */
  #left() {
    const found = [];
    try {
      for (let i = 0; i < localStorage.length; i += 1) {
        const name = localStorage.key(i);
        if (name.startsWith(PREFIX)) found.push(JSON.parse(localStorage.getItem(name)));
      }
    } catch {
      /* unreadable: nothing to take over */
    }
    // What somebody else rated in this browser waits until they log in again.
    return found.filter((event) => !me.accounts || event.rater_id === me.rater_id).sort((a, b) => a.seq - b.seq);
  }

  #tell() {
    this.callbacks.changed({ waiting: this.queue.length, offline: this.offline !== "", sentence: this.offline, kept: this.kept });
  }

  #wake() {
    clearTimeout(this.timer);
    if (!this.sending) this.#send();
  }

  async #send() {
    this.sending = true;
    try {
      await this.#sendAll();
    } finally {
      this.sending = false;
    }
    if (this.queue.length && !this.offline) this.#wake(); // what was put in the very moment in which all was sent
  }

  async #sendAll() {
    while (this.queue.length) {
      const batch = this.queue.slice(0, this.oneByOne ? 1 : BATCH);
      try {
        const answer = await post("/api/ratings", { events: batch });
        const committed = new Set(answer?.committed);
        const rejected = new Map((answer?.rejected ?? []).map((r) => [r.event_id, r.error]));
        this.offline = "";
        this.tries = 0;
        for (const event of batch) {
          if (committed.has(event.event_id)) this.#drop(event, () => this.callbacks.committed(event));
          else if (rejected.has(event.event_id)) this.#drop(event, () => this.callbacks.rejected(event, rejected.get(event.event_id)));
        }
        if (batch.some((e) => this.queue.includes(e))) throw new ApiError("The server did not say what became of some ratings; they are sent again.", 500);
        if (batch.length > 1) this.oneByOne = false;
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        const refused = refuses(error.status, batch);
        if (refused && batch.length === 1) {
          this.#drop(batch[0], () => this.callbacks.rejected(batch[0], error.message));
          continue;
        }
        if (refused) {
          this.oneByOne = true; // find the one event that the server will not take
          continue;
        }
        this.offline = error.message;
        this.tries += 1;
        this.#tell();
        this.timer = setTimeout(() => this.#wake(), Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** (this.tries - 1)));
        break;
      }
      this.#tell();
    }
    if (!this.queue.length) this.oneByOne = false;
  }

  #drop(event, then) {
    this.queue.splice(this.queue.indexOf(event), 1);
    try {
      localStorage.removeItem(key(event));
    } catch {
      /* it was never kept */
    }
    then();
  }
}

/** 403 is about the events where they are of another than who is here; of our own it says that another has logged in since, and they wait. */
function refuses(status, batch) {
  return REFUSED.includes(status) || (status === 403 && me.accounts && batch.some((e) => e.rater_id !== me.rater_id));
}

function key(event) {
  return `${PREFIX}${String(event.seq).padStart(17, "0")}.${event.event_id}`;
}
