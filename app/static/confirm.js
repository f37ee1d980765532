// Asks before something is taken away for good: what it is, what goes with it, and a way back that has the focus. Knows no noun.

import { h } from "./dom.js";

/** true when it was confirmed; Escape, the cross and "Keep it" are no. */
export function confirmed(title, words, verb = "Delete") {
  return new Promise((resolve) => {
    let yes = false;
    const keep = h("button", { type: "button", class: "secondary", onclick: () => sheet.close() }, "Keep it");
    const go = h("button", { type: "button", class: "danger", onclick: () => { yes = true; sheet.close(); } }, verb);
    const sheet = h("dialog", { class: "wl-sheet wl-page told confirm-sheet", role: "alertdialog", "aria-label": title, "aria-describedby": "wl-confirm-words" },
      h("div", { class: "wl-sheet-head" }, h("h2", {}, title), h("button", { type: "button", class: "quiet", "aria-label": "Close", onclick: () => sheet.close() }, "×")),
      h("div", { class: "wl-sheet-body" }, h("p", { id: "wl-confirm-words" }, words)), h("div", { class: "wl-sheet-foot" }, keep, go));
    sheet.addEventListener("close", () => {
      sheet.remove();
      resolve(yes);
    });
    document.body.append(sheet);
    sheet.showModal();
    keep.focus();
  });
}
