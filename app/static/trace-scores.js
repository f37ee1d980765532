// The scores of a trace, which are computed in the background: after its run, or when another reward model comes into use.

import { get } from "./api.js";

const TRIES_MS = [0, 1500, 4000, 10000]; // asked again after so long; the last of them as long as anything is being scored

/** Calls take(scores) once there are some. still(): whether the trace is still wanted. */
export async function whenScored(traceId, still, take) {
  for (let i = 0; ; i += 1) {
    const last = i >= TRIES_MS.length - 1;
    await new Promise((resolve) => setTimeout(resolve, last ? TRIES_MS.at(-1) : TRIES_MS[i]));
    if (!still()) return;
    let busy = false;
    try {
      busy = last && (await get("/api/health")).scoring > 0; // asked before: what is done meanwhile is found below
      const found = await get(`/api/traces/${encodeURIComponent(traceId)}/scores`);
      if (found.length && still()) take(found[0]);
      if (found.length || (last && !busy)) return;
    } catch (error) {
      if (error.status !== 404 || (last && !busy)) return; // 404: the trace is still being written
    }
  }
}
