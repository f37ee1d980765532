// The form of a new probe: whom to ask, with or without a search behind, how often, what. Knows no probe that runs.

import { get, post } from "./api.js";
import { $, h } from "./dom.js";

/** started(made): it has begun. Returns wait(words, locked): what is to be known before another one is started. */
export async function probeForm(root, started) {
  const at = (id) => $(`[data-id="${id}"]`, root);
  const form = at("probe-form");
  const numeric = (id) => (at(id).value === "" ? "" : Number(at(id).value)); // nothing is left for the server to refuse by name
  const questions = () => at("probe-questions").value.split("\n").map((line) => line.trim()).filter(Boolean);
  let pressed = false;

  function said(kind, text) {
    at("probe-said").className = `said ${kind}`;
    at("probe-said").textContent = text;
  }

  form.addEventListener("input", () => said("muted", ""));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    pressed = at("probe-go").disabled = true;
    try {
      const behind = form.querySelector('[name="probe-behind"]:checked').value;
      const made = await post("/api/probes", { model: at("probe-model").value, questions: questions(), repeats: numeric("probe-repeats"), max_tokens: numeric("probe-max-tokens"), behind });
      said("muted", "It has started.");
      await started(made);
    } catch (error) {
      said("bad", error.message);
    } finally {
      pressed = at("probe-go").disabled = false;
    }
  });

  const models = await get("/api/models");
  at("probe-model").replaceChildren(...models.map((m) => h("option", { value: m.id, title: m.note, disabled: !m.ready }, m.ready ? m.name : `${m.name} (its weights are not there)`)));
  return (words, locked) => {
    at("probe-wait").textContent = words;
    if (!pressed) at("probe-go").disabled = locked;
  };
}
