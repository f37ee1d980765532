// Who is logged in: the navigation shows what they may open, a button leads to their password and the way out, and a login that
// ends says so without taking the page away. Without accounts nothing of this is to be seen. Knows no page.

import { ApiError, get, LOGIN_NEEDED, post } from "./api.js";
import { $, h } from "./dom.js";

const ALONE = { rater_id: "local", role: "admin", accounts: false, pages: [] };

/** Whoever is here; true once `arrived()` has resolved. */
export let me = ALONE;

/** The name that stands under ratings: the account's, or the one that was typed on this machine. */
export const raterName = () => (me.accounts ? me.rater_id : localStorage.getItem("worldline.rater") || "local");

/** Resolves when `me` is known. Beside the loading of a page, not before it. */
export async function arrived() {
  try {
    me = await get("/api/me");
  } catch (error) {
    if (!(error instanceof ApiError)) throw error; // the page's own requests will say what is wrong
  }
  if (me.accounts) drawBar();
}

function drawBar() {
  const bar = document.querySelector(".nav-holder");
  if (!bar || bar.querySelector(".wl-account")) return;
  const mine = new Set(me.pages.map((page) => page.replace(/\/$/, "")));
  for (const link of bar.querySelectorAll("nav a")) link.hidden = !mine.has(new URL(link.href).pathname.replace(/\/$/, ""));
  bar.classList.add("with-account");
  bar.append(h("button", { type: "button", class: "wl-account", title: `Logged in as ${me.rater_id} (${me.role})`, "aria-haspopup": "dialog", onclick: openSheet },
    h("span", { class: "name" }, me.display_name), h("span", { class: "role" }, me.role)));
}

function openSheet() {
  const said = h("p", { class: "muted", role: "status" }, "At least 10 characters. Your other logins end.");
  const field = (name, words, autocomplete) => h("label", { class: "stack" }, words, h("input", { type: "password", name, autocomplete, maxlength: 256, required: true }));
  const form = h("form", { class: "account-form", onsubmit: change }, h("h3", {}, "Change the password"),
    h("input", { type: "text", autocomplete: "username", value: me.rater_id, hidden: true }), // so that a password manager knows whose it is
    field("old", "Password now", "current-password"), field("new", "New password", "new-password"), said, h("button", { type: "submit", class: "secondary" }, "Change it"));
  const sheet = h("dialog", { class: "wl-sheet wl-page account-sheet", "aria-label": "Your account" },
    h("div", { class: "wl-sheet-head" }, h("h2", {}, `${me.display_name}, ${me.role}`), h("button", { type: "button", class: "quiet", "aria-label": "Close", onclick: () => sheet.close() }, "×")),
    form, h("div", { class: "wl-sheet-foot" }, h("span", {}), h("button", { type: "button", class: "primary", onclick: leave }, "Log out")));

  async function change(event) {
    event.preventDefault();
    const button = $("button", form);
    button.disabled = true;
    try {
      await post("/api/me/password", { old: form.elements.old.value, new: form.elements.new.value });
      form.reset();
      said.textContent = "The password is changed.";
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      said.textContent = error.message;
    } finally {
      button.disabled = false;
    }
  }

  async function leave() {
    try {
      await post("/api/logout");
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (error.status !== 401) return void (said.textContent = error.message);
    }
    location.assign("/login");
  }

  sheet.addEventListener("close", () => sheet.remove());
  document.body.append(sheet);
  sheet.showModal();
}

// A login that ended while a page was open: what was rated waits in the browser, so the page stays and a new tab logs in.
let banner = null;

addEventListener(LOGIN_NEEDED, () => {
  if (banner || !me.accounts) return;
  const here = location.pathname + location.search;
  banner = h("div", { class: "wl-logged-out", role: "alert" }, h("span", {}, "Your login has ended. Nothing on this page is lost: log in, then go on here."),
    h("a", { class: "button primary", href: `/login?next=${encodeURIComponent(here)}`, target: "_blank" }, "Log in"));
  document.body.append(h("div", { class: "wl-page wl-logged-out-place" }, banner));
});

addEventListener("focus", async () => {
  if (!banner) return;
  try {
    const now = await get("/api/me");
    if (now.rater_id !== me.rater_id) location.reload(); // somebody else: this page is not theirs
    banner.parentElement.remove();
    banner = null;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
  }
});
