// The Accounts page: who may log in and as what, new passwords, invitations. Secrets (a password that was made, a link) are shown
// once, in a dialog, and kept nowhere. Names go in as text.

import { me } from "./account.js";
import { ApiError, get, patch, post, remove } from "./api.js";
import { $, h, notice, plural, say, when } from "./dom.js";
import { copy } from "./reading.js";

const ROLES = [
  ["rater", "rates and compares what queues give out"],
  ["adjudicator", "also reads every trace, settles where raters differ"],
  ["researcher", "also runs, imports, freezes, exports, trains"],
  ["admin", "also keeps the accounts"],
];

export async function mount(root) {
  const at = (id) => $(`[data-id="${id}"]`, root);
  const notices = at("notices");

  /** Do it, then draw anew; what is refused is said above the page. The answer, or null. */
  async function attempt(work, words) {
    notice(notices, "accounts", "error", null);
    try {
      const answer = await work();
      if (words) say(words);
      await draw();
      return answer ?? true;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      notice(notices, "accounts", "error", error.message);
      await draw().catch(() => {}); // a choice that was refused goes back to what counts
      return null;
    }
  }

  // ---------------------------------------------------------------- accounts

  async function draw() {
    const people = await get("/api/users");
    const admins = people.filter((p) => p.active && p.role === "admin").length;
    at("count").textContent = people.length ? `${plural(people.length, "account")}, ${plural(admins, "admin")}` : "There are no accounts: this workbench is one person's, on this machine. The first one must be an admin's; from then on everyone logs in.";
    const focused = document.activeElement?.dataset?.act;
    at("people").replaceChildren(...people.map(line));
    if (focused) root.querySelector(`[data-act="${CSS.escape(focused)}"]`)?.focus();
    at("invite-card").hidden = !people.length;
    if (people.length) await drawInvites();
    return people;
  }

  function line(one) {
    const path = `/api/users/${encodeURIComponent(one.name)}`;
    const self = one.name === me.rater_id;
    const act = (name, words, work, danger = false) => h("button", { type: "button", class: danger ? "danger" : "secondary", "aria-label": `${words}: ${one.name}`, dataset: { act: `${name} ${one.name}` }, onclick: work }, words);
    const role = h("select", { "aria-label": `Role of ${one.name}`, disabled: self, dataset: { act: `role ${one.name}` }, onchange: () => attempt(() => patch(path, { role: role.value }), `${one.name} is now ${role.value}`) }, ROLES.map(([name]) => h("option", { value: name, selected: name === one.role }, name)));
    const facts = [`since ${when(one.created_at)}`, one.active ? (one.logins ? plural(one.logins, "open login") : "not logged in") : "switched off"];
    return h("li", { class: one.active ? "" : "off" },
      h("span", { class: "who" }, h("b", {}, one.name), self ? " (you)" : "", h("small", {}, facts.join(" · "))), role,
      self ? null : h("span", { class: "acts" },
        act("reset", "New password", async () => {
          const made = await attempt(() => post(`${path}/password`));
          if (made) tell(`New password of ${one.name}`, made.password, "Pass it on now: it is shown this once. Open logins have ended.");
        }),
        act("end", "Log out", () => attempt(() => remove(`${path}/logins`), `${one.name} is logged out everywhere`)),
        one.active ? act("active", "Switch off", () => attempt(() => patch(path, { active: false }), `${one.name} is switched off`), true)
          : act("active", "Switch on", () => attempt(() => patch(path, { active: true }), `${one.name} is switched on`))));
  }

  // ---------------------------------------------------------------- a new one

  function drawAdd(first) {
    const name = h("input", { type: "text", name: "name", maxlength: 60, required: true, autocapitalize: "none", spellcheck: "false" });
    const password = h("input", { type: "password", name: "password", maxlength: 256, autocomplete: "new-password", placeholder: "empty: one is made" });
    const role = roles(first ? "admin" : "rater");
    role.disabled = first;
    at("add").replaceChildren(h("div", { class: "fields" }, h("label", { class: "wide" }, "Name", name), h("label", {}, "Role", role), h("label", { class: "wide" }, "Password", password)), about(role),
      h("div", { class: "go" }, h("button", { type: "submit", class: "primary" }, "Make the account")));
    at("add").onsubmit = async (event) => {
      event.preventDefault();
      const sent = { name: name.value, role: role.value, ...(password.value ? { password: password.value } : {}) };
      const made = await attempt(() => post("/api/users", sent), `${sent.name} has an account`);
      if (!made) return;
      const on = () => (first ? location.assign("/login?next=/ui/accounts") : drawAdd(false));
      if (made.made_password) tell(`Password of ${made.name}`, made.made_password, `Pass it on now: it is shown this once.${first ? " Then log in with it." : ""}`, on);
      else on();
    };
  }

  const roles = (chosen) => h("select", { name: "role" }, ROLES.map(([name]) => h("option", { value: name, selected: name === chosen }, name)));

  /** What the chosen role may do, in a line. */
  function about(role) {
    const words = h("p", { class: "muted" });
    const tell = () => { words.textContent = `${role.value}: ${ROLES.find(([name]) => name === role.value)[1]}.`; };
    role.addEventListener("change", tell);
    tell();
    return words;
  }

  // ---------------------------------------------------------------- invitations

  function drawInvite() {
    const role = roles("rater");
    const days = h("input", { type: "number", name: "days", min: 1, max: 90, step: 1, value: 7, required: true });
    at("invite").replaceChildren(h("div", { class: "fields" }, h("label", {}, "Role", role), h("label", {}, "Holds for, days", days)), about(role),
      h("div", { class: "go" }, h("button", { type: "submit", class: "primary" }, "Make a link")));
    at("invite").onsubmit = async (event) => {
      event.preventDefault();
      const made = await attempt(() => post("/api/invites", { role: role.value, days: Number(days.value) }));
      if (made) tell("Invitation", made.link, `Makes one account (${made.role}) until ${when(made.expires_at)}. It is shown this once.`);
    };
  }

  async function drawInvites() {
    const all = await get("/api/invites");
    const state = (one) => (one.used_by ? `taken by ${one.used_by}` : one.open ? `open until ${when(one.expires_at)}` : "ended");
    at("invites").replaceChildren(...all.slice(0, 20).map((one) => h("li", { class: one.open ? "" : "off" }, h("span", { class: "who" }, h("span", {}, one.role), h("small", {}, `by ${one.created_by} · ${state(one)}`)),
      one.open ? h("button", { type: "button", class: "secondary", "aria-label": `Withdraw the invitation of a ${one.role}, ${state(one)}`, onclick: () => attempt(() => remove(`/api/invites/${encodeURIComponent(one.invite_id)}`), "The invitation is withdrawn") }, "Withdraw") : null)));
  }

  const people = await draw();
  drawAdd(!people.length);
  drawInvite();
}

/** A secret, shown once. closed(): it was put away. */
function tell(title, secret, words, closed = () => {}) {
  const shown = h("code", { dataset: { secret: "" } }, secret);
  const button = h("button", { type: "button", class: "primary", onclick: async () => {
    const done = await copy(secret);
    if (!done) getSelection().selectAllChildren(shown); // no clipboard over plain http: it is marked, for Ctrl+C
    button.textContent = done ? "✓ Copied" : "Marked: copy it with Ctrl+C";
    say(button.textContent);
  } }, "Copy");
  const sheet = h("dialog", { class: "wl-sheet wl-page told", "aria-label": title },
    h("div", { class: "wl-sheet-head" }, h("h2", {}, title), h("button", { type: "button", class: "quiet", "aria-label": "Close", onclick: () => sheet.close() }, "×")),
    h("div", { class: "wl-sheet-body" }, h("p", {}, words), shown), h("div", { class: "wl-sheet-foot" }, h("span", {}), button));
  sheet.addEventListener("close", () => {
    sheet.remove();
    closed();
  });
  document.body.append(sheet);
  sheet.showModal();
  button.focus();
}
