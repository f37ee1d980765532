// Keyboard shortcuts: one table of actions, the user's own changes to it, the help sheet, the off switch.
// Single keys work only while something marked data-keyzone has the focus, and can be changed and switched off (WCAG 2.1.4);
// what goes with Ctrl or ⌘ works in the whole region, always. Knows nothing about what the actions do.

import { h, isTyping } from "./dom.js";

const STORE = "worldline.keys";
const LATIN = 127; // keys beyond belong to keyboards of other scripts
const IN_PAGE = new Set(["Enter", " ", "Backspace", "PageUp", "PageDown"]); // they press buttons and scroll
const BROWSERS = new Set([..."0123456789acfhjlnopqrtuvwx"]); // with Ctrl or ⌘: tabs, copying, printing …
const MODIFIERS = new Set(["Shift", "Control", "Alt", "AltGraph", "Meta", "CapsLock", "Dead", "Process"]);
const MAC = /Mac|iPhone|iPad/.test(navigator.platform);

function load() {
  try {
    const { on = true, map } = JSON.parse(localStorage.getItem(STORE)) ?? {};
    return { on, map: map && typeof map === "object" ? map : {} };
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
   * A key that is held down repeats moves and undo, nothing else: nobody means thirty ratings a second.
   */
  constructor(region, table, run) {
    this.region = region;
    this.table = table;
    this.run = run;
    this.repeats = new Set(["undo", "redo", ...table.filter((row) => row[3] === "Move" || row[0].startsWith("find-")).map((row) => row[0])]);
    this.settings = load();
    this.#index();
    region.addEventListener("keydown", (event) => this.#press(event));
    addEventListener("storage", (event) => event.key === STORE && this.#take(load())); // changed in another tab
  }

  /** Who has which key. A key that was changed on another page, and is taken here, leaves the action its standard key. */
  #index() {
    this.byKey = new Map();
    this.keys = new Map(this.table.map(([action]) => [action, []]));
    const own = (action) => this.settings.map[action];
    const give = (action, keys) => {
      const free = keys.filter((key) => !this.byKey.has(key));
      for (const key of free) this.byKey.set(key, action);
      this.keys.get(action).unshift(...free);
    };
    for (const [action, standard] of this.table) give(action, own(action) ? standard.slice(1) : standard);
    const changed = this.table.filter(([action]) => own(action));
    for (const [action] of changed) give(action, [own(action)]);
    for (const [action, standard] of changed) if (this.byKey.get(own(action)) !== action) give(action, [standard[0]]);
    this.region.classList.toggle("keys-are-off", !this.settings.on);
  }

  /** The key to show for an action; "" where it has none. */
  label(action) {
    return this.keys.get(action)?.[0] ?? "";
  }

  /** What aria-keyshortcuts says of an action; null while its keys are switched off. */
  aria(action) {
    const keys = (this.keys.get(action) ?? []).filter((key) => this.settings.on || key.startsWith("Ctrl+"));
    return keys.map(ariaName).join(" ") || null;
  }

  #press(event) {
    const named = nameOf(event);
    if (event.isComposing || named === null) return;
    const action = this.byKey.get(named) ?? this.byKey.get(placeOf(event));
    if (!action) return;
    if (named.startsWith("Ctrl+")) {
      if (named.toLowerCase() === "ctrl+z" && isTyping(event.target)) return; // the text's own undo
    } else {
      if (!this.settings.on || isTyping(event.target) || !event.target.closest("[data-keyzone]")) return;
      const interactive = event.target.closest("button, a, [role=radio], input, summary");
      if (interactive && (event.key === "Enter" || event.key === " " || event.key.startsWith("Arrow"))) return;
    }
    event.preventDefault();
    if (!event.repeat || this.repeats.has(action)) this.run(action, event);
  }

  /** A dialog with every key, each changeable, and the switch. The focus goes back to where it was. */
  openSheet(title = "Keys") {
    const before = document.activeElement;
    const dialog = h("dialog", { class: "wl-sheet", "aria-label": title });
    const said = h("p", { class: "said muted", role: "status" });
    const list = h("div", { class: "wl-sheet-body" });
    const groups = [...new Set(this.table.map((row) => row[3]))];
    const draw = () => list.replaceChildren(...groups.map((group) => h("section", {}, h("h3", {}, group), h("dl", {}, this.table.filter((row) => row[3] === group).map(([action, , words]) => h("div", {},
      h("dt", {}, this.keys.get(action).map((key) => h("kbd", {}, show(key))), this.#changer(action, words, draw, said)), h("dd", {}, words)))))));
    draw();
    dialog.append(
      h("div", { class: "wl-sheet-head" }, h("h2", {}, title), said, h("button", { type: "button", class: "quiet", "aria-label": "Close", onclick: () => dialog.close() }, "×")),
      list,
      h("div", { class: "wl-sheet-foot" },
        h("label", { class: "check" }, h("input", { type: "checkbox", checked: this.settings.on, onchange: (e) => this.#set({ ...this.settings, on: e.target.checked }) }),
          `Single keys are on. They work while the step list has the focus; what goes with ${control()} always works.`),
        h("button", { type: "button", class: "secondary", onclick: () => {
          this.#set({ ...this.settings, map: {} });
          draw();
          said.textContent = "The keys are the standard ones again.";
        } }, "Standard keys")),
    );
    dialog.addEventListener("close", () => {
      dialog.remove();
      const back = before && before !== document.body && before.isConnected ? before : this.region.querySelector("[role=tree]");
      back?.focus({ preventScroll: true });
    });
    document.body.append(dialog);
    dialog.showModal();
  }

  #changer(action, words, draw, said) {
    const button = h("button", { type: "button", class: "quiet change", "aria-label": `Change the key: ${words}`, dataset: { change: action } }, "change");
    const stop = () => {
      button.removeEventListener("keydown", take);
      button.removeEventListener("blur", stop);
      button.textContent = "change";
    };
    const take = (event) => {
      if (event.key === "Tab") return; // the way on, as everywhere
      event.preventDefault();
      event.stopPropagation();
      if (MODIFIERS.has(event.key)) return;
      if (event.key === "Escape") {
        said.textContent = "";
        return stop();
      }
      const key = nameOf(event);
      const refused = this.#refusal(action, key);
      said.textContent = refused ?? `${show(key)} is now: ${words}.`;
      if (refused) return;
      this.#set({ ...this.settings, map: { ...this.settings.map, [action]: key } });
      draw();
      said.closest("dialog").querySelector(`[data-change="${action}"]`)?.focus();
    };
    button.addEventListener("click", () => {
      button.textContent = "press a key";
      said.textContent = "Press the new key, or Esc to leave it.";
      button.addEventListener("keydown", take);
      button.addEventListener("blur", stop);
    });
    return button;
  }

  /** Why an action cannot have this key, in a sentence; null: it can. */
  #refusal(action, key) {
    if (key === null) return "Keys with Alt belong to the system. Press another one.";
    const withControl = key.startsWith("Ctrl+");
    const bare = withControl ? key.slice(5) : key;
    const other = this.byKey.get(key);
    if (other && other !== action) return `${show(key)} is taken: ${this.#words(other)}. Press another one.`;
    if (!withControl && IN_PAGE.has(key)) return `${show(key)} presses buttons and scrolls. Press another one.`;
    if (withControl && BROWSERS.has(bare.toLowerCase())) return `${show(key)} belongs to the browser. Press another one.`;
    if (!withControl && this.table.find((row) => row[0] === action)[1][0].startsWith("Ctrl+")) return `This needs ${control()} with a key, so that it works while single keys are off.`;
    return null;
  }

  /** What an action does, also where its row goes on from the one before ("… no"). */
  #words(action) {
    const at = this.table.findIndex((row) => row[0] === action);
    const words = this.table[at][2];
    return words.startsWith("…") ? `${this.table[at - 1][2]} ${words}` : words;
  }

  #set(settings) {
    save(settings);
    this.#take(settings);
  }

  #take(settings) {
    this.settings = settings;
    this.#index();
    this.region.dispatchEvent(new CustomEvent("keyschanged"));
  }
}

/**
 * A press as the tables name it: "j", "J", "ArrowDown", "Ctrl+Enter" (⌘ is Ctrl); null with Alt. AltGr, which writes [ and ] on
 * many keyboards and looks like Ctrl+Alt to Windows, is no Ctrl; caps lock does not make "J" of "j".
 */
function nameOf(event) {
  const graph = event.getModifierState("AltGraph");
  if (event.altKey && !graph) return null;
  let { key } = event;
  if (event.getModifierState("CapsLock") && /^[a-z]$/i.test(key)) key = event.shiftKey ? key.toUpperCase() : key.toLowerCase();
  return !graph && (event.ctrlKey || event.metaKey) ? `Ctrl+${key}` : key;
}

/** What stands at this place of a Latin keyboard, where the key itself is of another script or a digit needs Shift. */
function placeOf(event) {
  const [, kind, sign] = /^(Key|Digit)(.)$/.exec(event.code) ?? [];
  if (!kind || event.ctrlKey || event.metaKey || event.altKey || event.getModifierState("AltGraph")) return null;
  if (kind === "Digit") return event.shiftKey ? null : sign;
  if (event.key.length !== 1 || event.key.charCodeAt(0) <= LATIN) return null;
  return event.shiftKey ? sign : sign.toLowerCase();
}

const NAMES = { ArrowDown: "↓", ArrowUp: "↑", ArrowLeft: "←", ArrowRight: "→", " ": "Space", "": "–" };
const control = () => (MAC ? "⌘" : "Ctrl");

/** A key as people read it. */
export function show(key) {
  if (!key.startsWith("Ctrl+")) return NAMES[key] ?? key;
  const bare = key.slice(5);
  return `${control()}+${/^[A-Z]$/.test(bare) ? `Shift+${bare.toLowerCase()}` : (NAMES[bare] ?? bare)}`;
}

/** "Ctrl+Z" → "Control+Shift+Z", as aria-keyshortcuts wants it. */
function ariaName(key) {
  const withControl = key.startsWith("Ctrl+");
  const bare = withControl ? key.slice(5) : key;
  return `${withControl ? (MAC ? "Meta+" : "Control+") : ""}${/^[A-Z]$/.test(bare) ? "Shift+" : ""}${bare}`;
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
