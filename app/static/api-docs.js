// Renders /api/openapi.json as a page to read and to copy from. Everything becomes text nodes; nothing is fetched but that file.
// Knows no route.

const page = document.getElementById("page");
const contents = document.getElementById("contents");

function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** Paragraphs, numbered lists and `code`: as much Markdown as the descriptions use. */
function prose(text) {
  const box = el("div");
  for (const block of (text ?? "").trim().split(/\n\s*\n/)) {
    const lines = block.split("\n");
    if (lines.every((line) => /^\d+\. /.test(line))) {
      box.append(el("ol", {}, ...lines.map((line) => el("li", {}, ...inline(line.replace(/^\d+\. /, ""))))));
    } else if (block) box.append(el("p", {}, ...inline(lines.join(" "))));
  }
  return box;
}

const inline = (text) => text.split(/(`[^`]+`)/).map((part) => (/^`.+`$/.test(part) ? el("code", {}, part.slice(1, -1)) : part));

let schemas = {};
const resolve = (schema) => (schema?.$ref ? schemas[schema.$ref.split("/").pop()] ?? {} : schema ?? {});

function typeName(schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.anyOf) return schema.anyOf.map(typeName).join(" or ");
  if (schema.type === "array") return `list of ${typeName(schema.items) || "anything"}`;
  if (schema.type === "object" && schema.additionalProperties?.type) return `object of ${typeName(schema.additionalProperties)}`;
  return schema.type ?? "anything";
}

function example(schema, depth = 0) {
  if (!schema || depth > 5) return null;
  if (schema.example !== undefined) return schema.example;
  if (schema.examples?.length) return schema.examples[0];
  if (schema.default !== undefined) return schema.default;
  if (schema.$ref) return example(resolve(schema), depth + 1);
  if (schema.enum) return schema.enum[0];
  if (schema.anyOf) return example(schema.anyOf[0], depth + 1);
  if (schema.type === "array") return schema.items ? [example(schema.items, depth + 1)] : [];
  if (schema.type === "object" || schema.properties) {
    return Object.fromEntries(Object.entries(schema.properties ?? {}).map(([key, value]) => [key, example(value, depth + 1)]));
  }
  return { string: "…", integer: 0, number: 0, boolean: false, null: null }[schema.type] ?? null;
}

function limits(schema) {
  const words = [];
  for (const part of [schema, ...(schema.anyOf ?? [])]) {
    if (part.minimum !== undefined) words.push(`≥ ${part.minimum}`);
    if (part.exclusiveMinimum !== undefined) words.push(`> ${part.exclusiveMinimum}`);
    if (part.maximum !== undefined) words.push(`≤ ${part.maximum}`);
  }
  if (schema.default !== undefined) words.push(`default ${JSON.stringify(schema.default)}`);
  return words.join(", ");
}

function table(rows) {
  const body = rows.map(({ name, schema, description, required }) =>
    el("tr", {}, el("td", {}, el("code", {}, name), required ? "" : " ", required ? "" : el("span", { class: "muted" }, "optional")),
      el("td", { class: "muted" }, [typeName(schema), limits(schema)].filter(Boolean).join("; ")), el("td", {}, ...inline(description ?? ""))));
  return el("table", {}, el("tbody", {}, ...body));
}

function fieldsOf(schema) {
  const whole = resolve(schema?.type === "array" ? schema.items : schema);
  const rows = Object.entries(whole.properties ?? {}).map(([name, field]) => ({
    name, schema: field, description: field.description, required: whole.required?.includes(name),
  }));
  return rows.length ? table(rows) : null;
}

function curl(method, path, operation, body) {
  const query = (operation.parameters ?? []).filter((p) => p.in === "query" && p.required).map((p) => `${p.name}=…`).join("&");
  const parts = [`curl ${operation.responses?.[200]?.content?.["text/event-stream"] ? "-N " : ""}${location.origin}${path}${query ? `?${query}` : ""}`];
  if (body !== undefined) parts.push(`-H 'content-type: application/json'`, `-d '${JSON.stringify(body).replaceAll("'", "'\\''")}'`);
  else if (method === "POST") parts.push("-X POST");
  return parts.join(" \\\n  ");
}

function section(method, path, operation) {
  const id = `${method.toLowerCase()}-${path.replace(/[^a-z0-9]+/gi, "-")}`;
  const box = el("section", { id }, el("h3", {}, operation.summary ?? path),
    el("div", { class: "route" }, el("span", { class: "method" }, method), " ", el("code", {}, path)), prose(operation.description));
  const parameters = (operation.parameters ?? []).filter((p) => p.in !== "cookie");
  if (parameters.length) box.append(el("h4", {}, "Parameters"), table(parameters));
  const media = operation.requestBody?.content?.["application/json"];
  let body;
  if (media) {
    body = media.example ?? Object.values(media.examples ?? {})[0]?.value ?? example(media.schema);
    if (body && typeof body === "object" && !Array.isArray(body)) body = Object.fromEntries(Object.entries(body).filter(([, v]) => v !== null));
    box.append(el("h4", {}, "Body"));
    if (media.schema?.description) box.append(prose(media.schema.description));
    box.append(fieldsOf(media.schema?.anyOf ? media.schema.anyOf[0] : media.schema) ?? "");
  }
  box.append(el("pre", { tabindex: 0 }, curl(method, path, operation, body)));
  for (const [status, response] of Object.entries(operation.responses ?? {})) {
    const [type, content] = Object.entries(response.content ?? {})[0] ?? [null, null];
    const label = el("summary", {}, el("strong", {}, status), ` ${response.description ?? ""} `, el("span", { class: "muted" }, type ?? "no body"));
    const inside = [];
    if (content) {
      inside.push(fieldsOf(content.schema) ?? "");
      const shown = content.example ?? example(content.schema);
      if (shown !== null) inside.push(el("pre", { tabindex: 0 }, typeof shown === "string" ? shown : JSON.stringify(shown, null, 2)));
    }
    const details = el("details", {}, label, ...inside);
    if (status.startsWith("2")) details.open = true;
    box.append(details);
  }
  contents.append(el("a", { href: `#${id}` }, `${method} ${path.replace("/api", "")}`));
  return box;
}

async function render() {
  const api = await (await fetch("/api/openapi.json")).json();
  schemas = api.components?.schemas ?? {};
  page.replaceChildren(el("h1", {}, `${api.info.title} API `, el("span", { class: "muted" }, api.info.version)), prose(api.info.description),
    el("p", {}, "For programs: ", el("a", { href: "/api/openapi.json" }, "/api/openapi.json"), ". The pages: ", el("a", { href: "/ui/" }, "/ui/"), "."));
  let tag = null;
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const own = operation.tags?.[0] ?? "other";
      if (own !== tag) {
        tag = own;
        contents.append(el("h2", {}, tag));
        page.append(el("h2", { class: "tag" }, tag));
      }
      page.append(section(method.toUpperCase(), path, operation));
    }
  }
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

render().catch((error) => {
  page.replaceChildren(el("p", {}, `The description could not be read (${error.message}). Is Worldline still running?`));
});
