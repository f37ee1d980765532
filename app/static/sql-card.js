// The SQL card: one read-only query over one snapshot, and its rows. The limits are the server's.

import { ApiError, post } from "./api.js";
import { table } from "./data-parts.js";
import { h, number, plural, say } from "./dom.js";

const NUMBERS = /^(U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|DOUBLE|FLOAT|DECIMAL.*)$/;

export function mountSql(at) {
  const form = at("sql");
  const text = at("sql-text");
  const select = at("sql-snapshot");
  const out = at("sql-result");

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    run();
  });
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      run();
    }
  });

  async function run() {
    const go = at("sql-go");
    if (go.disabled || !text.value.trim()) return text.focus();
    go.disabled = true;
    go.textContent = "Running …";
    out.setAttribute("aria-busy", "true");
    try {
      const found = await post(`/api/snapshots/${encodeURIComponent(select.value)}/sql`, { sql: text.value });
      const heads = found.columns.map((name, i) => (NUMBERS.test(found.types[i]) ? `n:${name}` : name));
      const rows = found.rows.map((row) => row.map((value) => (value === null ? h("span", { class: "muted" }, "null") : typeof value === "number" ? number(value, Number.isInteger(value) ? 0 : 4) : String(value))));
      const words = `${plural(found.rows.length, "row")}${found.cut ? " shown, there are more" : ""} · ${found.seconds.toFixed(2)} s`;
      out.replaceChildren(h("p", { class: "muted" }, words, " ", found.rows.length ? h("a", { href: csv(found), download: "answer.csv" }, "↓ CSV") : null), table(heads, rows, "The answer has no rows."));
      say(words);
    } catch (error) {
      if (!(error instanceof ApiError)) console.error(error);
      out.replaceChildren(h("p", { class: "wl-notice error", role: "alert" }, error.message));
    } finally {
      go.disabled = select.options.length === 0 || !select.value;
      go.textContent = "Run";
      out.removeAttribute("aria-busy");
    }
  }

  return {
    /** The snapshots that can be asked. */
    snapshots(found) {
      const now = select.value;
      select.replaceChildren(...(found.length ? found.map((s) => h("option", { value: s.snapshot_id }, `${s.name || s.snapshot_id} · ${plural(s.n_rows, "row")}`)) : [h("option", { value: "" }, "Nothing is frozen yet")]));
      if (found.some((s) => s.snapshot_id === now)) select.value = now;
      at("sql-go").disabled = found.length === 0;
    },
    open(snapshotId) {
      at("sql-card").open = true;
      select.value = snapshotId;
      at("sql-card").scrollIntoView({ block: "start" });
      text.focus();
    },
  };
}

/** What is shown, as a file: a cell that a spreadsheet would run as a formula is kept a text. */
function csv(found) {
  const cell = (value) => {
    const shown = value === null ? "" : String(value);
    const safe = typeof value === "string" && /^[=+\-@\t\r]/.test(shown) ? `'${shown}` : shown;
    return `"${safe.replaceAll('"', '""')}"`;
  };
  const lines = [found.columns, ...found.rows].map((row) => row.map(cell).join(","));
  return URL.createObjectURL(new Blob([lines.join("\r\n") + "\r\n"], { type: "text/csv;charset=utf-8" }));
}
