// Text of a model as Markdown with formulas and code. What the model wrote never becomes markup by itself: formulas are
// taken out first (Markdown would eat their backslashes), raw HTML stays text, pictures become their alternative text, links
// become their text with the address in words, and what the libraries made is cleaned once more before it is placed.
// The libraries (vendored, see vendor/) are fetched when the first text needs them. Knows no trace.

import { h } from "./dom.js";

// Beyond this a step is shown as it was written: laying out a formula takes about a millisecond.
export const RICH_MOST = 20_000;

// What makes a text worth rendering: a formula, or a mark of Markdown that changes how it looks.
const FORMULA = /\$|\\[([]/;
const MARKDOWN = /```|~~~|`[^`\n]+`|\*\*\S|__\S|^\s{0,3}(?:#{1,6}\s|[-*+]\s|\d{1,3}[.)]\s|>)|^\s*\|.*\||(?:^|[^\w*])\*[^\s*][^*\n]*\*(?!\w)|\]\(|<[a-z!/]/im;

export function hasMarkup(text) {
  return text.length <= RICH_MOST && (FORMULA.test(text) || MARKDOWN.test(text));
}

let libraries = null;

function load() {
  libraries ??= Promise.all([
    import("./vendor/markdown-it/markdown-it.esm.min.mjs"), import("./vendor/dompurify/purify.es.mjs"),
    import("./vendor/katex/katex.min.js"), stylesheet("/static/vendor/katex/katex.min.css"),
  ]).then(([markdown, purify]) => {
    libraries.ready = { markdown: reader(markdown.default), purify: purify.default, katex: globalThis.katex };
    return libraries.ready;
  });
  libraries.catch(() => (libraries = null)); // asked again with the next text
  return libraries;
}

function stylesheet(href) {
  return new Promise((resolve, reject) => {
    document.head.append(h("link", { rel: "stylesheet", href, onload: resolve, onerror: () => reject(new Error(`${href} could not be read`)) }));
  });
}

/** markdown-it without raw HTML; pictures and links are kept as words, so that nothing is fetched and nothing followed. */
function reader(MarkdownIt) {
  const markdown = new MarkdownIt({ html: false, linkify: false, typographer: false, breaks: true });
  const { escapeHtml } = markdown.utils;
  const { rules } = markdown.renderer;
  rules.image = (tokens, i) => `<span class="was-image">${escapeHtml(tokens[i].content || "picture")} (${escapeHtml(tokens[i].attrGet("src") ?? "")})</span>`;
  rules.link_open = () => "<u>";
  rules.link_close = (tokens, i) => {
    let open = i;
    for (let depth = 0; open > 0; open -= 1) {
      if (tokens[open].type === "link_close") depth += 1;
      if (tokens[open].type === "link_open" && (depth -= 1) === 0) break;
    }
    return `</u> (${escapeHtml(tokens[open].attrGet("href") ?? "")})`;
  };
  return markdown;
}

/**
 * renderRich(text) -> an element. It shows the raw text until the libraries are there (at once, from the second time on)
 * and for ever where there is nothing to render. `after(element)` is called whenever its content has been placed.
 */
export function renderRich(text, after = () => {}) {
  const host = h("div", { class: "rich raw" }, text);
  if (!hasMarkup(text)) return host;
  if (libraries?.ready) place(host, text, libraries.ready);
  else load().then((ready) => host.textContent === text && (place(host, text, ready), after(host)), (error) => console.warn(`Shown as raw text: ${error.message}`));
  return host;
}

const TAGS = ["p", "br", "hr", "em", "strong", "s", "u", "code", "pre", "blockquote", "ul", "ol", "li", "h1", "h2", "h3", "h4", "h5", "h6",
  "table", "thead", "tbody", "tr", "th", "td", "span"];

function place(host, text, { markdown, purify, katex }) {
  const formulas = [];
  const marked = takeFormulas(text, formulas);
  const clean = purify.sanitize(markdown.render(marked), { ALLOWED_TAGS: TAGS, ALLOWED_ATTR: ["class", "start"], RETURN_DOM_FRAGMENT: true });
  putFormulas(clean, formulas, katex);
  host.classList.remove("raw");
  host.replaceChildren(clean);
}

// A formula's place in the text while Markdown reads it: characters of the private use area, which no rule of Markdown knows.
const OPEN = "\uE000";
const CLOSE = "\uE001";
const PLACE = new RegExp(`${OPEN}(\\d+)${CLOSE}`, "g");
// Code first: a dollar in it is a dollar. A single $ opens a formula only before a non-space and closes it only after one,
// with no digit behind it, so that "$5 and $6" stays money. A formula does not go over an empty line, unless displayed.
const PIECES = /(```[\s\S]*?(?:```|$)|~~~[\s\S]*?(?:~~~|$)|(`+)(?!`)[^\n]*?[^`]\2(?!`))|\$\$((?:\\[\s\S]|[^\\$])+?)\$\$|\\\[([\s\S]+?)\\\]|\\\(((?:(?!\n\s*\n)[\s\S])+?)\\\)|(?<![\\$\w])\$((?!\s)(?:\\.|[^\\$\n])+?)(?<!\s)\$(?![\d$])/g;

function takeFormulas(text, formulas) {
  const clear = text.replaceAll(OPEN, "\uFFFD").replaceAll(CLOSE, "\uFFFD");
  return clear.replace(PIECES, (all, code, ticks, dollars, brackets, parens, dollar) => {
    if (code !== undefined) return all;
    formulas.push({ source: all, tex: dollars ?? brackets ?? parens ?? dollar, display: dollars !== undefined || brackets !== undefined });
    return `${OPEN}${formulas.length - 1}${CLOSE}`;
  });
}

function putFormulas(root, formulas, katex) {
  const texts = [];
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) if (walker.currentNode.data.includes(OPEN)) texts.push(walker.currentNode);
  for (const node of texts) {
    const parts = node.data.split(PLACE).map((part, i) => (i % 2 ? formula(formulas[part], node, katex) : part));
    node.replaceWith(...parts.filter((part) => part !== ""));
  }
}

// Commands that would fetch, link or style: KaTeX refuses them without trust, but shows only their names.
const UNTRUSTED = /\\(?:href|url|includegraphics|html[a-zA-Z]*)(?![a-zA-Z])/;

function formula(found, node, katex) {
  if (!found || UNTRUSTED.test(found.tex) || node.parentElement?.closest("code")) return found?.source ?? "";
  const span = h("span", { class: `formula${found.display ? " display" : ""}`, dataset: { source: found.source } });
  try {
    // trust: no \href, \url, \includegraphics, \html…; the bounds keep a hostile formula from growing without end.
    katex.render(found.tex, span, { displayMode: found.display, throwOnError: false, trust: false, strict: "ignore", maxSize: 20, maxExpand: 300, errorColor: "currentColor" });
  } catch {
    span.textContent = found.source;
  }
  return span;
}
