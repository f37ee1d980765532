// The next item, fetched while the one in hand is rated, so that it is there at once. The server holds it for a few minutes
// beside the work in hand; its lease begins when it is shown. Knows no page.

import { ApiError, post } from "./api.js";

const RENEW_AT = 0.8; // of the time it is held
const IDLE_MS = 15 * 60_000; // whoever does nothing for so long holds nothing for later

export class Ahead {
  constructor() {
    this.payload = null;
    this.until = 0;
    this.timer = null;
  }

  /** Fetch it. body: what POST /api/assignments/next takes; wanted(assignment): whether whoever asked still wants it, and this
   *  one; idle(): ms since they last did something; after: what has to be answered, well or not, before it may be asked for. */
  async fetch(body, wanted, idle, after = null) {
    this.drop();
    try {
      await after?.catch(() => null);
      if (!wanted(null)) return;
      const payload = await post("/api/assignments/next", { ...body, prefetch: true });
      if (!payload.assignment || !wanted(payload.assignment)) return;
      // The clock here may be another than the server's: only how long it is held is taken from there.
      const most = Date.parse(payload.assignment.lease_expires_at) - Date.parse(payload.assignment.leased_at);
      this.payload = payload;
      this.until = performance.now() + most;
      this.timer = setTimeout(() => wanted(null) && idle() < IDLE_MS && this.fetch(body, wanted, idle), RENEW_AT * most);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error; // it is asked for when it is needed
    }
  }

  /** What was fetched, once; null: nothing, or it was held too long ago. */
  take() {
    const { payload } = this;
    const fresh = payload !== null && performance.now() < this.until;
    this.drop();
    return fresh ? payload : null;
  }

  drop() {
    clearTimeout(this.timer);
    this.payload = null;
  }
}
