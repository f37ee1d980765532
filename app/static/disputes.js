// Where raters differ: the list, one unit looked at closely (the votes as letters, the step with its neighbours), the decision
// with its reason, by keyboard, and the history of the label. All text of models and raters goes in as text or sanitised.

import { get, post } from "./api.js";
import { duration, h, number, plural, say, when } from "./dom.js";
import { differingWords, firstDifferentStep } from "./first-difference.js";
import { shownValue } from "./judged-values.js";
import { Keys, show } from "./keys.js";
import { historyTable, readHistory, valueChip as chip } from "./label-history.js";
import { shownText } from "./reading.js";
import { hasMarkup } from "./rich-text.js";
import { FIELDS } from "./trace-model.js";

const STATES = [["open", "Open"], ["settled", "Decided"], ["all", "All"]];
const PAGE = 50;
const MOST_SHOWN = 200; // what the server gives at once
const MOST_CHOICES = 8; // seven strengths and unsure
const WORDS = { error_type: "error", severity: "severity", rationale: "why", better: "better", recovered: "put right by step", span: "place", note: "note", comment: "comment" };
const TABLE = [
  ["next", ["j", "ArrowDown"], "next in the list", "Move"],
  ["previous", ["k", "ArrowUp"], "the one before", "Move"],
  ...Array.from({ length: MOST_CHOICES }, (_, i) => [`choice-${i + 1}`, [String(i + 1)], i === 0 ? "the first choice, as numbered on its button" : "…", "Decide"]),
  ["gap", ["g"], "the guidelines have a gap here, or no longer", "Decide"],
  ["reason", ["c"], "write the reason", "Decide"],
  ["decide", ["Ctrl+Enter"], "keep the decision, go on to the next", "Decide"],
  ["history", ["h"], "the history of the label", "Look"],
  ["help", ["?"], "this sheet", "Look"],
];

export class Disputes {
  constructor(at, root, { chosen, failed }) {
    Object.assign(this, { at, chosen, failed });
    this.state = "open";
    this.rows = [];
    this.shown = PAGE;
    this.drawn = null; // what the list was made of: the same again is not made anew
    this.forget();
    this.states = STATES.map(([state, words]) => h("button", { type: "button", dataset: { state }, onclick: () => this.#show(state) }, words));
    at("states").replaceChildren(...this.states);
    this.more = h("button", { type: "button", class: "secondary", hidden: true, onclick: () => { this.shown += PAGE; this.load().catch(this.failed); } }, "More");
    at("more").replaceChildren(this.more); // beside the listbox, which holds options alone
    this.keys = new Keys(root, TABLE, (action) => this.#act(action));
    at("keys").addEventListener("click", () => this.keys.openSheet("Keys for deciding"));
    at("list").addEventListener("click", (event) => {
      const row = event.target.closest("[role=option]");
      if (row) this.#select(Number(row.dataset.at));
    });
  }

  /** Another queue or another question is looked at from now on. */
  forget() {
    this.selected = null; // the key of the row
    this.detail = null;
    this.choice = null;
    this.gap = false;
    this.reason = "";
  }

  async load() {
    const { queue, dimension } = this.chosen();
    const query = new URLSearchParams({ queue, dimension, state: this.state, limit: this.shown });
    const found = await get(`/api/quality/disagreements?${query}`);
    this.scale = found.scale;
    this.rows = found.rows;
    this.#drawHead(found);
    this.#drawList(found);
    const at = this.rows.findIndex((r) => keyOf(r) === this.selected);
    if (at < 0 && !this.#writing()) await this.#select(this.rows.length ? 0 : -1, false);
    return found;
  }

  #writing() {
    return this.detail !== null && (this.choice !== null || this.reason !== "");
  }

  #drawHead(found) {
    for (const button of this.states) button.setAttribute("aria-pressed", String(this.state === button.dataset.state));
    const agreed = found.n_units - found.n;
    this.at("disputes-count").textContent = found.n_units ? `${number(found.n)} disputed of ${number(found.n_units)} judged by two or more (${number(agreed)} agreed on); ${number(found.n_settled)} decided` : "";
  }

  #show(state) {
    this.state = state;
    this.shown = PAGE;
    this.forget();
    this.load().catch(this.failed);
  }

  #drawList(found) {
    const list = this.at("list");
    this.more.hidden = !(found.matching > this.rows.length && this.shown < MOST_SHOWN);
    const words = this.rows.length ? null : !found.computed_at ? "Being computed …" : found.n_units === 0 ? "Nothing was judged by two raters yet. Set the queue's overlap to two or more." : this.state === "open" ? "Nothing is left to decide: raters agree, or it is decided." : "Nothing here.";
    const drawn = JSON.stringify([this.chosen().dimension, this.scale, this.rows, words]);
    if (drawn === this.drawn) return;
    this.drawn = drawn;
    if (words) {
      list.setAttribute("role", "group"); // a listbox holds options, not a sentence
      list.replaceChildren(h("p", { class: "muted pad" }, words));
      return;
    }
    list.setAttribute("role", "listbox");
    list.replaceChildren(...this.rows.map((row, i) => h("div", { role: "option", id: `dispute-${i}`, class: "dispute-row", dataset: { at: i }, "aria-selected": keyOf(row) === this.selected },
      h("span", { class: "where" }, row.step_idx === null ? "whole" : `step ${row.step_idx + 1}`), this.#votes(row),
      h("span", { class: "prompt", title: row.prompt }, row.prompt), row.decision ? chip(this.chosen().dimension, row.decision.value, row.decision.value_text, "decided: ") : null)));
    this.#mark();
  }

  #votes(row) {
    const { dimension } = this.chosen();
    const said = this.scale.map((value, i) => [value, row.votes[i]]).filter(([, n]) => n);
    return h("span", { class: "votes" }, said.map(([value, n]) => chip(dimension, value, null, `${n} × `)), row.unsure ? chip(dimension, null, "unsure", `${row.unsure} × `) : null);
  }

  #mark() {
    const list = this.at("list");
    const at = this.rows.findIndex((r) => keyOf(r) === this.selected);
    list.querySelectorAll("[role=option]").forEach((row, i) => row.setAttribute("aria-selected", String(i === at)));
    if (at >= 0) {
      list.setAttribute("aria-activedescendant", `dispute-${at}`);
    } else list.removeAttribute("aria-activedescendant");
  }

  async #select(at, focus = true) {
    const row = this.rows[at] ?? null;
    if (row && this.detail && keyOf(row) === this.selected) { // it is shown already: what was chosen and written stays
      if (focus) this.at("list").focus({ preventScroll: true });
      return;
    }
    this.forget();
    this.selected = row && keyOf(row);
    this.#mark();
    if (!focus) this.at("list").scrollTop = 0; // the first one, which nobody asked for: the page stays where it is
    else {
      this.at("list").focus({ preventScroll: true });
      this.at("list").querySelector(`#dispute-${at}`)?.scrollIntoView({ block: "nearest" });
    }
    if (!row) {
      this.at("dispute").replaceChildren();
      return;
    }
    try {
      const detail = await get(`/api/quality/disagreement?${this.#query(row)}`);
      if (this.selected !== keyOf(row)) return; // another one was chosen meanwhile
      this.detail = { ...detail, row };
      this.#drawDetail();
    } catch (error) {
      this.failed(error);
    }
  }

  #query(row) {
    const chosen = this.chosen();
    return new URLSearchParams({ queue: chosen.queue, item: row.item_id, dimension: chosen.dimension, ...(row.step_idx === null ? {} : { step: row.step_idx }) });
  }

  // ---------------------------------------------------------------- one unit

  #drawDetail() {
    const { detail } = this;
    const { dimension } = this.chosen();
    const { row } = detail;
    const body = detail.sides.length ? this.#sides(detail) : h("div", { class: "contexts", tabindex: "0", role: "region", "aria-label": "The step with its neighbours" },
      detail.steps.length ? detail.steps.map((s) => context(s, s.step_idx === row.step_idx)) : answer(detail));
    const where = row.item_id === detail.trace_id ? h("a", { href: `/ui/?trace=${encodeURIComponent(detail.trace_id)}${row.step_idx === null ? "" : `&step=${row.step_idx + 1}`}` }, "the whole trace") : null;
    this.at("dispute").replaceChildren(
      h("div", { class: "question" }, h("span", { class: "label" }, "Question"), h("div", { class: "text", tabindex: "0", role: "region", "aria-label": "Question" }, shownText(detail.prompt))),
      body, where ?? "",
      h("div", { class: "opinions" }, detail.opinions.map((o) => this.#opinion(dimension, o))),
      this.#form(dimension), this.#decisions(dimension), h("div", { class: "history", "aria-live": "polite" }));
  }

  /** Both sides of a pair from the last step that they share, and the step in which they part with the words that differ. */
  #sides({ sides, shared_steps: shared }) {
    const from = Math.min(1, shared); // of the steps that came, so many are the same in both
    const differs = firstDifferentStep(sides[0].steps, sides[1].steps, from);
    const marks = new Map();
    if (sides.every((side) => side.steps[differs])) {
      for (const field of FIELDS) {
        const words = differingWords(sides[0].steps[differs][field] ?? "", sides[1].steps[differs][field] ?? "");
        if (words) marks.set(field, [words.a, words.b]);
      }
    }
    return h("div", { class: "dispute-sides" }, sides.map((side, place) => {
      const beyond = side.n_steps - (Math.max(0, shared - 1) + side.steps.length);
      return h("section", { "aria-label": place ? "Right" : "Left" }, h("h3", {}, place ? "Right" : "Left", h("span", { class: "muted" }, ` ${plural(side.n_steps, "step")}, ${shared} shared`)),
        h("div", { class: "contexts", tabindex: "0", role: "region", "aria-label": `Steps of the ${place ? "right" : "left"} one` },
          side.steps.map((s, i) => context(s, i === differs, i === differs ? (field) => marks.get(field)?.[place] : undefined)), beyond > 0 ? h("p", { class: "muted pad" }, `${plural(beyond, "more step")}`) : null, answer(side)));
    }));
  }

  #opinion(dimension, o) {
    const beside = Object.entries(o.beside).filter(([, v]) => v !== null && v !== "");
    return h("div", { class: "opinion" }, h("div", { class: "head" }, h("b", {}, o.rater), chip(dimension, o.value, o.value_text), h("span", { class: "muted" }, `${duration(o.dwell_ms / 1000)}${o.changes > 0 ? `, changed ${o.changes === 1 ? "once" : `${o.changes} times`}` : ""}`)),
      beside.length ? h("dl", {}, beside.map(([name, value]) => h("div", {}, h("dt", {}, WORDS[name]), h("dd", {}, String(name === "recovered" ? (value < 0 ? "none" : value + 1) : value))))) : null);
  }

  get #choices() {
    return [...this.scale.map((value) => [value, null]), [null, "unsure"]];
  }

  #form(dimension) {
    const buttons = this.#choices.map(([value, text], i) => {
      const [glyph, word, tone] = shownValue(dimension, value, text);
      const key = this.keys.label(`choice-${i + 1}`);
      return h("button", { type: "button", class: `secondary choice ${tone}`, "aria-keyshortcuts": this.keys.aria(`choice-${i + 1}`), "aria-pressed": this.choice === i, onclick: () => this.#choose(i) }, h("kbd", {}, key), `${glyph} ${word}`);
    });
    const reason = h("textarea", { rows: 2, maxlength: 4000, dataset: { reason: "" }, placeholder: "Why, in a sentence: for the raters and for the guidelines", oninput: (e) => { this.reason = e.target.value; said.textContent = ""; }, "aria-label": "The reason" });
    const said = h("p", { class: "said", role: "alert" }); // what stands in the way, until something is done about it
    reason.value = this.reason;
    return h("div", { class: "decide", "aria-label": "Decide", role: "group" }, h("div", { class: "choices" }, buttons), reason,
      h("div", { class: "actions" }, h("label", { class: "check" }, h("input", { type: "checkbox", checked: this.gap, dataset: { gap: "" }, onchange: (e) => { this.gap = e.target.checked; } }), "The guidelines have a gap here ", h("kbd", {}, this.keys.label("gap"))),
        h("button", { type: "button", class: "secondary", "aria-keyshortcuts": this.keys.aria("history"), onclick: () => this.#history() }, "History ", h("kbd", {}, this.keys.label("history"))),
        h("button", { type: "button", class: "primary", "aria-keyshortcuts": this.keys.aria("decide"), onclick: () => this.#decide(), title: show(this.keys.label("decide")) }, "Decide")), said);
  }

  #decisions(dimension) {
    const { decisions } = this.detail;
    if (!decisions.length) return "";
    const line = (d, i) => h("li", {}, d.value === null && d.value_text === null ? h("span", { class: "wl-chip" }, "taken back") : chip(dimension, d.value, d.value_text), h("span", {}, ` ${d.reason} `),
      d.guideline_gap ? h("span", { class: "wl-chip warn" }, "! guideline gap") : null, h("span", { class: "muted" }, ` ${d.adjudicator}, ${when(d.created_at)}`), i > 0 ? h("span", { class: "muted" }, " (superseded)") : null);
    const [latest] = decisions;
    const back = latest.value === null && latest.value_text === null ? null : h("button", { type: "button", class: "quiet", onclick: () => this.#send({ value: null, reason: "" }, "Taken back.") }, "Take it back");
    return h("div", { class: "decisions" }, h("h3", {}, "Decided"), h("ul", { class: "plain" }, decisions.map(line)), back);
  }

  // ---------------------------------------------------------------- acting

  #act(action) {
    if (action === "help") return this.keys.openSheet("Keys for deciding");
    const at = this.rows.findIndex((r) => keyOf(r) === this.selected);
    if (action === "next") return this.#select(Math.min(this.rows.length - 1, at + 1));
    if (action === "previous") return this.#select(Math.max(0, at - 1));
    if (!this.detail) return;
    if (action === "history") return this.#history();
    if (action === "decide") return this.#decide();
    if (action === "reason") return this.at("dispute").querySelector("[data-reason]").focus();
    if (action === "gap") {
      this.gap = !this.gap;
      this.at("dispute").querySelector("[data-gap]").checked = this.gap;
      return say(this.gap ? "Guideline gap" : "No guideline gap");
    }
    this.#choose(Number(action.slice("choice-".length)) - 1);
  }

  /** A choice, and then its reason: the focus goes there. */
  #choose(i) {
    if (i >= this.#choices.length) return;
    this.choice = i;
    this.at("dispute").querySelector(".said").textContent = "";
    this.at("dispute").querySelectorAll(".choice").forEach((b, at) => b.setAttribute("aria-pressed", String(at === i)));
    this.at("dispute").querySelector("[data-reason]").focus();
  }

  #decide() {
    const said = this.at("dispute").querySelector(".said");
    if (this.choice === null) {
      said.textContent = "Choose what is right first.";
      return;
    }
    const [value, text] = this.#choices[this.choice];
    this.#send({ value, value_text: text, reason: this.reason, guideline_gap: this.gap }, "Decided and saved.");
  }

  async #send(body, words) {
    const { queue, dimension } = this.chosen();
    const { row } = this.detail;
    const at = this.rows.findIndex((r) => keyOf(r) === this.selected);
    try {
      await post("/api/quality/adjudications", { queue, dimension, item: row.item_id, step: row.step_idx, ...body });
    } catch (error) {
      this.at("dispute").querySelector(".said").textContent = error.message;
      return;
    }
    say(words);
    const next = this.state === "open" ? this.rows[at + 1] ?? this.rows[at - 1] : row;
    this.forget();
    await this.load().catch(this.failed);
    await this.#select(Math.max(0, this.rows.findIndex((r) => next && keyOf(r) === keyOf(next))));
  }

  async #history() {
    const { row } = this.detail;
    const events = await readHistory(row.item_id, row.step_idx, this.chosen().queue).catch(this.failed);
    const box = this.at("dispute").querySelector(".history");
    if (!events || !box) return;
    box.replaceChildren(h("h3", {}, "History of this label"), historyTable(events));
    box.scrollIntoView({ block: "nearest" });
  }
}

/** A step; current: the one it is about. marked(field): [start, end] of the words that differ, or nothing. */
function context(s, current, marked = () => null) {
  const fields = ["thought", "summary", "reflection"].filter((f) => s[f]);
  return h("div", { class: `context ${current ? "current" : ""}` }, h("b", {}, `${s.step_idx + 1}. ${s.name}`),
    fields.length ? fields.map((f) => h("div", { class: f }, text(s[f], marked(f)))) : h("div", {}, shownText(s.text)));
}

function text(words, mark) {
  if (!mark || mark[0] === mark[1] || hasMarkup(words)) return shownText(words);
  return [h("p", { class: "field-text" }, words.slice(0, mark[0]), h("mark", { class: "differs" }, words.slice(...mark)), words.slice(mark[1]))];
}

function answer(of) {
  return h("div", { class: "context" }, h("b", {}, "Answer"), h("div", {}, shownText(of.answer || "(no answer)")));
}

function keyOf(row) {
  return `${row.item_id}|${row.step_idx ?? ""}`;
}
