// The import card of the Data page: a file or a pasted text goes to the server, which says what is in it; only then can it
// be imported. A file is sent as it is and never read here, so that its size does not matter to the page.
// Knows nothing of families and formats: the server names them.

import { ApiError, post } from "./api.js";
import { h, number, plural, say } from "./dom.js";

const MOST_BYTES = 64 * 1024 * 1024; // the server's limit of a body
const SHOWN_ERRORS = 20;
const MOST_IN_BOX = 100_000; // characters: a text box that holds millions stops the page for seconds
const SHOWN_IN_BOX = 2000;
const LOOKS_LIKE_JSON = /^\s*(?:\{\s*"|\[\s*\{)/;

/** `at(id)` finds the card's elements; `imported()` is called when traces were stored. */
export function mountImport(at, imported) {
  const out = at("import-result");
  const drop = at("drop");
  let turn = 0; // what is answered to an earlier choice is not shown any more
  let looked = null; // the file whose report is on screen

  const format = () => at("import-format").value;
  const path = (file, dryRun) => `/api/imports?${new URLSearchParams({ name: file.name.slice(-200), dry_run: String(dryRun), ...(format() ? { format: format() } : {}) })}`;

  /** Show `words` with the seconds that go by, until `work` is done. */
  async function waiting(words, work) {
    const began = Date.now();
    const line = h("p", { class: "muted result", role: "status" }, `${words} …`);
    out.replaceChildren(line);
    const timer = setInterval(() => {
      line.textContent = `${words} … ${Math.round((Date.now() - began) / 1000)} s`;
    }, 1000);
    try {
      return await work();
    } finally {
      clearInterval(timer);
    }
  }

  async function look(file) {
    const mine = ++turn;
    looked = file;
    if (!file.size) return fail(new Error(`${file.name} is empty; choose another file.`));
    if (file.size > MOST_BYTES) return fail(new Error(`${file.name} has ${megabytes(file.size)}; at most 64 MB can be sent. Use the terminal: worldline import ${file.name}`));
    try {
      const report = await waiting(`Reading ${file.name} (${megabytes(file.size)})`, () => post(path(file, true), file, { raw: true }));
      if (mine === turn) show(file, report);
    } catch (error) {
      if (mine === turn) fail(error);
    }
  }

  async function take(file, report) {
    const mine = ++turn;
    looked = null;
    try {
      const made = await waiting(`Importing ${plural(report.traces, "trace")} from ${file.name}`, () => post(path(file, false), file, { raw: true }));
      const words = `${plural(made.traces, "trace")} ${made.judgements ? `and ${plural(made.judgements, "judgement")} ` : ""}imported from ${file.name}.`;
      if (mine === turn) out.replaceChildren(h("p", { class: "result", role: "status" }, `✓ ${words}`), errors(made) ?? "");
      say(words);
    } catch (error) {
      if (mine === turn) fail(error);
    }
    imported();
  }

  function show(file, report) {
    const known = report.already_stored + report.twice_in_file;
    const go = h("button", { type: "button", class: "primary", dataset: { id: "import-go" }, disabled: report.traces + report.judgements === 0, onclick: () => take(file, report) },
      report.traces ? `Import ${plural(report.traces, "trace")}` : report.judgements ? `Import ${plural(report.judgements, "judgement")}` : "Nothing new to import");
    out.replaceChildren(h("div", { class: "report", role: "group", "aria-label": `What is in ${file.name}` },
      h("p", {}, h("b", {}, file.name), h("span", { class: "muted" }, " nothing is stored yet")),
      h("dl", { class: "counters" },
        counter("Rows", report.rows), counter("New traces", report.traces), counter("Steps", report.steps), counter("Backtracks", report.backtracks),
        known ? counter("Already stored", report.already_stored) : null, known ? counter("Twice in the file", report.twice_in_file) : null, report.judgements ? counter("Judgements", report.judgements) : null, report.references ? counter("Reference answers", report.references) : null, counter("Errors", report.n_errors)),
      listed("Rows read as", report.families), listed("Formats of the new traces", report.formats), listed("Judged traces by imported rater", report.raters),
      errors(report),
      h("div", { class: "acts" }, go, h("button", { type: "button", class: "quiet", onclick: forget }, "Discard"))));
    say(`${file.name}: ${plural(report.traces, "new trace")}, ${known} known already, ${plural(report.n_errors, "error")}.`);
  }

  function errors(report) {
    if (!report.n_errors) return null;
    const shown = report.errors.slice(0, SHOWN_ERRORS);
    const more = report.n_errors - shown.length;
    return h("div", { class: "table errors" }, h("table", {},
      h("caption", {}, `${plural(report.n_errors, "row")} cannot be read; the others can.`),
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Where"), h("th", { scope: "col" }, "What is wrong"))),
      h("tbody", {}, shown.map((sentence) => {
        const colon = sentence.indexOf(": ");
        return h("tr", {}, h("td", {}, sentence.slice(0, colon)), h("td", {}, sentence.slice(colon + 2)));
      }))), more > 0 ? h("p", { class: "muted" }, `… and ${number(more)} more.`) : null);
  }

  function fail(error) {
    if (error.constructor !== Error && !(error instanceof ApiError)) console.error(error);
    out.replaceChildren(h("p", { class: "wl-notice error", role: "alert" }, h("span", { class: "glyph", "aria-hidden": "true" }, "✗"), h("span", { class: "text" }, error.message)));
  }

  function several(count) {
    turn += 1;
    looked = null;
    fail(new Error(`${count} files were dropped, and none was read: drop one after the other, or use the terminal, worldline import FILE for each.`));
  }

  function forget() {
    turn++;
    looked = null;
    out.replaceChildren();
    at("file").focus();
  }

  // ---------------------------------------------------------------- where a file comes from

  at("file").addEventListener("change", (event) => {
    const [file] = event.target.files;
    if (file) look(file);
    event.target.value = ""; // the same file can be chosen again
  });
  at("import-format").addEventListener("change", () => {
    if (looked) look(looked);
  });
  for (const kind of ["dragover", "drop"]) document.addEventListener(kind, (event) => {
    // Beside the box the browser would open the file, and leave the page.
    if (event.dataTransfer?.types.includes("Files") && !event.target.closest("input")) event.preventDefault();
  });
  drop.addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    const { files } = event.dataTransfer;
    if (files.length > 1) return several(files.length);
    if (files.length) look(files[0]);
  });

  // A large paste is kept beside the box, which shows its beginning.
  const box = at("paste-text");
  let held = null;
  const note = h("p", { class: "muted", hidden: true });
  box.closest("label").after(note);
  box.addEventListener("paste", (event) => {
    const pasted = event.clipboardData.getData("text/plain");
    if (box.readOnly || pasted.length <= MOST_IN_BOX) return;
    event.preventDefault();
    held = box.value.slice(0, box.selectionStart) + pasted + box.value.slice(box.selectionEnd);
    box.value = held.slice(0, SHOWN_IN_BOX);
    box.readOnly = true;
    note.replaceChildren(`${number(held.length)} characters pasted; the first ${number(SHOWN_IN_BOX)} are shown. `, h("button", { type: "button", class: "quiet", onclick: empty }, "Remove"));
    note.hidden = false;
    say(note.firstChild.textContent);
  });
  function empty() {
    held = null;
    box.value = "";
    box.readOnly = false;
    note.hidden = true;
    box.focus();
  }

  at("paste").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = held ?? box.value;
    const question = at("paste-question").value.trim();
    if (!text.trim()) return box.focus();
    const isJson = !question && LOOKS_LIKE_JSON.test(text);
    if (!isJson && !question) {
      fail(new Error("A response needs its question: write what was asked above it."));
      return at("paste-question").focus();
    }
    // ".json" is read as one list, one object, or lines, whichever it is.
    look(new File([isJson ? text : JSON.stringify({ prompt: question, response: text })], "pasted.json"));
  });
}

function megabytes(bytes) {
  return bytes < 100_000 ? `${number(bytes / 1000, 1)} KB` : `${number(bytes / 1_000_000, 1)} MB`;
}

function counter(words, value) {
  return h("div", {}, h("dt", {}, words), h("dd", {}, number(value)));
}

function listed(words, counts) {
  const parts = Object.entries(counts).map(([name, n]) => `${name} ${number(n)}`);
  return parts.length ? h("p", { class: "muted" }, `${words}: ${parts.join(", ")}`) : null;
}
