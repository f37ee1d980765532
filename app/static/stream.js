// Follows one run (or a search): every event once, in order, whatever the connection does. The server numbers the events (SSE id);
// after a break we ask for those after the last one we applied. Knows nothing about what the events mean.

const FIRST_RETRY_MS = 400;
const LAST_RETRY_MS = 5000;
const EVENTS_KEPT_FOR_TIMING = 500;

// Milliseconds from an event's arrival to the frame that painted it; benchmarks read this.
globalThis.worldlineTimings ??= [];

/**
 * follow(runId, {event, connected, lost, gone, noun}) -> stop(); noun: "runs" or "searches".
 * event(data) is called for every event; lost(tries) at every failed try; gone() when the server does not know the run.
 */
export function follow(runId, { event, connected = () => {}, lost = () => {}, gone = () => {}, noun = "runs" }) {
  let last = -1;
  let tries = 0;
  let source = null;
  let timer = null;
  let stopped = false;

  const stop = () => {
    stopped = true;
    clearTimeout(timer);
    source?.close();
  };

  const open = () => {
    if (stopped) return;
    source = new EventSource(`/api/${noun}/${encodeURIComponent(runId)}/events${last >= 0 ? `?after=${last}` : ""}`);
    source.onopen = () => {
      tries = 0;
      connected();
    };
    source.onmessage = (message) => {
      const arrived = performance.now();
      const data = JSON.parse(message.data);
      const seq = Number(data.seq ?? message.lastEventId);
      if (seq <= last) return; // a replay: already applied
      last = seq;
      event(data);
      requestAnimationFrame(() => {
        const timings = globalThis.worldlineTimings;
        timings.push(performance.now() - arrived);
        if (timings.length > EVENTS_KEPT_FOR_TIMING) timings.shift();
      });
      if (data.type === "done") stop();
    };
    source.onerror = async () => {
      source.close();
      if (stopped) return;
      tries += 1;
      // EventSource hides the status; a plain request tells a run that is gone from a connection that is.
      if (tries === 1 || tries % 5 === 0) {
        try {
          const answer = await fetch(`/api/${noun}/${encodeURIComponent(runId)}`);
          if (answer.status === 404) {
            stop();
            gone();
            return;
          }
        } catch {
          /* not reachable: keep trying */
        }
      }
      if (stopped) return;
      lost(tries);
      timer = setTimeout(open, Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** (tries - 1)));
    };
  };
  open();
  return stop;
}
