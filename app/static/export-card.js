// The export card of a snapshot: choose a format and what ratings become, see what that would hold, then write it.
// Every choice is asked of the server again; nothing is written before the button. Knows no format: the server describes them.

import { post } from "./api.js";
import { bars, counter, warnings, words } from "./data-parts.js";
import { h, number, plural, say } from "./dom.js";

const PAUSE_MS = 250; // after the last change, before the server is asked
const AGAIN_MS = 700; // a large snapshot is counted in the background: until it is asked again
const COLOURS = { good: "good", wanted: "good", bad: "bad", unwanted: "bad", neutral: "neutral", unsure: "unsure", unrated: "unrated", "no rating": "unrated" };

/** Put the card below a snapshot's row; an open one is replaced. */
export function openExport(row, info, formats) {
  row.querySelector(".export")?.remove();
  const base = `/api/snapshots/${encodeURIComponent(info.snapshot_id)}/exports`;
  const choose = h("select", { onchange: () => pick() }, formats.map((f, i) => h("option", { value: i }, words(f.format))));
  const summary = h("p", { class: "muted" });
  const options = h("div", { class: "fields options" });
  const plan = h("div", { class: "plan", "aria-live": "polite" });
  const done = h("div", { role: "status" });
  const write = h("button", { type: "button", class: "primary", disabled: true });
  const panel = h("section", { class: "export", "aria-label": `Export ${info.name || info.snapshot_id}` },
    h("div", { class: "fields" }, h("label", {}, "Export as", choose)), summary, options, plan,
    h("div", { class: "files" }, write, h("button", { type: "button", class: "quiet", onclick: () => panel.remove() }, "Close")), done);
  let format = null;
  let inputs = [];
  let turn = 0; // an answer to an earlier choice is not shown any more
  let timer = null;

  const body = () => ({ format: format.format, options: Object.fromEntries(inputs.map((i) => [i.name, i.value()]).filter(([, v]) => v !== undefined)) });

  function pick() {
    format = formats[Number(choose.value)];
    summary.textContent = format.summary;
    write.textContent = `Write ${words(format.format)} export`;
    inputs = format.options.map((option) => optionInput(option, later));
    options.replaceChildren(...inputs.map((i) => i.element));
    done.replaceChildren();
    look();
  }

  function later() {
    clearTimeout(timer);
    timer = setTimeout(look, PAUSE_MS);
  }

  async function look() {
    const mine = ++turn;
    write.disabled = true;
    plan.setAttribute("aria-busy", "true");
    if (!plan.childElementCount) plan.replaceChildren(h("p", { class: "muted" }, "Looking at what it would hold …"));
    try {
      const asked = body();
      let found = await post(`${base}/preview`, asked);
      for (; found.pending && mine === turn && panel.isConnected; found = await post(`${base}/preview`, asked)) {
        plan.replaceChildren(h("p", { class: "muted" }, "A large snapshot: being counted …"));
        await new Promise((done) => setTimeout(done, AGAIN_MS));
      }
      if (mine !== turn || found.pending) return;
      plan.replaceChildren(...shown(found, format).filter(Boolean));
      write.disabled = found.rows === 0;
    } catch (error) {
      if (mine === turn) plan.replaceChildren(h("p", { class: "wl-notice error", role: "alert" }, error.message));
    } finally {
      if (mine === turn) plan.removeAttribute("aria-busy");
    }
  }

  write.addEventListener("click", async () => {
    write.disabled = true;
    done.replaceChildren(h("p", { class: "muted" }, "Writing …"));
    const asked = body();
    try {
      const made = await post(base, asked);
      done.replaceChildren(h("p", {}, `✓ ${plural(made.rows, "row")} written to `, h("code", {}, made.folder)),
        h("div", { class: "files" }, made.files.map((f) => h("a", { class: "button secondary", href: `${base}/${asked.format}/${encodeURIComponent(f)}`, download: "" }, `↓ ${f}`))));
      say(`${made.rows} rows exported`);
    } catch (error) {
      done.replaceChildren(h("p", { class: "wl-notice error", role: "alert" }, error.message));
    } finally {
      write.disabled = false;
    }
  });

  row.append(panel);
  pick();
  choose.focus();
}

/** What an export would hold: counts, labels as bars, what is left out, warnings, the first rows, what is lost. */
function shown(found, format) {
  const figures = Object.entries(found.figures).filter(([, v]) => typeof v === "number" || typeof v === "string");
  const total = Object.values(found.histogram).reduce((a, b) => a + b, 0);
  const left = Object.entries(found.left_out);
  return [
    h("dl", { class: "counters" }, counter("Rows", found.rows), figures.map(([k, v]) => counter(words(k), typeof v === "number" && !Number.isInteger(v) ? v.toFixed(3) : v))),
    total ? bars(Object.entries(found.histogram).map(([name, n]) => [words(name), n, COLOURS[name] ?? "plain"]), total) : null,
    left.length ? h("p", { class: "muted" }, `Left out: ${left.map(([why, n]) => `${number(n)} ${why}`).join(", ")}.`) : null,
    warnings(found.warnings, "Nothing to warn of."),
    found.sample.length ? h("details", {}, h("summary", {}, found.rows > found.sample.length ? `The first ${plural(found.sample.length, "row")}` : `${plural(found.sample.length, "row")}, all of it`),
      found.sample.map((one) => h("pre", { class: "sample", tabindex: 0, "aria-label": "A row" }, JSON.stringify(one, null, 2)))) : null,
    format.cannot.length ? h("details", {}, h("summary", {}, "What this format cannot carry"), h("ul", { class: "plainlist" }, format.cannot.map((what) => h("li", {}, what)))) : null,
  ];
}

/** One option of an export format: a choice, a yes/no, a number or a text. Untouched options are not sent. */
function optionInput(option, changed) {
  let touched = false;
  const onchange = () => {
    touched = true;
    changed();
  };
  let input;
  let value;
  if (option.choices?.length) {
    input = h("select", { onchange }, option.choices.map((c, i) => h("option", { value: i }, words(String(c)))));
    input.value = String(option.choices.indexOf(option.default));
    value = () => option.choices[Number(input.value)];
  } else if (typeof option.default === "boolean") {
    input = h("select", { onchange }, h("option", { value: "true" }, "yes"), h("option", { value: "false" }, "no"));
    input.value = String(option.default);
    value = () => input.value === "true";
  } else {
    const isNumber = typeof option.default === "number";
    // A line break cannot stand in a field of one line: it is shown as \\n.
    input = h("input", { type: isNumber ? "number" : "text", value: isNumber ? option.default : String(option.default ?? "").replaceAll("\n", "\\n"), onchange });
    value = () => (isNumber ? Number(input.value) : input.value.replaceAll("\\n", "\n"));
  }
  const means = () => option.means?.[String(value()).toLowerCase()] ?? "";
  const hint = h("small", { class: "means" }, means());
  input.addEventListener("change", () => (hint.textContent = means()));
  return { name: option.name, element: h("label", {}, words(option.name), input, hint), value: () => (touched ? value() : undefined) };
}
