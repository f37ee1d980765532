// Over the steps of a run: how it stands, what it has used, its answer and whether that is right, what can be done with it.

import { $, duration, number } from "./dom.js";
import { shownText, showsRaw } from "./reading.js";
import { promptWords } from "./turns.js";
import { CUT_OFF } from "./wheel.js";

const ENDINGS = {
  stop: "Finished", step_limit: "Stopped at the step limit", length: "Stopped at the token limit", cancelled: "Stopped",
  error: "Failed", interrupted: "Interrupted: the server stopped in the middle",
};

/** How a run ended, in words. */
export const endingOf = (model) => ENDINGS[model.finishReason] ?? "Ended";

export class RunStatus {
  /** root: the page; mark(element): marks what is searched for in a text that was drawn. */
  constructor(root, { mark }) {
    this.at = (id) => $(`[data-id="${id}"]`, root);
    this.mark = mark;
    this.answerDrawn = null;
  }

  /** scored: its steps have scores already. */
  draw(model, { scored }) {
    const { at } = this;
    const running = model.state === "running";
    at("run").hidden = running;
    at("stop").hidden = !running;
    const state = at("state");
    state.className = `state ${running ? "running" : model.finishReason}`;
    state.textContent = running ? (model.steps.length ? "Running" : "Waiting for the first step") : endingOf(model);
    at("n-steps").textContent = number(model.steps.length);
    at("n-backtracks").textContent = number(model.backtracks);
    at("n-prompt").textContent = promptWords(model.stats);
    at("n-tokens").textContent = number(model.stats.generated_tokens);
    at("speed").textContent = number(model.stats.tokens_per_s);
    const { first_token_s: first = null, seconds = null } = model.stats;
    at("first-token").textContent = first === null ? "–" : `${number(first, 2)} s`;
    at("seconds").textContent = seconds === null ? "–" : seconds < 60 ? `${seconds.toFixed(1)} s` : duration(seconds);
    at("answer-box").hidden = running ? !model.answer : false;
    this.drawAnswer(model);
    const verdict = at("verdict");
    verdict.hidden = running;
    verdict.className = `verdict ${model.solved === true ? "good" : model.solved === false ? "bad" : "none"}`;
    verdict.textContent = model.solved === true ? "✓ Solved" : model.solved === false ? "✗ Not solved" : "? Not checked";
    verdict.title = model.solved === null ? "No exact rule fits this question, and it has no reference answer that this could be held against." : "Checked from the steps where there is an exact rule, not from what the answer claims; else by the question's reference answer.";
    const kept = !running && model.traceId;
    const id = encodeURIComponent(model.traceId ?? "");
    at("save").hidden = !kept;
    if (kept) at("save").href = `/api/traces/${id}/graph?download=1`;
    at("rate").hidden = !model.traceId;
    at("rate").href = `/ui/rate?${running ? "run" : "trace"}=${id}`;
    at("resume").hidden = !kept || !CUT_OFF.includes(model.finishReason);
    at("score").hidden = !kept || scored;
  }

  /** Rendered once it is whole; drawn again only when it has changed, since a run's figures change all the time. */
  drawAnswer(model) {
    const running = model.state === "running";
    const key = `${running} ${showsRaw()} ${model.traceId} ${model.answer}`;
    if (key === this.answerDrawn) return;
    this.answerDrawn = key;
    const answer = this.at("answer");
    answer.replaceChildren(...(running ? [model.answer] : model.answer ? shownText(model.answer, this.mark) : ["No answer was written."]));
    this.mark(answer);
  }
}
