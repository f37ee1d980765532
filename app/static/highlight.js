// Marks a text where it stands on the page, by splitting text nodes: what is marked stays text.

import { h } from "./dom.js";

const MARKS_MOST = 500; // in one element; nobody reads more, and a letter may occur a hundred thousand times

/** Put <mark> around every `query` in `root`. A formula is marked as a whole, by its source. Returns the first mark. */
export function highlight(root, query) {
  if (!query) return null;
  const pattern = new RegExp(query.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "giu");
  const wanted = query.toLowerCase();
  const nodes = [];
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_ALL, (node) => (
    node.nodeType === Node.TEXT_NODE ? NodeFilter.FILTER_ACCEPT : node.matches?.("button, .formula") ? NodeFilter.FILTER_REJECT : NodeFilter.FILTER_SKIP));
  while (walker.nextNode()) if (walker.currentNode.data.toLowerCase().includes(wanted)) nodes.push(walker.currentNode);
  for (const formula of root.querySelectorAll(".formula")) formula.classList.toggle("match", formula.dataset.source?.toLowerCase().includes(wanted) ?? false);
  let left = MARKS_MOST;
  for (const node of nodes) {
    const parts = [];
    let end = 0;
    for (const found of node.data.matchAll(pattern)) {
      if (left === 0) break;
      left -= 1;
      parts.push(node.data.slice(end, found.index), h("mark", {}, found[0]));
      end = found.index + found[0].length;
    }
    if (parts.length) node.replaceWith(...parts, node.data.slice(end));
  }
  return root.querySelector("mark, .formula.match");
}

/** Take the marks away again. */
export function unmark(root) {
  for (const mark of root.querySelectorAll("mark")) {
    const parent = mark.parentNode;
    mark.replaceWith(...mark.childNodes);
    parent.normalize();
  }
  for (const formula of root.querySelectorAll(".formula.match")) formula.classList.remove("match");
}
