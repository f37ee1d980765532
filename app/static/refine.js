// A model's second look at the tree of the trace on screen: start it, watch it, and switch between the tree as it was inferred and
// as it was refined. The work belongs to the server; the trace itself is never changed. Knows no list and no overview: it lays
// the changes over the trace's model and tells the page to draw (`redraw`).

import { get, poll, post } from "./api.js";
import { duration, h, number, param, plural, say, setParams } from "./dom.js";
import { stepWord } from "./trace-model.js";

const ASK_EVERY_MS = 1000;
const ENDS = { stopped: ", stopped early", interrupted: ", cut short by the server's end", failed: ", failed on the way" };

/** What a refinement changed of a step, as a glyph and a word; null where nothing. */
export function refinedChip(step) {
  const change = step.refined;
  if (!change?.fields.length) return null;
  const turned = change.fields.includes("is_backtrack");
  const moved = change.fields.includes("parent");
  const word = turned ? (change.new.is_backtrack ? "now a turn" : "no turn") : moved ? "moved" : change.fields.includes("kind") ? `was ${change.old.kind}` : "gives up other steps";
  return h("span", { class: "wl-chip refined", title: `${change.by}: ${refinedWords(change).map(([what, old, now]) => `${what} ${old} → ${now}`).join(", ")}` }, `≠ ${word}`);
}

/** The chip of a folded run with steps that the model sees otherwise, or null. */
export function refinedCount(steps) {
  const count = steps.filter((step) => step.refined?.fields.length).length;
  return count ? h("span", { class: "wl-chip refined", title: `${plural(count, "step")} changed by ${steps.find((step) => step.refined).refined.by}` }, `≠ ${count}`) : null;
}

/** [what, old, new] for each thing that a refinement says otherwise. */
export function refinedWords({ fields, old, new: now }) {
  const back = (node) => (node.is_backtrack ? `turns back to ${stepWord(node.resumes)}` : `follows ${stepWord(node.parent)}`);
  const words = [];
  if (fields.includes("kind")) words.push(["kind", old.kind || "none", now.kind]);
  if (fields.includes("parent") || fields.includes("is_backtrack")) words.push(["place", back(old), back(now)]);
  if (fields.includes("replaces")) words.push(["gives up", old.replaces === null ? "nothing" : stepWord(old.replaces), now.replaces === null ? "nothing" : stepWord(now.replaces)]);
  return words;
}

export class Refiner {
  /** after: the element that it is put behind. redraw() after the tree has changed; goTo(index) shows a step; selected() is the one in use. */
  constructor(after, { redraw, goTo, selected, failed }) {
    Object.assign(this, { redraw, goTo, selected, failed });
    this.host = h("div", { class: "refine", role: "group", "aria-label": "Refining the tree", hidden: true });
    after.append(this.host);
    this.model = null;
    this.traceId = null;
    this.found = []; // as GET …/refinements lists them
    this.models = null; // those that can label steps
    this.shown = null; // refinement_id of the tree on screen; null: as inferred
    this.mine = null; // the one started here: it is shown when it is done
    this.stop = () => {};
  }

  get #path() {
    return `/api/traces/${encodeURIComponent(this.traceId)}/refinements`;
  }

  /** The trace on screen, whenever it may have become another one. */
  show(model) {
    const ready = model.traceId !== null && model.state === "done" && model.steps.length > 0;
    if (model === this.model && ready === !this.host.hidden) return;
    this.stop();
    Object.assign(this, { model, traceId: ready ? model.traceId : null, found: [], shown: null, mine: null, drawn: null });
    this.host.hidden = !ready;
    this.host.replaceChildren();
    if (ready) this.#load(param("tree"));
  }

  async #load(wanted) {
    const traceId = this.traceId;
    try {
      this.models ??= (await get("/api/models")).filter((m) => m.refines && m.ready !== false);
      const found = await get(this.#path);
      if (traceId !== this.traceId) return;
      this.found = found;
      if (this.#done.some((r) => r.refinement_id === wanted)) this.#choose(wanted);
      else if (wanted) setParams({ tree: null });
      this.#draw();
      this.#watch();
    } catch (error) {
      this.failed(error);
    }
  }

  get #running() {
    return this.found.filter((r) => r.state === "running");
  }

  /** Those that can be shown: what a model made of the tree, whole or until it ended. */
  get #done() {
    return this.found.filter((r) => r.state !== "running" && r.created_at);
  }

  #watch() {
    this.stop();
    if (!this.#running.length) return;
    const traceId = this.traceId;
    this.stop = poll(async () => {
      let found = await get(`${this.#path}?lean=true`);
      if (found.filter((r) => r.state === "running").length < this.#running.length) found = await get(this.#path);
      else found = found.map((r) => ({ ...r, changes: this.found.find((o) => o.refinement_id === r.refinement_id)?.changes ?? [] }));
      if (traceId !== this.traceId) return;
      this.found = found;
      const mine = found.find((r) => r.refinement_id === this.mine && r.state !== "running");
      if (mine) {
        this.mine = null;
        if (mine.created_at) this.#choose(mine.refinement_id);
        say(mine.state === "failed" ? `Refining failed. ${mine.error}` : `The tree was refined by ${mine.model}: ${plural(mine.stats.changed, "step")} changed.`);
      }
      this.#draw();
      if (!this.#running.length) this.stop();
    }, ASK_EVERY_MS, (error) => {
      if (error.status !== 0) this.failed(error); // a server that is away for a moment is asked again
    });
  }

  async #start(model) {
    try {
      const begun = await post(this.#path, { model });
      this.mine = begun.refinement_id;
      this.found = [begun, ...this.found];
      this.#draw();
      this.#watch();
    } catch (error) {
      this.failed(error);
    }
  }

  async #end(refinement) {
    try {
      await post(`${this.#path}/${encodeURIComponent(refinement.refinement_id)}/stop`);
      await this.#load(this.shown);
    } catch (error) {
      this.failed(error);
    }
  }

  /** Lay a refinement over the tree; null shows what was inferred. */
  #choose(id) {
    const one = this.#done.find((r) => r.refinement_id === id) ?? null;
    this.shown = one?.refinement_id ?? null;
    setParams({ tree: this.shown });
    this.model.refine(one?.changes ?? [], one?.model ?? "");
    this.redraw();
  }

  #next() {
    const at = this.selected() ?? -1;
    const marked = this.model.steps.filter((s) => s.refined?.fields.length);
    const next = marked.find((s) => s.index > at) ?? marked[0];
    if (next) this.goTo(next.index);
  }

  // ---------------------------------------------------------------- drawing

  #draw() {
    // Drawn anew only where something has come or gone: a list that is open must not close at every step of the progress.
    const key = JSON.stringify([this.shown, this.found.map((r) => [r.refinement_id, r.state])]);
    if (key === this.drawn) return this.#running.forEach((r) => this.#advance(r));
    this.drawn = key;
    const focus = this.host.contains(document.activeElement) ? document.activeElement.dataset.focusKey : null;
    const failures = this.found.filter((r) => r.state === "failed" && !r.created_at);
    this.host.replaceChildren(...[this.#switch(), ...this.#running.map((r) => this.#progress(r)), this.#offer(), failures.length ? this.#failure(failures[0]) : null].filter(Boolean));
    if (focus) this.host.querySelector(`[data-focus-key="${focus}"]`)?.focus({ preventScroll: true });
  }

  #switch() {
    const done = this.#done;
    if (!done.length) return null;
    const one = done.find((r) => r.refinement_id === this.shown);
    const option = (r) => h("option", { value: r.refinement_id, selected: r.refinement_id === this.shown }, `refined by ${r.model}: ${number(r.stats.changed)} changed${ENDS[r.state] ?? ""}`);
    return h("div", { class: "tree" },
      h("label", {}, "Tree ", h("select", { dataset: { focusKey: "tree" }, onchange: (event) => { this.#choose(event.target.value || null); this.#draw(); } },
        h("option", { value: "", selected: !one }, "as inferred"), done.map(option))),
      one && one.stats.changed ? h("button", { type: "button", class: "quiet", dataset: { focusKey: "next" }, onclick: () => this.#next() }, "Next change ↓") : null,
      one ? h("span", { class: "muted" }, how(one)) : null,
      one?.error ? h("span", { class: "problem" }, `✗ ${one.error}`) : null);
  }

  #progress(r) {
    return h("div", { class: "work", dataset: { work: r.refinement_id } },
      h("progress", { max: r.stats.steps, value: r.stats.asked, "aria-label": `Steps labelled by ${r.model}` }),
      h("span", {}, progressWords(r)),
      h("button", { type: "button", class: "secondary", dataset: { focusKey: `stop-${r.refinement_id}` }, onclick: () => this.#end(r) }, "Stop"));
  }

  #advance(r) {
    const row = this.host.querySelector(`[data-work="${r.refinement_id}"]`);
    row?.querySelector("progress").setAttribute("value", r.stats.asked);
    row?.querySelector("span").replaceChildren(progressWords(r));
  }

  #offer() {
    const free = this.models.filter((m) => !this.#running.some((r) => r.model === m.id));
    if (!this.models.length) {
      return h("details", {}, h("summary", {}, "Refine the tree"),
        h("p", { class: "muted" }, "A connected model can look at the steps a second time: start the workbench beside its server, as in ", h("code", {}, "worldline --endpoint http://127.0.0.1:8000/v1"), ". The pocket model cannot: it plays the numbers game only."));
    }
    if (!free.length) return null;
    const choice = free.length > 1 ? h("select", { "aria-label": "Model that refines", dataset: { focusKey: "model" } }, free.map((m) => h("option", { value: m.id }, m.name))) : null;
    const words = free.length > 1 ? "Refine the tree with" : `Refine the tree with ${free[0].name}`;
    return h("div", { class: "offer" },
      h("button", { type: "button", class: "secondary", dataset: { focusKey: "start" }, title: "The model says of every step what it does and which step it goes on from; what was inferred stays beside it", onclick: () => this.#start(choice?.value ?? free[0].id) }, words), choice);
  }

  #failure(r) {
    return h("p", { class: "problem", role: "status" }, `✗ ${r.model}: ${r.error}`);
  }
}

function progressWords({ model, stats }) {
  return `${model} labels the steps: ${number(stats.asked)} of ${number(stats.steps)}`;
}

/** "80 of 80 steps labelled, 3 answers refused · 5,521 tokens · 12 s" */
function how({ stats }) {
  const parts = [`${number(stats.labelled)} of ${plural(stats.steps, "step")} labelled`];
  if (stats.refused) parts.push(`${plural(stats.refused, "answer")} refused`);
  if (stats.missing) parts.push(`${number(stats.missing)} not answered`);
  return `${parts.join(", ")} · ${number(stats.prompt_tokens + stats.generated_tokens)} tokens · ${duration(stats.seconds)}`;
}
