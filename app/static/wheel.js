// A hand on the wheel: go on from the selected step in another way, and see what became of it. Knows no run: it posts the
// fork and tells the page (`onFork`).

import { post } from "./api.js";
import { h, plural } from "./dom.js";
import { answerWords, outcomeMark, outcomes } from "./worldlines.js";

const FIELDS = ["name", "thought", "summary", "reflection"];
const ACTIONS = {
  continue: ["Go on anew", "Keep everything up to this step and let the model write on from here once more"],
  proceed: ["Proceed", "Go on from this step: no turn back, no end"],
  backtrack: ["Turn back", "Give this up and go back, whatever the model wanted"],
  wait: ["Wait", "Put “Wait,” here, so that the model doubts what it has"],
  answer: ["Answer now", "End the thinking here and answer"],
};
export const CUT_OFF = ["length", "error", "cancelled", "interrupted"]; // what can be continued
export const DONE_BY = {
  continue: "went on anew", proceed: "made to proceed", backtrack: "made to turn back", wait: "told to wait",
  answer: "made to answer", edit: "step edited", resume: "continued",
};
const COUNTS = [1, 4, 8, 16];
const LISTED_MOST = 12;

export class Wheel {
  /**
   * host: an empty element; onFork(started[]) after runs have begun; open(traceId, state) shows another line; failed(error);
   * byHand(made): {fields, words, touched} of the form's settings that a fork of that model's text takes; asWas(): take none.
   */
  constructor(host, { onFork, open, failed, byHand, asWas }) {
    Object.assign(this, { host, onFork, open, failed, byHand, asWas });
    this.editing = null; // index of the step being edited
    this.count = 1;
    this.busy = false;
  }

  /** Draw for a step of the model on screen; `format` decides what can be done. */
  show(model, index, family, format) {
    Object.assign(this, { model, index, family, format });
    if (this.editing !== null && this.editing === index && this.host.querySelector("form")) return this.#drawLines();
    this.editing = null;
    this.#draw();
  }

  #draw() {
    const step = this.model?.steps[this.index];
    const usable = this.model?.traceId && this.index !== null && (this.index < 0 || (step && !step.writing));
    this.host.hidden = !usable;
    if (!usable) return;
    const steiner = this.format === "steiner";
    const offered = this.index < 0 ? ["continue"] : ["continue", ...(steiner ? ["proceed"] : []), "backtrack", "wait", "answer"];
    const count = h("select", { "aria-label": "How many continuations side by side", onchange: (e) => (this.count = Number(e.target.value)) },
      COUNTS.map((n) => h("option", { value: n, selected: n === this.count }, `${n}×`)));
    this.lines = h("div", { class: "lines" });
    this.settings = h("p", { class: "muted with" });
    this.host.replaceChildren(
      h("h2", {}, this.index < 0 ? "From the question" : `From step ${this.index + 1}`),
      h("div", { class: "acts", role: "group", "aria-label": "Go on from here" },
        offered.map((action) => h("button", { type: "button", class: "secondary", title: ACTIONS[action][1], disabled: this.busy, onclick: () => this.#fork({ action }) }, ACTIONS[action][0])),
        this.index < 0 ? null : h("button", { type: "button", class: "secondary", title: "Write the step differently and let the model go on from that", onclick: () => this.#edit(step) }, "Edit…"),
        h("label", { class: "count" }, count)),
      this.settings,
      this.lines,
    );
    this.drawSettings();
    this.#drawLines();
  }

  /** What the next fork is written with. */
  drawSettings() {
    if (!this.settings) return;
    const { words, touched } = this.byHand(this.model?.model);
    this.settings.replaceChildren(...(words.length
      ? ["With ", h("b", {}, words.join(", ")), " as set above; the rest as this trace was written. ",
        touched ? h("button", { type: "button", class: "quiet", onclick: () => this.asWas() }, "All as it was") : ""]
      : ["Written as this trace was; a model, sampling or limit that you change above counts here too."]));
  }

  /** Let the model write on where the trace on screen ends. */
  resume() {
    return this.busy ? null : this.#fork({ action: "resume", step: null, n: 1 });
  }

  #drawLines() {
    const lines = this.family?.traceId === this.model.traceId ? this.family.leaving(this.index) : [];
    if (!lines.length) {
      this.lines.replaceChildren();
      return;
    }
    const { solved, checked, words } = outcomes(lines);
    const end = this.index < 0 ? 0 : this.model.steps[this.index].end; // a line that kept more goes on within the next step
    const anew = lines.filter((l) => l.origin.action === "continue" && l.origin.kept <= end);
    const value = outcomes(anew);
    this.lines.replaceChildren(
      h("p", { class: "sum" }, h("b", {}, plural(lines.length, "other world line")), `: ${words}. `,
        value.checked > 1 ? h("span", { class: "muted", title: "Share of the continuations of this step, drawn anew, that reach the target (a Monte-Carlo estimate of the step's value)" },
          `Value by resampling ${(value.solved / value.checked).toFixed(2)} of ${value.checked}`) : checked ? h("span", { class: "muted" }, `${solved} of ${checked} solved`) : null),
      h("ul", {}, lines.slice(0, LISTED_MOST).map((line) => this.#line(line))),
      lines.length > LISTED_MOST ? h("p", { class: "muted" }, `and ${lines.length - LISTED_MOST} more`) : "",
    );
  }

  #line(line) {
    const query = line.state === "running" ? `?run=${line.trace_id}` : `?trace=${line.trace_id}`;
    return h("li", {}, h("a", { href: query, onclick: (event) => { event.preventDefault(); this.open(line.trace_id, line.state); } },
      outcomeMark(line),
      h("span", {}, DONE_BY[line.origin.action]),
      h("span", { class: "muted" }, line.solved === null && line.answer ? `${answerWords(line.answer)} · ` : "", `${plural(line.n_steps, "step")}, ${plural(line.n_backtracks, "backtrack")}`)));
  }

  #edit(step) {
    this.editing = step.index;
    const steiner = this.format === "steiner";
    const names = steiner ? FIELDS : ["thought"];
    const areas = Object.fromEntries(names.map((name) => [name, h("textarea", { rows: name === "name" ? 1 : steiner ? 2 : 6, value: step[name] })]));
    for (const [name, area] of Object.entries(areas)) area.value = step[name];
    const form = h("form", { class: "edit", onsubmit: (event) => {
      event.preventDefault();
      const values = Object.fromEntries(names.map((name) => [name, areas[name].value]));
      this.#fork(steiner ? { action: "edit", fields: values } : { action: "edit", text: values.thought });
    } },
      names.map((name) => h("label", { class: "stack" }, name[0].toUpperCase() + name.slice(1), areas[name])),
      h("div", { class: "acts" }, h("button", { type: "submit", class: "primary" }, "Go on from this edit"),
        h("button", { type: "button", class: "secondary", onclick: () => { this.editing = null; this.#draw(); } }, "Cancel")));
    this.host.querySelector(".acts").replaceWith(form);
    form.querySelector("textarea").focus();
  }

  async #fork(body) {
    this.busy = true;
    for (const button of this.host.querySelectorAll("button")) button.disabled = true;
    try {
      const started = await post(`/api/traces/${encodeURIComponent(this.model.traceId)}/forks`, { step: this.index, n: this.count, ...this.byHand(this.model.model).fields, ...body });
      this.editing = null;
      this.onFork(started);
    } catch (error) {
      this.failed(error);
    } finally {
      this.busy = false;
      if (this.editing === null) this.#draw();
      else for (const button of this.host.querySelectorAll("button")) button.disabled = false;
    }
  }
}
