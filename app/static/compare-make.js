// Making pairs, for researchers: which traces are compared, counted before they are made. Knows no comparison.

import { ApiError, get, post } from "./api.js";
import { h, plural } from "./dom.js";

const POLICIES = [
  ["outcome", "one that solved the question and one that did not"],
  ["models", "two models' traces of a question"],
  ["siblings", "two continuations of one beginning: a trace and its forks"],
  ["any", "every two traces of a question"],
  ["by_hand", "those named here"],
];
const STANDARD = { queue_id: "pairs", title: "Pairs" };

/** card: a <details>; made(): pairs were made. */
export function makePairs(card, host, made) {
  card.hidden = false;
  const policy = h("select", {}, POLICIES.map(([value, words]) => h("option", { value }, words)));
  const queue = h("select", {});
  const most = h("input", { type: "number", min: 1, max: 1000, step: 1, value: 4 });
  const named = h("textarea", { rows: 3, placeholder: "two trace ids a line", spellcheck: "false" });
  const result = h("p", { class: "result", role: "status" });
  const byHand = h("label", { class: "stack", hidden: true }, "Pairs", named);
  const field = (words, input, wide = "") => h("label", { class: wide }, words, input);
  const mostField = field("Most a problem", most);
  const asked = () => (policy.value === "by_hand"
    ? { policy: policy.value, queue_id: queue.value, pairs: named.value.trim().split("\n").map((line) => line.trim().split(/[\s,]+/)) }
    : { policy: policy.value, queue_id: queue.value, most_a_problem: Number(most.value) });

  async function send(dryRun) {
    result.className = "result";
    result.textContent = dryRun ? "Counting …" : "Making them …";
    try {
      const { found, new: fresh, sharing } = await post("/api/pairs", { ...asked(), dry_run: dryRun });
      const share = sharing ? `, ${sharing} with a beginning in common` : "";
      result.textContent = found === 0 ? "No two traces fit." : `${plural(found, "pair")} ${found === 1 ? "fits" : "fit"}${share}; ${fresh} ${dryRun ? "would be new" : "new, and in the queue"}.`;
      if (!dryRun && fresh) made();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      result.className = "result error";
      result.textContent = `✗ ${error.message}`;
    }
  }

  policy.addEventListener("change", () => {
    byHand.hidden = policy.value !== "by_hand";
    mostField.hidden = !byHand.hidden;
    result.textContent = "";
  });
  card.addEventListener("toggle", async () => {
    if (!card.open) return;
    const queues = await get("/api/pairs/queues");
    const all = queues.some((q) => q.queue_id === STANDARD.queue_id) ? queues : [STANDARD, ...queues];
    queue.replaceChildren(...all.map((q) => h("option", { value: q.queue_id }, q.title)));
  });
  host.replaceChildren(h("form", { class: "make-form", onsubmit: (event) => { event.preventDefault(); send(false); } },
    h("div", { class: "fields" }, field("Compare", policy, "wide"), field("In the queue", queue), mostField), byHand,
    h("div", { class: "actions" }, h("button", { type: "submit", class: "primary" }, "Make pairs"), h("button", { type: "button", class: "secondary", onclick: () => send(true) }, "Count first"), result)));
}
