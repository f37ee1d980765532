// Keyboard shortcuts: one table of actions, the user's own changes to it, the help sheet, the off switch.
// Single keys work only while something marked data-keyzone has the focus (WCAG 2.1.4), never while typing; Ctrl+Enter and
// Ctrl+z work in the whole region. Knows nothing about what the actions do.

import { h, isTyping } from "./dom.js";

const STORE = "worldline.keys";

function load() {
  try {
    return { on: true, map: {}, ...JSON.parse(localStorage.getItem(STORE) ?? "{}") };
  } catch {
    return { on: true, map: {} };
  }
}

function save(settings) {
  try {
    localStorage.setItem(STORE, JSON.stringify(settings));
  } catch {
    /* a full or forbidden localStorage only costs the memory of these settings */
  }
}

export class Keys {
  /**
   * region: element; table: [[action, [key, …], words, group]]; run(action, event) is called synchronously for every press.
   */
  constructor(region, table, run) {
    this.region = region;
    this.table = table;
    this.run = run;
    this.settings = load();
    this.#index();
    region.addEventListener("keydown", (event) => this.#press(event));
  }

  #index() {
    this.byKey = new Map();
    for (const [action, keys] of this.table) {
      for (const key of this.keysOf(action, keys)) this.byKey.set(key, action);
    }
  }

  keysOf(action, standard = this.table.find((row) => row[0] === action)[1]) {
    const own = this.settings.map[action];
    return own ? [own, ...standard.slice(1)] : standard;
  }

  label(action) {
    return this.keysOf(action)[0];
  }

  #press(event) {
    if (event.isComposing || event.altKey) return;
    const withControl = event.ctrlKey || event.metaKey;
    if (withControl) {
      const action = this.byKey.get(`Ctrl+${event.key}`);
      if (!action || (event.key === "z" && isTyping(event.target))) return;
      event.preventDefault();
      if (!event.repeat || action === "undo") this.run(action, event);
      return;
    }
    if (!this.settings.on || isTyping(event.target) || !event.target.closest("[data-keyzone]")) return;
    const interactive = event.target instanceof Element ? event.target.closest("button, a, [role=radio], input, summary") : null;
    if (interactive && (event.key === "Enter" || event.key === " " || event.key.startsWith("Arrow"))) return;
    const action = this.byKey.get(event.key);
    if (!action) return;
    event.preventDefault();
    this.run(action, event);
  }

  /** A dialog with every key, each changeable, and the switch. */
  openSheet(title = "Keys") {
    const dialog = h("dialog", { class: "wl-sheet", "aria-label": title });
    const draw = () => {
      const groups = [...new Set(this.table.map((row) => row[3]))];
      dialog.replaceChildren(
        h("div", { class: "wl-sheet-head" }, h("h2", {}, title), h("button", { type: "button", class: "quiet", "aria-label": "Close", onclick: () => dialog.close() }, "×")),
        h("div", { class: "wl-sheet-body" }, groups.map((group) => h("section", {}, h("h3", {}, group), h("dl", {},
          this.table.filter((row) => row[3] === group).map(([action, standard, words]) => h("div", {},
            h("dt", {}, this.keysOf(action, standard).map((key) => h("kbd", {}, show(key))), this.#changer(action, standard, draw)), h("dd", {}, words))))))),
        h("div", { class: "wl-sheet-foot" },
          h("label", { class: "check" }, h("input", { type: "checkbox", checked: this.settings.on, onchange: (e) => this.#set({ ...this.settings, on: e.target.checked }) }), "Single keys are on (only while the step list has the focus)"),
          h("button", { type: "button", class: "secondary", onclick: () => { this.#set({ ...this.settings, map: {} }); draw(); } }, "Standard keys")),
      );
    };
    draw();
    dialog.addEventListener("close", () => {
      dialog.remove();
      this.region.querySelector("[role=tree]")?.focus({ preventScroll: true });
    });
    document.body.append(dialog);
    dialog.showModal();
  }

  #changer(action, standard, draw) {
    if (standard[0].startsWith("Ctrl")) return null;
    const button = h("button", { type: "button", class: "quiet change", "aria-label": `Change the key for ${action}` }, "change");
    button.addEventListener("click", () => {
      button.textContent = "press a key";
      const take = (event) => {
        event.preventDefault();
        event.stopPropagation();
        if (["Shift", "Control", "Alt", "Meta"].includes(event.key)) return;
        button.removeEventListener("keydown", take);
        if (event.key === "Escape") return draw();
        const other = this.byKey.get(event.key);
        if (other && other !== action) {
          button.textContent = `“${show(event.key)}” is taken`;
          return;
        }
        this.#set({ ...this.settings, map: { ...this.settings.map, [action]: event.key } });
        draw();
      };
      button.addEventListener("keydown", take);
    });
    return button;
  }

  #set(settings) {
    this.settings = settings;
    save(settings);
    this.#index();
    this.region.dispatchEvent(new CustomEvent("keyschanged"));
  }
}

const NAMES = { ArrowDown: "↓", ArrowUp: "↑", ArrowLeft: "←", ArrowRight: "→", " ": "Space" };
export function show(key) {
  return NAMES[key] ?? key;
}

/** The moves every step list has. */
export const MOVES = [
  ["next", ["j", "ArrowDown"], "next step", "Move"],
  ["previous", ["k", "ArrowUp"], "step before", "Move"],
  ["jump", ["b"], "along the backtrack, and back", "Move"],
  ["backtrack-next", ["u"], "next backtrack (U-turn)", "Move"],
  ["backtrack-previous", ["U"], "backtrack before", "Move"],
  ["branch-next", ["f"], "next branch point (fork)", "Move"],
  ["branch-previous", ["F"], "branch point before", "Move"],
  ["verify-next", ["y"], "next verification", "Move"],
  ["verify-previous", ["Y"], "verification before", "Move"],
  ["sibling-previous", ["["], "sibling branch before", "Move"],
  ["sibling-next", ["]"], "next sibling branch", "Move"],
  ["first", ["g", "Home"], "first step", "Move"],
  ["last", ["G", "End"], "last step", "Move"],
];

/** What can be done while reading, beside moving. */
export const READING = [
  ["find", ["/"], "search in the trace (Enter, Shift+Enter: matches; Esc: end)", "Read"],
  ["find-next", ["n"], "next match", "Read"],
  ["find-previous", ["N"], "match before", "Read"],
  ["fold", ["ArrowLeft"], "fold this straight run", "Read"],
  ["unfold", ["ArrowRight"], "unfold it", "Read"],
  ["fold-all", ["o"], "fold or unfold all straight runs", "Read"],
  ["raw", ["r"], "raw text or rendered", "Read"],
  ["copy-link", ["l"], "copy the link to this step", "Read"],
  ["help", ["?"], "this sheet", "Read"],
];
