// What a job's figures are called, in the order in which they are shown. Knows no page.

const FIGURES = {
  auc: "AUC on held-out steps", auc_95: "95 % interval of the AUC", base_rate: "share of good steps (base rate)", first_error_f1: "F1 of the first error",
  n_test_steps: "held-out steps", n_test_responses: "held-out responses", n_test_traces: "held-out traces", n_train_traces: "traces trained on", n_train_steps: "steps trained on", n_train_tokens: "tokens trained on",
  train_base_rate: "share of good steps, training", loss_before: "held-out loss before", loss_after: "held-out loss after",
  n_new_tokens: "new tokens", embedding_rows_moved: "rows of the embedding that moved", head_rows_moved: "rows of the output head that moved",
  solved_before: "solved before, held out", solved_after: "solved after, held out", score_before: "mean score before, held out", score_after: "mean score after, held out", gain: "gain, held out", gain_95: "95 % interval of the gain", n_held_out: "held-out questions", n_questions: "questions trained on", n_rollouts: "rollouts",
  tokens_before: "tokens a rollout before", tokens_after: "tokens a rollout after", steps_before: "steps a rollout before", steps_after: "steps a rollout after", well_formed_before: "whole steps before (share)", well_formed_after: "whole steps after (share)",
  repeated_before: "repeated steps before (share)", repeated_after: "repeated steps after (share)", backtracks_before: "steps that turn back before (share)", backtracks_after: "steps that turn back after (share)", finished_before: "rollouts that ended by themselves before (share)", finished_after: "rollouts that ended by themselves after (share)",
  pairs_right: "held-out pairs put right", margin: "margin of the better side", chosen_log_ratio: "what the better side gained", n_train_pairs: "pairs trained on", n_test_pairs: "held-out pairs",
};
const ORDER = Object.keys(FIGURES);

/** Where a figure stands among the others; those that have no word of their own come last. */
export const placeOf = (name) => (name in FIGURES ? ORDER.indexOf(name) : ORDER.length);

export const figureWord = (name) => FIGURES[name] ?? name.replaceAll("_", " ");
