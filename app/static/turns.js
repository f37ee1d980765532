// Turns of a conversation on the Solve page: what came before the trace on screen, folded, and the form that asks on. Their
// steps never mix with those on screen. Knows no run: `ask(prompt, {after, earlier_as})` starts one.

import { get } from "./api.js";
import { $, h, number, plural } from "./dom.js";
import { outcomeMark } from "./worldlines.js";

const GIVEN = { summaries: "as summaries, without their thoughts", full: "with their full thoughts" };

export class Turns {
  /** host: where earlier turns go; form: the one that asks on, with its button; open(traceId) shows a turn. */
  constructor({ host, form, button, ask, open, failed }) {
    Object.assign(this, { host, form, button, open, failed });
    this.shown = null; // id of the trace whose earlier turns are drawn
    const field = $("textarea", form);
    const toggle = (on) => {
      form.hidden = !on;
      button.setAttribute("aria-expanded", on);
      (on ? field : button).focus();
    };
    button.addEventListener("click", () => toggle(form.hidden));
    form.addEventListener("keydown", (event) => {
      if (event.key === "Escape") toggle(false);
      if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.target !== field) return;
      event.preventDefault();
      form.requestSubmit();
    });
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (!field.value.trim()) return field.focus();
      if (!(await ask(field.value.trim(), { after: this.model.traceId, earlier_as: $("select", form).value }))) return;
      field.value = "";
    });
  }

  /** Draw for the model on screen; asks the server once a trace. */
  show(model) {
    this.model = model;
    const ended = model.state === "done" && model.traceId && (model.steps.length > 0 || model.answer !== "");
    this.button.hidden = !ended;
    if (!ended) this.#fold();
    if (this.shown === model.traceId) return;
    this.#fold();
    this.shown = model.traceId;
    this.host.hidden = !model.earlier;
    this.host.replaceChildren();
    if (model.earlier) this.#draw(model);
  }

  #fold() {
    this.form.hidden = true;
    this.button.setAttribute("aria-expanded", "false");
  }

  async #draw(model) {
    const list = h("ol", {});
    const count = model.earlier.trace_ids.length;
    this.host.append(
      h("p", { class: "muted" }, `Turn ${count + 1} of a conversation. Earlier turns went to the model ${GIVEN[model.earlier.given_as] ?? model.earlier.given_as}.`),
      list,
      h("p", { class: "now" }, h("span", { class: "num muted" }, `${count + 1}.`), model.prompt),
    );
    try {
      const turns = await get(`/api/traces/${encodeURIComponent(model.traceId)}/earlier`);
      if (this.shown === model.traceId) list.replaceChildren(...turns.map((turn, i) => this.#turn(turn, i)));
    } catch (error) {
      this.failed(error);
    }
  }

  #turn(turn, index) {
    const nth = h("span", { class: "num muted" }, `${index + 1}.`);
    if (!turn.known) return h("li", { class: "lost muted" }, nth, `This trace is not in the data folder: ${turn.trace_id}`);
    const clicked = (event) => {
      event.preventDefault();
      this.open(turn.trace_id);
    };
    return h("li", {}, h("details", {},
      h("summary", {}, nth, h("span", { class: "prompt" }, turn.prompt), outcomeMark({ state: "done", solved: turn.solved })),
      h("p", { class: "said" }, turn.answer || "No answer was written."),
      h("p", {}, h("a", { href: `?trace=${encodeURIComponent(turn.trace_id)}`, onclick: clicked }, "Open this turn"),
        h("span", { class: "muted" }, ` ${plural(turn.n_steps, "step")} by ${turn.model || "an unnamed model"}`))));
  }
}

/** "412, 1,380 saved": the prompt's tokens, and what summaries of earlier turns saved of them. */
export function promptWords({ prompt_tokens: sent, saved_prompt_tokens: saved }) {
  if (!sent) return "–";
  return saved === undefined || saved === 0 ? number(sent) : saved === null ? `${number(sent)}, saved unknown` : `${number(sent)}, ${number(saved)} saved`;
}
