// One probe: how far it is, what it found and why, the plot, and every question. Names and questions go in as text nodes.

import { duration, h, number, plural, when } from "./dom.js";
import { table } from "./evaluate-parts.js";
import { equation, probePlot } from "./probe-plot.js";
import { stateChip } from "./runs.js";

const VERDICTS = {
  linear: ["Linear", "one autoregressive stream"], "sub-linear": ["Sub-linear", "parallel search behind the scenes"],
  "super-linear": ["Super-linear", "each token takes longer the more there are"], "cannot tell": ["Cannot tell", "these answers do not say"],
};

const BLIND = "What this cannot see: a search whose width is always the same takes time in proportion to its tokens, and looks like one fast stream.";
const BEHIND = { "": "", "best-of-n": ", best-of-N behind it", beam: ", beam search behind it" };

export const titleOf = (probe) => `${probe.model}${BEHIND[probe.behind] ?? ""}`;

/** "linear, exponent 1.13", or where it stands. */
export function shortWords({ state, fit, done, total }) {
  if (state === "running") return `${number(done)} of ${number(total)}`;
  if (!fit) return plural(done, "answer");
  return `${VERDICTS[fit.verdict][0].toLowerCase()}${fit.low === null ? "" : `, exponent ${number(fit.exponent, 2)}`}`;
}

export class ProbeView {
  /** actions(probe): the buttons that fit its state. */
  constructor(host, { actions }) {
    Object.assign(this, { actions, probe: null, state: null });
    this.head = h("div", { class: "job-head" });
    this.sub = h("p", { class: "muted", dataset: { id: "probe-sub" } });
    this.bar = h("div", { class: "job-meter", role: "progressbar", "aria-label": "Progress of the probe" }, h("span", {}));
    this.error = h("div", {});
    this.found = h("div", { class: "probe-verdict", "aria-live": "polite" });
    this.box = h("div", {});
    this.rest = h("div", {});
    host.replaceChildren(h("section", { class: "wl-card probe-card", "aria-label": "Probe" }, this.head, this.sub, this.bar, this.error, this.found,
      h("figure", {}, h("figcaption", {}, "Response time against generated tokens"), this.box), this.rest));
  }

  /** With its answers; what has the focus keeps it. */
  draw(probe) {
    this.probe = probe;
    if (this.state !== probe.state) {
      this.state = probe.state;
      const downloads = probe.state === "running" ? [] : [h("a", { class: "button secondary", href: `/api/probes/${probe.probe_id}`, download: `probe-${probe.probe_id}.json` }, "JSON"),
        probe.svg ? h("a", { class: "button secondary", href: `data:image/svg+xml;charset=utf-8,${encodeURIComponent(probe.svg)}`, download: `probe-${probe.probe_id}.svg` }, "SVG") : null];
      this.head.replaceChildren(h("h2", {}, titleOf(probe)), stateChip(probe.state), h("div", { class: "actions" }, [...this.actions(probe), ...downloads].filter(Boolean)));
      this.error.replaceChildren(probe.error ? h("div", { class: `wl-notice ${probe.state === "failed" ? "error" : "warn"}`, role: probe.state === "failed" ? "alert" : null }, h("span", { class: "text" }, probe.error)) : "");
    }
    this.tick(probe);
    this.found.replaceChildren(...verdict(probe));
    probePlot(this.box, probe.points, probe.fit);
    this.#rest(probe);
  }

  /** Time and progress alone. */
  tick(probe) {
    const left = probe.state !== "running" ? "" : probe.done === probe.total ? " · working out the fit" : probe.left_s === null ? " · time left not known yet" : ` · about ${duration(probe.left_s)} left`;
    this.sub.textContent = `${when(probe.created_at)} · ${plural(Math.round(probe.total / probe.repeats), "question")} × ${number(probe.repeats)}, at most ${number(probe.max_tokens)} tokens each · ${number(probe.done)} of ${plural(probe.total, "answer")} · ${duration(probe.seconds)}${left}`;
    const share = probe.total ? probe.done / probe.total : 0;
    this.bar.hidden = probe.state === "done";
    this.bar.setAttribute("aria-valuenow", Math.round(100 * share));
    this.bar.firstChild.style.width = `${100 * share}%`;
  }

  resize() {
    if (this.probe) probePlot(this.box, this.probe.points, this.probe.fit);
  }

  #rest({ points, fit }) {
    if (!points.length) {
      this.rest.replaceChildren();
      return;
    }
    const open = this.rest.querySelector("details")?.open ?? false;
    const n = (words) => h("td", { class: "n" }, words);
    const rows = byQuestion(points).map(([question, tokens, seconds, tries]) => h("tr", {}, h("td", { class: "prompt", title: question }, question.slice(0, 300)), n(number(tokens)), n(number(seconds, 2)), n(number(tokens / seconds)), n(number(tries))));
    this.rest.replaceChildren(fit ? facts(fit, points) : "", h("details", { open }, h("summary", {}, `${plural(rows.length, "question")}, medians`), table("Questions", ["Question", "n:Tokens", "n:Seconds", "n:Tokens/s", "n:Answers"], rows)));
  }
}

/** What it says in words, and why. */
function verdict({ fit, state, done }) {
  if (!fit) return state === "running" ? [] : [h("p", { class: "muted" }, done ? `A fit needs three answers; there ${done === 1 ? "is one" : `are ${number(done)}`}.` : "There is no answer to measure.")];
  const [name, meaning] = VERDICTS[fit.verdict];
  return [h("p", { class: "probe-said" }, h("b", {}, `${name}:`), ` ${meaning}`), h("p", {}, `${fit.why[0].toUpperCase()}${fit.why.slice(1)}.`), h("p", { class: "muted probe-blind" }, BLIND)];
}

function facts(fit, points) {
  const interval = fit.low === null ? "too few answers for an interval, or too much alike" : `95 %: ${number(fit.low, 2)} to ${number(fit.high, 2)}`;
  const tokens = points.map((p) => p.tokens);
  const rows = [
    ["Exponent", `${number(fit.exponent, 2)} (${interval}) of t = a + c · tokensᵖ`],
    ["Line", `${equation(fit)}${fit.tokens_per_s ? `, ${number(fit.tokens_per_s)} tokens/s` : ""}`],
    ["Speed by question", `fast ones ${number(fit.speeds, 1)} times as fast as slow ones; chance of that: ${number(fit.chance, 3)}`],
    ["Answers", `${plural(points.length, "answer")} of ${number(Math.min(...tokens))} to ${number(Math.max(...tokens))} tokens`],
  ];
  return h("dl", { class: "facts probe-facts" }, rows.map(([name, words]) => h("div", {}, h("dt", {}, name), h("dd", {}, words))));
}

/** [question, median tokens, median seconds, answers], the shortest first. */
function byQuestion(points) {
  const of = new Map();
  for (const p of points) of.set(p.question, [...(of.get(p.question) ?? []), p]);
  return [...of].map(([question, list]) => [question, median(list.map((p) => p.tokens)), median(list.map((p) => p.seconds)), list.length]).sort((a, b) => a[1] - b[1]);
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}
