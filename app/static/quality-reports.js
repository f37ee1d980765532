// What researchers see of a queue: agreement with its intervals, κ of each two raters, first errors, the raters themselves,
// the items whose answer is known; and of all queues, who changes their mind before a model's scores. Every figure that is
// missing says why.

import { get, post } from "./api.js";
import { h, number, plural } from "./dom.js";
import { DIMENSIONS } from "./judged-values.js";

const METHODS = [["dawid_skene", "Dawid-Skene"], ["mace", "MACE"], ["majority", "Majority"], ["mean", "Mean"]];
const UNDEFINED = "≡"; // of a κ: both gave one and the same value
const MOST_DISTANCES = 6; // further apart is one bar: "6 or more"
const STATES = { paused: ["bad", "✗ paused"], passed: ["good", "✓ screened"], open: ["good", "✓ let in"] };

export class Reports {
  constructor(at, { chosen, failed, mayPause }) {
    Object.assign(this, { at, chosen, failed, mayPause });
    this.method = "dawid_skene";
    this.drawn = {}; // what each part was made of
  }

  async load() {
    const { queue, dimension } = this.chosen();
    const query = new URLSearchParams({ queue });
    const [agreement, raters, gold, minds, competence] = await Promise.all([
      get(`/api/quality/agreement?${query}`), get(`/api/quality/raters?${query}`), get(`/api/quality/gold?${query}`), get("/api/ratings/changes-of-mind"),
      get(`/api/quality/competence?${new URLSearchParams({ queue, dimension, method: this.method })}`),
    ]);
    if (this.chosen().queue !== queue) return;
    if (agreement.judged) {
      this.#draw("agreement", agreement.judged, () => this.#agreement(agreement.judged));
      this.#draw("kappa", agreement.judged[dimension].pairwise, () => kappas(agreement.judged[dimension].pairwise));
      this.#draw("first-errors", agreement.first_errors, () => firstErrors(agreement.first_errors));
    } else for (const id of ["agreement", "kappa", "first-errors"]) this.#draw(id, null, () => h("p", { class: "muted" }, "Being computed …"));
    if (!this.at("raters").contains(document.activeElement)) this.#draw("raters", [raters.rows, competence], () => this.#raters(raters.rows ?? [], competence));
    this.#draw("minds", minds, () => changesOfMind(minds));
    if (!this.at("gold").contains(document.activeElement)) this.#draw("gold", [queue, gold], () => this.#gold(gold));
  }

  /** Made anew only of other data than it was made of; whoever reads its table stays where they are in it. */
  #draw(id, data, make) {
    const drawn = JSON.stringify(data);
    if (this.drawn[id] === drawn) return;
    this.drawn[id] = drawn;
    const table = () => this.at(id).querySelector(".table");
    const { scrollTop = 0, scrollLeft = 0 } = table() ?? {};
    const focused = table() !== null && table() === document.activeElement;
    this.at(id).replaceChildren(make());
    if (!table()) return;
    Object.assign(table(), { scrollTop, scrollLeft });
    if (focused) table().focus({ preventScroll: true });
  }

  #agreement(judged) {
    const wanted = DIMENSIONS.map(([name]) => [name, judged[name]]).filter(([, j]) => j.n_units > 0);
    if (!wanted.length) return h("p", { class: "muted" }, judged.correctness.percent.sentence);
    const cell = (figure, digits, unit = "") => h("td", { class: "n" }, figure.value === null ? "–" : h("b", {}, `${number(figure.value, digits)}${unit}`), interval(figure, digits));
    const sentences = wanted.flatMap(([, j]) => [j.percent, j.alpha, j.ac1].filter((f) => f.sentence).map((f) => `${j.title}: ${f.sentence}`));
    return h("div", {}, table("Agreement", ["", "n:Agreement", "n:Krippendorff α, ordinal", "n:Gwet AC1", "n:Judged twice or more", "n:Traces"], wanted.map(([, j]) => h("tr", {}, h("th", { scope: "row" }, j.title), cell(j.percent, 1, " %"), cell(j.alpha, 2), cell(j.ac1, 2), h("td", { class: "n" }, number(j.n_units)), h("td", { class: "n" }, number(j.n_traces))))),
      h("p", { class: "muted" }, "With 95 % intervals, drawn over traces. One figure alone misleads: where nearly everything is good, α is low and AC1 high for the same raters."),
      sentences.length ? h("ul", { class: "sentences" }, [...new Set(sentences)].map((s) => h("li", {}, s))) : null);
  }

  #raters(rows, competence) {
    if (!rows.length) return h("p", { class: "muted" }, "Nobody has had work of this queue yet.");
    const method = h("select", { "aria-label": "Competence by", onchange: (e) => { this.method = e.target.value; e.target.blur(); this.load().catch(this.failed); } }, METHODS.map(([name, words]) => h("option", { value: name }, words)));
    method.value = this.method;
    const known = competence.competence ?? {};
    const percent = (x) => (x === null || x === undefined ? "–" : `${number(100 * x)} %`);
    return h("div", {}, table("Raters", ["Rater", "n:Submitted", "n:Steps", "n:Seconds a step", "n:Bad", "n:Unsure", "n:Right on gold", "n:Competence", "State", ""], rows.map((r) => {
      const [tone, words] = STATES[r.state] ?? ["quiet", "–"];
      return h("tr", {}, h("th", { scope: "row" }, r.rater_id), num(number(r.submitted)), num(number(r.steps)), num(r.median_s === null ? "–" : number(r.median_s, 1)), num(percent(r.bad_share)), num(percent(r.unsure_share)),
        num(r.n_gold ? `${percent(r.gold)} of ${r.n_gold}` : "–"), num(percent(known[r.rater_id])), h("td", {}, h("span", { class: `wl-chip ${tone}` }, words), r.reason ? h("span", { class: "interval reason" }, r.reason) : null), h("td", {}, this.mayPause ? this.#pause(r) : null));
    })), h("div", { class: "fields" }, h("label", { class: "wide" }, "Competence by", method), h("p", { class: "muted" }, competence.sentence || "The chance that a rater's vote is the right label, from the votes alone. Seconds are those with the step before them; a minute without a key or a move of the mouse does not count.")));
  }

  #pause(rater) {
    const paused = rater.state === "paused";
    return h("button", { type: "button", class: "secondary", onclick: async (e) => {
      e.target.blur();
      try {
        await post("/api/quality/standing", { queue: this.chosen().queue, rater: rater.rater_id, state: paused ? "open" : "paused" });
        await this.load();
      } catch (error) {
        this.failed(error);
      }
    } }, paused ? "Let them go on" : "Pause");
  }

  #gold(items) {
    const { queue } = this.chosen();
    const list = items.length ? table("Items whose answer is known", ["Question", "Kind", "n:Answers", "n:Right", "Feedback", ""], items.map((g) => h("tr", {}, h("td", { class: "prompt", title: g.prompt }, g.prompt), h("td", { class: "nowrap" }, g.kind), num(number(g.answers.length)),
      num(g.n ? `${number(100 * g.right)} % of ${g.n}` : "–"), h("td", { class: "prompt", title: g.feedback }, g.feedback || "–"), h("td", {}, h("button", { type: "button", class: "quiet", onclick: (e) => this.#send(e, { queue, item: g.item_id, kind: g.kind, feedback: g.feedback, active: false }) }, "End"))))) : h("p", { class: "muted" }, "None yet. Handed out unseen among the others, they tell who reads and who does not.");
    const field = (name, words, more) => h("label", { class: "wide" }, words, h("input", { type: "text", name, ...more }));
    const form = h("form", { class: "fields gold-form", onsubmit: (e) => {
      e.preventDefault();
      const { source, kind, feedback } = e.target.elements;
      const asked = source.value.trim().match(/[?&](assignment|trace)=([^&#]+)/);
      const from = asked?.[1] === "assignment" ? { assignment: decodeURIComponent(asked[2]) } : { item: decodeURIComponent(asked?.[2] ?? source.value.trim()) };
      this.#send(e, { queue, ...from, kind: kind.value, feedback: feedback.value });
    } }, field("source", "Trace or pair, or the link of your own rating", { required: true, placeholder: "id or link", title: "A trace is taken with what was adjudicated or agreed on; the address of the Rate page with what you said there." }),
    h("label", {}, "Kind", h("select", { name: "kind" }, h("option", { value: "gold" }, "gold"), h("option", { value: "screening" }, "screening"))), field("feedback", "What a rater reads afterwards", { maxlength: 4000 }), h("button", { type: "submit", class: "secondary" }, "Make it known"));
    return h("div", {}, list, form, h("p", { class: "said muted", role: "status" }, "Screening items come before all work of the queue; gold items among it, at the share that the queue says."));
  }

  async #send(event, body) {
    const button = event.submitter ?? event.target;
    const said = this.at("gold").querySelector(".said");
    button.disabled = true;
    try {
      const made = await post("/api/quality/gold", body);
      document.activeElement?.blur();
      await this.load();
      this.at("gold").querySelector(".said").textContent = made.active ? `Known now: ${plural(made.answers.length, "judgement")}.` : "It is no longer handed out as known.";
    } catch (error) {
      said.textContent = error.message;
    } finally {
      button.disabled = false;
    }
  }
}

function num(content) {
  return h("td", { class: "n" }, content);
}

/** label: what it holds, as no other table of the page is called. */
function table(label, heads, rows) {
  return h("div", { class: "table", tabindex: "0", role: "region", "aria-label": `${label}, scrolls` }, h("table", {}, h("thead", {}, h("tr", {}, heads.map((t) => h(t ? "th" : "td", { class: t.startsWith("n:") ? "n" : null, scope: t ? "col" : null, title: t.replace(/^n:/, "") || null }, t.replace(/^n:/, ""))))), h("tbody", {}, rows)));
}

function interval({ low, high }, digits) {
  return low === null ? null : h("span", { class: "interval" }, ` ${number(low, digits)} – ${number(high, digits)}`);
}

/** Who with whom; the darker, the more they agree beyond chance. */
function kappas(pairs) {
  if (!pairs.length) return h("p", { class: "muted" }, "Undefined: no two raters judged the same.");
  const names = [...new Set(pairs.flatMap((p) => [p.one, p.other]))].sort();
  const of = new Map(pairs.flatMap((p) => [[`${p.one}\n${p.other}`, p], [`${p.other}\n${p.one}`, p]]));
  const cell = (p) => {
    if (!p) return h("td", { class: "n" }, "–");
    const { value } = p.kappa;
    return h("td", { class: `n kappa ${value === null ? "" : `s${Math.max(0, Math.min(4, Math.floor(value * 5)))}`}` }, h("b", {}, value === null ? UNDEFINED : number(value, 2)), interval(p.kappa, 2),
      h("span", { class: "of" }, `n ${number(p.n)}, ${number(p.percent)} %`));
  };
  const rows = names.map((one) => h("tr", {}, h("th", { scope: "row", title: one }, one), names.map((other) => (one === other ? h("td", { class: "n muted" }, "·") : cell(of.get(`${one}\n${other}`))))));
  const marks = pairs.some((p) => p.kappa.value === null) ? ` ${UNDEFINED}: undefined, for both gave one and the same value to everything.` : "";
  const gaps = 2 * pairs.length < names.length * (names.length - 1) ? " –: they judged nothing in common." : "";
  const alone = pairs.some((p) => p.kappa.value !== null && p.kappa.low === null) ? " Without an interval: they met in too few traces for one." : "";
  return h("div", {}, table("Cohen's κ of each two raters", ["Cohen's κ", ...names.map((n) => `n:${n}`)], rows),
    h("p", { class: "muted" }, `With 95 % intervals over traces; n: what both judged, and on how many % of it they agree.${marks}${gaps}${alone}`));
}

function firstErrors(found) {
  if (!found.n_pairs) return h("p", { class: "muted" }, found.sentence);
  const far = Object.entries(found.apart).filter(([d]) => Number(d) >= MOST_DISTANCES).reduce((n, [, m]) => n + m, 0);
  const bars = [["both: none", found.both_none], ["one: none", found.one_sided], ...Array.from({ length: MOST_DISTANCES }, (_, d) => [d === 0 ? "same step" : `${d} apart`, found.apart[d] ?? 0]), [`${MOST_DISTANCES} or more`, far]];
  const { percent } = found;
  return h("div", {}, h("p", { class: "same" }, h("b", {}, `${number(percent.value)} %`), interval(percent, 0), " say the same"), h("div", { class: "bars" }, bars.map(([words, n]) => h("div", { class: "bar" }, h("span", {}, words), h("span", { class: "track", "aria-hidden": "true" }, h("span", { class: "fill strip s3", style: `width:${(100 * n) / found.n_pairs}%` })), h("span", { class: "count" }, `${number(n)} (${Math.round((100 * n) / found.n_pairs)} %)`)))),
    h("p", { class: "muted" }, [`${plural(found.n_pairs, "pair")} of raters over ${plural(found.n_traces, "trace")}.`, percent.low === null ? "" : "With a 95 % interval over traces.", percent.sentence, found.sentence].filter(Boolean).join(" ")));
}

/** Steps judged without scores in view, and judged otherwise when they were there. */
function changesOfMind(rows) {
  const met = rows.filter((r) => r.judged > 0);
  if (!met.length) return h("p", { class: "muted" }, "Nobody has judged a step without scores in view yet.");
  return h("div", {}, table("Changes of mind", ["Rater", "n:Steps judged without scores", "n:Changed with scores in view", "n:Towards the model", "n:Away from it"], met.map((r) => h("tr", {}, h("th", { scope: "row" }, r.rater_id),
    num(number(r.judged)), num(r.changed ? `${number(r.changed)} (${number((100 * r.changed) / r.judged, 1)} %)` : "0"), num(number(r.towards)), num(number(r.away))))),
    h("p", { class: "muted" }, "Over all queues. Scores are in view after a rater's own first pass. Towards and away: nearer to the newest score of the step, or further from it."));
}
