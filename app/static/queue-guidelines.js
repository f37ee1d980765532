// The guidelines of a queue: every version can be read, a new one is written beside its preview. Knows no request.

import { confirmed } from "./confirm.js";
import { h, when } from "./dom.js";
import { shownText } from "./reading.js";

const PREVIEW_AFTER_MS = 250;
const lines = (area) => area.value.split("\n").map((l) => l.trim()).filter(Boolean);

/** versions: of /api/queues/…/guidelines/versions, newest first; version: the one in force; unit: of the queue.
 *  save(body): keeps a new version. Returns {nodes, submit, mayLeave(): whether what is written may go, asked where it is in no version}. */
export function guidelinesForm({ versions, version, unit, save, said }) {
  const area = (name, value, rows, more = {}) => h("textarea", { name, rows, spellcheck: false, ...more, value });
  const text = area("guidelines", "", 12, { "aria-label": "Guidelines, Markdown", maxlength: 50000 });
  const types = area("error_types", "", 5, { placeholder: "the usual ones" });
  const tags = area("tags", "", 5, { placeholder: "the usual ones" });
  const criteria = area("criteria", "", 5, { placeholder: "clarity: Which is clearer?" });
  const preview = h("div", { class: "guide-preview", "aria-label": "Preview", role: "region", tabindex: 0 });
  const which = h("select", { name: "version" }, versions.map((v) => h("option", { value: v.version, selected: v.version === version }, `${v.version}${v.version === version ? " (in force)" : ""}, ${when(v.created_at)}${v.created_by ? ` by ${v.created_by}` : ""}`)));
  const button = h("button", { type: "submit", class: "primary" });
  let timer = null;
  let shownVersion = "";
  let stored = ""; // what the boxes held before anybody wrote

  const written = () => JSON.stringify([text, types, tags, criteria].map((box) => box.value));
  const mayLeave = async () => written() === stored || confirmed("Throw away what you wrote?", "These guidelines are saved as no version yet.", "Throw away");

  function fill() {
    shownVersion = which.value;
    const shown = versions.find((v) => v.version === Number(which.value)) ?? versions[0];
    text.value = shown?.guidelines ?? "";
    types.value = (shown?.questions.error_types ?? []).join("\n");
    tags.value = (shown?.questions.tags ?? []).join("\n");
    criteria.value = (shown?.questions.criteria ?? []).map((c) => `${c.name}: ${c.words}`).join("\n");
    button.textContent = `Save as version ${(versions[0]?.version ?? 0) + 1}`;
    stored = written();
    draw();
  }

  function draw() {
    clearTimeout(timer);
    preview.replaceChildren(...(text.value.trim() ? shownText(text.value) : [h("p", { class: "muted" }, "What raters read appears here.")]));
  }

  which.addEventListener("change", async () => {
    if (await mayLeave()) fill();
    else which.value = shownVersion;
  });
  text.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(draw, PREVIEW_AFTER_MS);
  });
  fill();
  const submit = async (event) => {
    event.preventDefault();
    button.disabled = true;
    await save({
      guidelines: text.value,
      ...(unit === "pair" ? { criteria: lines(criteria).map(criterion) } : { error_types: lines(types), tags: lines(tags) }),
    });
    button.disabled = false;
  };
  const list = (words, hint, box) => h("label", { class: "stack" }, words, h("small", { class: "muted" }, hint), box);
  const nodes = [
    h("label", { class: "inline" }, "Version ", which),
    h("div", { class: "guide-both" }, text, preview),
    h("div", { class: "guide-lists" }, unit === "pair"
      ? [list("Criteria", "one a line, name: words", criteria)]
      : [list("Kinds of error", "one a line; offered after a “bad”", types), list("Tags", "one a line; offered for the whole trace", tags)]),
    h("div", { class: "go" }, button, said, h("small", { class: "muted" }, "What is in raters' hands, and what was rated, keeps its version.")),
  ];
  return { nodes, submit, mayLeave };
}

/** "clarity: Which is clearer?" -> {name, words}; without a name, one is made of the words. */
function criterion(line) {
  const [, name, words] = /^([a-z][a-z0-9_]*)\s*:\s*(.+)$/.exec(line) ?? [];
  if (name) return { name, words };
  return { name: line.toLowerCase().replace(/[^a-z0-9]+/g, "_").replace(/^[^a-z]+|_+$/g, "").slice(0, 40), words: line };
}
