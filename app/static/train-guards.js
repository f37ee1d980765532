// The curves by which one notices that a reward is being cheated: a small chart each, beside the loss. Takes rows; knows no job.

import { lineChart } from "./chart.js";
import { h } from "./dom.js";

// What is shown where rows have it, in this order, with what it means.
const CURVES = {
  solved: "Solved (share of rollouts)", step_reward: "Reward a step", tokens: "Tokens a rollout", steps: "Steps a rollout",
  well_formed: "Whole steps (share)", repeated: "Steps said before (share)", backtracks: "Steps that turn back (share)",
  finished: "Rollouts that end by themselves", kl: "Distance from the start (KL)", rewards_accuracies: "Pairs put right (share)",
  rewards_margins: "Margin of the better side", logps_chosen: "Log-probability of the better side",
};

/** Draws into `host` what the rows have of `CURVES`; nothing where they have none of it. */
export function guardCharts(host, rows, total) {
  const shown = Object.entries(CURVES).filter(([key]) => rows.some((row) => Number.isFinite(row[key])));
  const key = shown.map(([k]) => k).join();
  if (host.dataset.key !== key) {
    host.dataset.key = key;
    host.replaceChildren(...shown.map(([k, words]) => h("figure", { class: "small-chart" }, h("figcaption", {}, words), h("div", { dataset: { id: `curve-${k}` } }))));
  }
  for (const [k, words] of shown) lineChart(host.querySelector(`[data-id="curve-${k}"]`), rows, { y: k, total, label: words, height: 130, named: false });
}
