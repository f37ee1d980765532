// Rating a run that is still being written. What is judged is kept in this browser (the store knows no trace yet) and shown as
// in any other trace; when the server has stored the trace, an assignment is taken and the judgements are handed to the outbox
// as they are, with their ids and times. A page that was closed in between hands them over when it is opened again.
// `room` is the page: {at, list, overview, outbox, desk, notices, keepWritten}; see rate.js.

import { ApiError, get, post } from "./api.js";
import { h, isTyping, notice, setParams } from "./dom.js";
import { show } from "./keys.js";
import { Work } from "./rate-work.js";
import { follow } from "./stream.js";
import { TraceModel } from "./trace-model.js";

const PREFIX = "worldline.live.";
const LOOK_MS = 50; // how often is looked whether somebody still writes

/** Judgements of a run, kept until there is an assignment for them. Looks like the outbox to the work. */
export class Kept {
  constructor(run, changed = () => {}) {
    Object.assign(this, { run, changed });
    this.events = [];
    this.inBrowser = true; // false: localStorage refuses, and they live in this page alone
    for (const name of names(run)) this.events.push(JSON.parse(localStorage.getItem(name)));
    this.events.sort((a, b) => a.seq - b.seq);
  }

  put(events) {
    for (const event of events) {
      this.events.push(event);
      try {
        localStorage.setItem(`${PREFIX}${this.run}.${event.event_id}`, JSON.stringify(event));
      } catch {
        this.inBrowser = false;
      }
    }
    this.changed(this.events.length);
  }

  waitingFor() {
    return this.events;
  }

  /** Into the outbox first, then out of here: done twice it is harmless, since ids stay. */
  handOver(outbox, assignment) {
    outbox.put(this.events.map((event) => ({ ...event, assignment_id: assignment.assignment_id, rater_id: assignment.rater_id })));
    for (const event of this.events) localStorage.removeItem(`${PREFIX}${this.run}.${event.event_id}`);
    this.events = [];
  }
}

function names(run) {
  return Object.keys(localStorage).filter((name) => name.startsWith(`${PREFIX}${run}.`));
}

/** What earlier pages kept of runs that have ended since; runs that still go on, or a server that is away, wait for another time. */
export async function handOverOld(outbox, except = null) {
  const runs = new Set(Object.keys(localStorage).filter((name) => name.startsWith(PREFIX)).map((name) => name.slice(PREFIX.length).split(".")[0]));
  for (const run of runs) {
    if (run === except) continue;
    const kept = new Kept(run);
    try {
      if ((await get(`/api/runs/${encodeURIComponent(run)}`)).state !== "done") continue;
      const { assignment } = await post("/api/assignments", { trace_id: run, rater: kept.events[0].rater_id });
      kept.handOver(outbox, assignment);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
    }
  }
}

export class Live {
  constructor(room) {
    this.room = room;
    this.run = null;
  }

  /** shown(work): the page shows it, as it shows any other; rater: the name under the judgements. */
  open(run, rater, shown) {
    Object.assign(this, { run, shown });
    const { at } = this.room;
    this.model = new TraceModel();
    this.model.state = "running";
    this.kept = new Kept(run, () => this.#drawKept());
    const payload = { assignment: { assignment_id: `run:${run}`, rater_id: rater, status: "leased" }, trace: { trace_id: run, prompt: "", response: "", steps: [] }, ratings: [], comments: [] };
    this.work = new Work(payload, this.kept);
    Object.assign(this.work, { live: true, model: this.model, hadLog: false });
    this.work.judgements.remember(this.kept.events); // of a page before this one
    at("empty").hidden = true;
    at("work").hidden = false;
    at("rater").textContent = rater;
    at("exits").replaceChildren(h("p", { class: "muted" }, "The model is still writing."), h("button", { type: "button", class: "danger", onclick: () => this.stop() }, "Stop it", h("kbd", { "aria-hidden": "true" }, show(this.room.keys.label("stop")))));
    this.stopFollowing = follow(run, {
      event: (event) => this.#take(event),
      lost: (tries) => tries > 1 && notice(this.room.notices, "live", "warn", "The server does not answer. What you have rated is kept in this browser; the run is followed again as soon as it is back."),
      connected: () => notice(this.room.notices, "live", "warn", null),
      gone: () => this.#gone(),
    });
    this.shown(this.work);
    this.#drawKept();
  }

  #take(event) {
    const { list, overview, at } = this.room;
    if (this.room.work !== this.work) return;
    const before = this.model.prompt;
    const change = this.model.apply(event);
    if (this.model.prompt !== before) this.room.drawTexts();
    list.update(change);
    if (change.opened !== null || change.moved) overview.update();
    if (this.work.cursor < 0 && this.model.steps.length) list.select(0);
    this.room.around.progress();
    if (event.type === "done") this.#done(event);
    else if (event.type === "answer_delta") at("answer").textContent = this.model.answer;
  }

  async stop() {
    if (this.room.work?.live !== true) return;
    try {
      await post(`/api/runs/${encodeURIComponent(this.run)}/stop`);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      notice(this.room.notices, "live", "error", `The model could not be stopped: ${error.message}`);
    }
  }

  /** The first error is found: what comes after it need not be written. */
  offerStop(step) {
    notice(this.room.notices, "stop", "info", `Step ${step + 1} is the first error. What follows need not be written.`,
      h("button", { type: "button", class: "danger", onclick: () => { notice(this.room.notices, "stop", "info", null); this.stop(); } }, "Stop the model", h("kbd", { "aria-hidden": "true" }, show(this.room.keys.label("stop")))));
  }

  #drawKept() {
    const { at } = this.room;
    const { length } = this.kept.events;
    at("save-state").textContent = length ? `${length} kept here` : "Live";
    notice(this.room.notices, "kept", "warn", this.kept.inBrowser ? null : "This browser keeps nothing: what you judge is on this page only until the model has ended. Keep it open.");
    at("save-state").title = "The model is still writing. What you judge is kept in this browser, and sent when the trace is stored.";
  }

  async #done({ error }) {
    const { desk, outbox, notices, keepWritten } = this.room;
    notice(notices, "stop", "info", null);
    if (error) notice(notices, "live", "warn", error);
    await this.#written();
    await desk.open(async () => {
      const payload = await post("/api/assignments", { trace_id: this.run, rater: this.work.assignment.rater_id });
      await this.#written(); // or has begun since
      const here = this.room.work === this.work; // else they went on to another trace meanwhile
      if (here) {
        keepWritten();
        sessionStorage.setItem("worldline.cursor", JSON.stringify({ id: payload.assignment.assignment_id, step: this.work.cursor }));
      }
      this.kept.handOver(outbox, payload.assignment);
      setParams({ run: null });
      return here ? payload : null;
    });
  }

  /** Resolves when nobody writes on the page: another trace would take the text from under their hands, and the rest of it for ratings. */
  async #written() {
    const { at, notices } = this.room;
    const writes = () => isTyping(document.activeElement) || at("panel").contains(document.activeElement);
    if (writes()) notice(notices, "stop", "info", "The model has ended. The stored trace is shown when you have finished writing.");
    while (writes()) await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    notice(notices, "stop", "info", null);
  }

  #gone() {
    setParams({ run: null });
    notice(this.room.notices, "live", "error", `There is no run “${this.run.slice(0, 60)}” on this server.`);
    this.room.desk.next();
  }
}
