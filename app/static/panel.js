// The panel under the step list: one thing at a time that needs more than a key (what is wrong with a step, a better step,
// how many steps to rate alike). It stands outside the rows, so that nothing that is written in it is lost when a row is drawn
// anew, and the list does not move. Knows no rating.

import { h } from "./dom.js";

export class Panel {
  /** host: an empty element; closed(focus) after it was closed: whether the list should have the focus again. */
  constructor(host, closed) {
    Object.assign(this, { host, closed, name: null, content: null });
    host.hidden = true;
    host.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || event.isComposing) return;
      event.preventDefault();
      event.stopPropagation();
      this.close();
    });
  }

  /** content: {name, title, body: Node[], keep(), redraw(), focus()}; keep: before it closes, false: what is written cannot be kept. */
  show(content) {
    if (!this.close(false)) return;
    this.name = content.name;
    this.content = content;
    this.host.setAttribute("aria-label", content.title);
    this.host.replaceChildren(
      h("div", { class: "panel-head" }, h("h2", {}, content.title), h("button", { type: "button", class: "secondary", onclick: () => this.close() }, "Done", h("kbd", { "aria-hidden": "true" }, "Esc"))),
      h("div", { class: `panel-body ${content.name}` }, content.body));
    this.host.hidden = false;
    content.focus();
  }

  /** What is written in it is kept first; false: it cannot be, and the panel stays. */
  close(focus = true) {
    if (this.name === null) return true;
    if (this.content.keep?.() === false) {
      this.content.focus();
      return false;
    }
    this.drop();
    this.closed(focus);
    return true;
  }

  /** Away with it: another trace is there. */
  drop() {
    this.name = this.content = null;
    this.host.hidden = true;
    this.host.replaceChildren();
  }

  /** The judgements have changed under it (an undo). */
  update() {
    this.content?.redraw?.();
  }
}
