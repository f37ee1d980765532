// The ways out of a trace or a pair that is not judged to its end: five different reasons, each kept as what it is, with a remark.
// Asks for the remark in a dialog; knows no rating and no network.

import { h } from "./dom.js";

const EXITS = [
  ["skip", "Skip", "Not now: someone else may rate it", "What kept you from it?"],
  ["unsure", "Unsure", "I have read it and cannot tell right from wrong", "What would you need to know?"],
  ["give_up", "Give up", "It takes more than I can put into it", "Where did you stop, and why?"],
  ["bad_problem", "Bad problem", "The question itself is wrong or unclear", "What is wrong with the question?"],
  ["bad_segmentation", "Bad cut", "The steps are cut in the wrong places", "Where should it be cut?"],
];
export const TRACE = { title: "Leave this trace", exits: EXITS };
export const PAIR = {
  title: "Leave this pair",
  exits: [
    ["skip", "Skip", "Not now: someone else may compare them", "What kept you from it?"],
    ["unsure", "Unsure", "I read both and cannot tell", "What would you need to know?"],
    ["give_up", "Give up", "I do not know the subject well enough", "Where did you stop, and why?"],
    EXITS[3],
    ["bad_segmentation", "Bad steps", "The steps are cut in the wrong places", "Where, in which of the two?"],
  ],
};
const REMARK_MOST = 20_000; // characters: what one event may hold

export function exitWord(reason) {
  return EXITS.find(([name]) => name === reason)?.[1].toLowerCase() ?? reason;
}

/** The buttons; leave(reason, words) is called by a press. */
export function exitButtons(leave) {
  return EXITS.map(([reason, words, title]) => h("button", { type: "button", class: "secondary", title, onclick: () => leave(reason) }, words));
}

/** Choose a way out of a TRACE or a PAIR (`reason`: chosen already) and say why. Resolves to {reason, remark}, or null when the rater stays. */
export function askExit(reason, remark, { title, exits } = TRACE) {
  return new Promise((resolve) => {
    let answer = null;
    const box = h("textarea", { rows: 4, maxlength: REMARK_MOST, value: remark, placeholder: "Optional. Enter leaves, Shift+Enter begins a line." });
    const question = h("span", {});
    const radios = exits.map(([name, words, about]) => h("label", { class: "exit" },
      h("input", { type: "radio", name: "wl-exit", value: name, checked: name === (reason ?? exits[0][0]), onchange: ask }), h("span", {}, h("b", {}, words), h("small", {}, about))));
    const chosen = () => dialog.querySelector("input:checked").value;
    function ask() {
      question.textContent = exits.find(([name]) => name === chosen())[3];
    }
    const form = h("form", { class: "exit-form", onsubmit: (event) => { event.preventDefault(); answer = { reason: chosen(), remark: box.value.trim() }; dialog.close(); } },
      h("div", { class: "wl-sheet-head" }, h("h2", {}, title), h("button", { type: "button", class: "quiet", "aria-label": "Stay", onclick: () => dialog.close() }, "×")),
      h("div", { class: "exit-body" }, h("fieldset", {}, h("legend", { class: "wl-visually-hidden" }, "Why"), radios), h("label", { class: "stack" }, question, box)),
      h("div", { class: "wl-sheet-foot" }, h("button", { type: "button", class: "secondary", onclick: () => dialog.close() }, "Stay"), h("button", { type: "submit", class: "primary" }, "Leave it")));
    const dialog = h("dialog", { class: "wl-sheet wl-page exit-sheet", "aria-label": title }, form);
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
