// Small DOM helpers. Every text goes in as a text node: there is no way through this module to put markup on the page.
// Knows nothing about traces, ratings or the API.

/** h("button", {class: "primary", onclick: f}, "Run") -> element. Strings become text nodes; null children are skipped. */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  setProps(element, props);
  for (const child of children.flat()) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

export function svg(tag, props = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(props)) {
    if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  for (const child of children.flat()) {
    if (child) element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return element;
}

function setProps(element, props) {
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined) continue;
    if (name.startsWith("aria-")) {
      element.setAttribute(name, String(value)); // "false" is a value of its own here
      continue;
    }
    if (value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else if (name === "value") element.value = value;
    else if (name === "dataset") Object.assign(element.dataset, value);
    else element.setAttribute(name, value === true ? "" : value);
  }
}

export function $(selector, root = document) {
  const found = root.querySelector(selector);
  if (!found) throw new Error(`The page has no ${selector}.`);
  return found;
}

/** Say something to screen readers without moving the focus; throttled, so that a stream does not chatter. */
let lastSaid = 0;
let pendingSay = null;
const SAY_EVERY_MS = 700;
export function say(text) {
  clearTimeout(pendingSay);
  const wait = Math.max(0, lastSaid + SAY_EVERY_MS - Date.now());
  pendingSay = setTimeout(() => {
    lastSaid = Date.now();
    let region = document.getElementById("wl-live");
    if (!region) {
      region = h("div", { id: "wl-live", class: "wl-visually-hidden", "aria-live": "polite" });
      document.body.append(region);
    }
    region.textContent = text;
  }, wait);
}

/** A message above the page's content. `kind`: error | warn | info | good. Returns the element; null text removes it. */
export function notice(host, key, kind, text, ...actions) {
  host.querySelector(`:scope > [data-notice="${key}"]`)?.remove();
  if (text === null) return null;
  const box = h(
    "div",
    { class: `wl-notice ${kind}`, role: kind === "error" ? "alert" : "status", dataset: { notice: key } },
    h("span", { class: "glyph", "aria-hidden": "true" }, { error: "✗", warn: "!", info: "i", good: "✓" }[kind]),
    h("span", { class: "text" }, text),
    ...actions,
    h("button", { class: "quiet close", type: "button", "aria-label": "Dismiss", onclick: () => box.remove() }, "×"),
  );
  host.append(box);
  return box;
}

/** Run `paint` once before the next frame however often it is asked for. */
export function framed(paint) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      paint();
    });
  };
}

export function number(value, digits = 0) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  return Number(value).toLocaleString("en", { maximumFractionDigits: digits, minimumFractionDigits: digits });
}

/** The two ends of an interval, "−0.014 to 0.074"; null for anything else. */
export function interval(found, digits = 3) {
  const two = Array.isArray(found) && found.length === 2 && found.every((v) => typeof v === "number");
  return two ? found.map((v) => number(v, digits).replace("-", "−")).join(" to ") : null;
}

export function plural(count, one, many = `${one}s`) {
  return `${number(count)} ${count === 1 ? one : many}`;
}

/** 3661 -> "1 h 01 min"; 65 -> "1 min 05 s"; 4.2 -> "4 s" */
export function duration(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "–";
  const s = Math.round(seconds);
  if (s < 60) return `${s} s`;
  const pad = (n) => String(n).padStart(2, "0");
  if (s < 3600) return `${Math.floor(s / 60)} min ${pad(s % 60)} s`;
  return `${Math.floor(s / 3600)} h ${pad(Math.floor((s % 3600) / 60))} min`;
}

/** "2026-11-20T12:00:00Z" -> "12:00" today, else "20 Nov 12:00", in the reader's time zone. */
export function when(iso) {
  if (!iso) return "";
  const date = new Date(iso);
  if (Number.isNaN(date.getTime())) return String(iso);
  const time = date.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
  if (date.toDateString() === new Date().toDateString()) return time;
  return `${date.toLocaleDateString("en-GB", { day: "numeric", month: "short" })} ${time}`;
}

/** Read and write the page's own URL parameters; null removes one. */
export function param(name) {
  return new URLSearchParams(location.search).get(name);
}
export function setParams(values, { push = false } = {}) {
  const url = new URL(location.href);
  for (const [name, value] of Object.entries(values)) {
    if (value === null || value === undefined || value === "") url.searchParams.delete(name);
    else url.searchParams.set(name, value);
  }
  if (url.href === location.href) return;
  history[push ? "pushState" : "replaceState"](history.state, "", url);
}

export function isTyping(target) {
  return target instanceof Element && target.closest("input:not([type=radio]):not([type=checkbox]):not([type=range]), textarea, select, [contenteditable]") !== null;
}
