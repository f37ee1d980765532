// Fields for the parameters of a strategy or a scorer, as the server describes them, and what stands in them. Knows no form.

import { h } from "./dom.js";

/** A parameter's field with its label. name: the input's own name; value: what it begins with, the default where there is none. */
export function paramField(p, name, value = p.default) {
  const words = p.name.replaceAll("_", " ");
  const more = { name, required: p.needed };
  if (p.kind === "bool") return h("label", { class: "check", title: p.help }, h("input", { type: "checkbox", ...more, checked: Boolean(value) }), words);
  if (p.kind === "choice") {
    const select = h("select", more, p.one_of.map((v) => h("option", { value: String(v) }, String(v))));
    if (p.one_of.some((v) => String(v) === String(value))) select.value = String(value);
    return h("label", { title: p.help, class: "choice" }, words, select);
  }
  if (p.kind === "text") return h("label", { title: p.help, class: "wide" }, words, h("input", { type: "text", ...more, value, spellcheck: "false" }));
  return h("label", { title: p.help }, words, h("input", { type: "number", ...more, value, min: p.least, max: p.most, step: p.kind === "int" ? 1 : "any", placeholder: String(p.default) }));
}

/** What stands in the fields of `params` below `root`, whose names begin with `prefix`; a number that is left empty is left out. */
export function paramValues(params, root, prefix) {
  const read = (p) => {
    const field = root.querySelector(`[name="${prefix}${p.name}"]`);
    if (p.kind === "bool") return field.checked;
    if (p.kind === "choice") return p.one_of.find((v) => String(v) === field.value);
    if (p.kind === "text") return field.value;
    return field.value === "" ? undefined : Number(field.value);
  };
  return Object.fromEntries(params.map((p) => [p.name, read(p)]).filter(([, value]) => value !== undefined));
}
