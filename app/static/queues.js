// The Queues page: choose a queue, see how far it is, change it, write its guidelines, release what is stuck.

import { me } from "./account.js";
import { ApiError, get, patch, post } from "./api.js";
import { $, h, notice, number, param, plural, say, setParams, when } from "./dom.js";
import { guidelinesForm } from "./queue-guidelines.js";
import { queueForm } from "./queue-form.js";

const PROGRESS_EVERY_MS = 10_000;
const path = (queue) => `/api/queues/${encodeURIComponent(queue.queue_id)}`;

export async function mount(root) {
  const at = (id) => $(`[data-id="${id}"]`, root);
  const notices = at("notices");
  let queues = [];
  let strategies = [];
  let current = null; // the queue that is shown; null: a new one is being made
  let form = null;
  let guide = null; // the guidelines on screen: those of `current`; null: none yet

  /** Run it; what it refuses is said above the page, or in `place`. */
  async function attempt(work, place = null) {
    try {
      notice(notices, "queues", "error", null);
      if (place) place.textContent = "";
      return await work();
    } catch (error) {
      if (!(error instanceof ApiError) && !(error instanceof Error && place)) throw error;
      if (!place) notice(notices, "queues", "error", error.message);
      else {
        place.className = "said bad";
        place.textContent = error.message;
        say(error.message);
      }
      return null;
    }
  }

  const listed = () => get(`/api/queues?archived=${at("archived").checked}`);
  const isShown = (queue) => (queue?.queue_id ?? null) === (current?.queue_id ?? null);
  /** Whether `queue` may take the page: guidelines that somebody is writing are not thrown away unasked. */
  const mayShow = async (queue) => isShown(queue) || guide === null || guide.mayLeave();

  /** Closed queues are listed too, or no longer; what is on screen stays where it is still listed. */
  async function relist() {
    const found = await listed();
    if (current === null || found.some(isShown)) {
      queues = found;
      return drawList();
    }
    if (await mayShow(found[0])) {
      queues = found;
      show(queues[0] ?? null);
    } else at("archived").checked = !at("archived").checked;
  }

  function drawList() {
    const held = at("list").contains(document.activeElement);
    at("list").replaceChildren(...queues.map((q) => h("li", {}, h("button", { type: "button", "aria-current": String(q.queue_id === current?.queue_id), onclick: async () => (await mayShow(q)) && show(q) }, q.title,
      h("small", {}, `${q.unit === "pair" ? "pairs" : "traces"}, ${q.overlap === null ? "any number of raters" : plural(q.overlap, "rater")}, ${titleOf(q.sampling)}${q.archived ? ", closed" : ""}`)))));
    at("new").setAttribute("aria-current", String(current === null));
    if (held) at("list").querySelector('[aria-current="true"]')?.focus();
  }

  const titleOf = (name) => strategies.find((s) => s.name === name)?.title.toLowerCase() ?? name;

  function show(queue, words = "") {
    if (!isShown(queue)) guide = null;
    current = queue;
    setParams({ queue: queue?.queue_id ?? null });
    drawList();
    for (const id of ["progress-card", "leases-card"]) at(id).hidden = true;
    at("guidelines-card").hidden = guide === null;
    at("settings-title").textContent = queue ? "Settings" : "New queue";
    drawSettings(words);
    if (!queue) return at("settings").elements.title.focus();
    at("title").textContent = queue.title;
    at("rate").hidden = queue.archived;
    at("rate").textContent = queue.unit === "pair" ? "Compare from it" : "Rate from it";
    at("rate").href = `/ui/${queue.unit === "pair" ? "compare" : "rate"}?queue=${encodeURIComponent(queue.queue_id)}`;
    drawProgress();
    if (guide === null) drawGuidelines();
  }

  // ---------------------------------------------------------------- settings

  function drawSettings(words) {
    form = queueForm(current, strategies);
    const said = h("span", { class: "said good", role: "status" }, words);
    const button = h("button", { type: "submit", class: "primary" }, current ? "Save the settings" : "Make the queue");
    at("settings").replaceChildren(...form.nodes.filter(Boolean), h("div", { class: "go" }, button, current ? "" : h("button", { type: "button", class: "secondary", onclick: () => show(queues[0] ?? null) }, "Cancel"), said));
    at("settings").onsubmit = async (event) => {
      event.preventDefault();
      button.disabled = true;
      await attempt(async () => {
        const changed = form.read();
        const saved = current ? await patch(path(current), changed) : await post("/api/queues", changed);
        const made = current === null;
        queues = await listed();
        show(queues.find((q) => q.queue_id === saved.queue_id) ?? saved, made ? "The queue is made. Raters see it now." : "Saved.");
      }, said);
      button.disabled = false;
    };
  }

  // ---------------------------------------------------------------- guidelines

  async function drawGuidelines(words = "") {
    const queue = current;
    const versions = await attempt(() => get(`${path(queue)}/guidelines/versions`));
    if (!versions || current !== queue) return;
    const said = h("span", { class: "said good", role: "status" }, words);
    guide = guidelinesForm({
      versions, version: queue.rubric_version, unit: queue.unit, said,
      save: (body) => attempt(async () => {
        const added = await post(`${path(queue)}/guidelines`, body);
        const shown = isShown(queue); // its settings may have been saved since: then `current` is what came back
        (shown ? current : queue).rubric_version = added.version;
        if (shown) await drawGuidelines(`Version ${added.version} is in force now.`);
      }, said),
    });
    at("guidelines").replaceChildren(...guide.nodes);
    at("guidelines").onsubmit = guide.submit;
    at("guidelines-card").hidden = false;
  }

  // ---------------------------------------------------------------- progress and leases

  async function drawProgress() {
    const queue = current;
    const found = await attempt(() => get(`${path(queue)}/progress`));
    if (!found || current !== queue) return;
    const part = (name, n) => {
      const bar = h("span", { class: name });
      bar.style.width = `${found.items ? (100 * n) / found.items : 0}%`;
      return bar;
    };
    const items = queue.unit === "pair" ? "pair" : "trace";
    const read = at("progress").querySelector(".table"); // who reads in it goes on at the same place
    const held = read !== null && read === document.activeElement;
    at("progress").replaceChildren(
      h("div", { class: "queue-bar", "aria-hidden": "true" }, part("complete", found.complete), part("under", found.under_way)),
      h("p", {}, found.items === 0 ? `No ${items} is in it. ${items === "pair" ? "Make some on the Compare page." : "Loosen the filter, or run and import more."}`
        : `${plural(found.items, items)}: ${number(found.complete)} complete, ${number(found.under_way)} under way, ${number(found.untouched)} untouched.`),
      found.note ? h("p", { class: "muted" }, found.note) : "",
      found.raters.length ? h("div", { class: "table", tabindex: "0", role: "region", "aria-label": "Progress of the raters" }, h("table", {},
        h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Rater"), ...["Submitted", "Left", "Extra", "In hand", "Minutes each"].map((w) => h("th", { scope: "col", class: "n" }, w)), h("th", { scope: "col" }, "Last seen"))),
        h("tbody", {}, found.raters.map((r) => h("tr", {}, h("td", {}, r.rater_id), ...[r.submitted, r.skipped, r.late, r.open].map((n) => h("td", { class: "n" }, number(n))),
          h("td", { class: "n" }, r.minutes_each === null ? "–" : number(r.minutes_each, 1)), h("td", {}, when(r.last_at))))))) : h("p", { class: "muted" }, "Nobody has begun."));
    at("progress-card").hidden = false;
    const fresh = at("progress").querySelector(".table");
    fresh?.scrollTo(read?.scrollLeft ?? 0, read?.scrollTop ?? 0);
    if (held) fresh?.focus({ preventScroll: true });
    drawLeases(found.leases);
  }

  function drawLeases(leases) {
    const may = me.role === "admin";
    at("leases-card").hidden = leases.length === 0;
    at("leases").replaceChildren(h("div", { class: "table", tabindex: "0", role: "region", "aria-label": "What is in hand" }, h("table", {},
      h("thead", {}, h("tr", {}, ["Rater", "Question"].map((w) => h("th", { scope: "col" }, w)), h("th", { scope: "col", class: "n" }, "Done in it"), ["Since", "Held until"].map((w) => h("th", { scope: "col" }, w)), may ? h("th", { scope: "col" }, h("span", { class: "wl-visually-hidden" }, "Release")) : "")),
      h("tbody", {}, leases.map((l) => h("tr", {}, h("td", {}, l.rater_id), h("td", { class: "prompt", title: l.prompt }, l.prompt), h("td", { class: "n" }, l.ahead ? "ahead" : number(l.n_events)),
        h("td", {}, when(l.leased_at)), h("td", {}, when(l.lease_expires_at)),
        may ? h("td", {}, h("button", { type: "button", class: "secondary", "aria-label": `Release what ${l.rater_id} has in hand`, title: "The place is free for another now; what was rated stays", onclick: (event) => release(l, event.currentTarget) }, "Release")) : ""))))));
  }

  async function release(lease, button) {
    button.disabled = true;
    await attempt(async () => {
      const { released } = await post(`/api/assignments/${encodeURIComponent(lease.assignment_id)}/release`);
      say(released ? `The place of ${lease.rater_id} is free.` : "The lease had ended already.");
      await drawProgress();
    });
  }

  at("new").addEventListener("click", async () => (await mayShow(null)) && show(null));
  at("archived").addEventListener("change", () => attempt(relist));
  await attempt(async () => {
    strategies = await get("/api/sampling");
    queues = await listed();
    show(queues.find((q) => q.queue_id === param("queue")) ?? queues[0] ?? null);
  });
  setInterval(() => {
    if (current && !document.hidden && !at("leases").contains(document.activeElement)) drawProgress();
  }, PROGRESS_EVERY_MS);
}
