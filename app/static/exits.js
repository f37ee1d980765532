// The ways out of a trace that is not rated to its end: six different reasons, each kept as what it is, with a remark.
// Asks for the remark in a dialog; knows no rating and no network.

import { h } from "./dom.js";

export const EXITS = [
  ["skip", "Skip", "Not now: someone else may rate it", "What kept you from it?"],
  ["unsure", "Unsure", "I have read it and cannot tell right from wrong", "What would you need to know?"],
  ["give_up", "Give up", "It takes more than I can put into it", "Where did you stop, and why?"],
  ["bad_problem", "Bad problem", "The question itself is wrong or unclear", "What is wrong with the question?"],
  ["bad_segmentation", "Bad cut", "The steps are cut in the wrong places", "Where should it be cut?"],
];
const REMARK_MOST = 20_000; // characters: what one event may hold

export function exitWord(reason) {
  return EXITS.find(([name]) => name === reason)?.[1].toLowerCase() ?? reason;
}

/** The buttons; leave(reason, words) is called by a press. */
export function exitButtons(leave) {
  return EXITS.map(([reason, words, title]) => h("button", { type: "button", class: "secondary", title, onclick: () => leave(reason) }, words));
}

/** Choose a way out (`reason`: chosen already) and say why. Resolves to {reason, remark}, or null when the rater stays. */
export function askExit(reason, remark) {
  return new Promise((resolve) => {
    let answer = null;
    const box = h("textarea", { rows: 4, maxlength: REMARK_MOST, value: remark, placeholder: "Optional. Enter leaves the trace, Shift+Enter begins a line." });
    const question = h("span", {});
    const radios = EXITS.map(([name, words, title]) => h("label", { class: "exit" },
      h("input", { type: "radio", name: "wl-exit", value: name, checked: name === (reason ?? EXITS[0][0]), onchange: ask }), h("span", {}, h("b", {}, words), h("small", {}, title))));
    const chosen = () => dialog.querySelector("input:checked").value;
    function ask() {
      question.textContent = EXITS.find(([name]) => name === chosen())[3];
    }
    const form = h("form", { class: "exit-form", onsubmit: (event) => { event.preventDefault(); answer = { reason: chosen(), remark: box.value.trim() }; dialog.close(); } },
      h("div", { class: "wl-sheet-head" }, h("h2", {}, "Leave this trace"), h("button", { type: "button", class: "quiet", "aria-label": "Stay", onclick: () => dialog.close() }, "×")),
      h("div", { class: "exit-body" }, h("fieldset", {}, h("legend", { class: "wl-visually-hidden" }, "Why"), radios), h("label", { class: "stack" }, question, box)),
      h("div", { class: "wl-sheet-foot" }, h("button", { type: "button", class: "secondary", onclick: () => dialog.close() }, "Stay"), h("button", { type: "submit", class: "primary" }, "Leave it")));
    const dialog = h("dialog", { class: "wl-sheet wl-page exit-sheet", "aria-label": "Leave this trace" }, form);
    form.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.target.closest("button")) return;
      event.preventDefault();
      form.requestSubmit();
    });
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(answer);
    });
    document.body.append(dialog);
    dialog.showModal();
    ask();
    (reason ? box : dialog.querySelector("input:checked")).focus();
  });
}
