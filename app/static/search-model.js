// A search while it goes on or when it is read back: its tree, what it spent, how it ended. And the words for all of that.
// Pure data: no DOM, no network.

import { number } from "./dom.js";

export const ENDINGS = { finished: "Finished", budget: "The budget is spent", cancelled: "Stopped", error: "Failed" };
const ENDS = {
  root: "the question", step: "a step", eos: "a finished answer", length: "cut off at a limit of tokens", empty: "an empty step",
};
const UNITS = ["", "k", "M", "G", "T", "P", "E", "Z"];

export class SearchModel {
  constructor() {
    this.start = null;
    this.nodes = []; // by id; 0 is the question
    this.ledger = {};
    this.done = null;
    this.error = "";
  }

  get prompt() {
    return this.start?.problem.prompt ?? "";
  }

  get running() {
    return this.done === null;
  }

  apply(event) {
    const { type, seq, ...rest } = event;
    if (type === "start") {
      this.start = rest;
      this.nodes = [{ id: 0, parent: null, path: "", text: "", end: "root", label: "", count: 1, tokens: 0, score: null, value: null, visits: 0, pruned: false, chosen: false, answer: null, right: null, ledger: {} }];
    } else if (type === "node") this.nodes[rest.id] = rest;
    else if (type === "update") Object.assign(this.nodes[rest.id] ?? {}, rest);
    else if (type === "ledger") this.ledger = rest;
    else if (type === "error") this.error = rest.error;
    else if (type === "done") {
      this.done = rest;
      this.ledger = rest.ledger;
      this.error = rest.error || this.error;
    }
  }

  /** How many answers were finished, copies included. */
  get answers() {
    return this.nodes.reduce((sum, n) => sum + (n.end === "eos" ? n.count : 0), 0);
  }
}

/** What a node is and what became of it, in words, for hovering and for screen readers. */
export function nodeWords(node) {
  const words = [node.id === 0 ? "The question" : `Node ${node.id}, ${node.label ? `${node.label}, ` : ""}${ENDS[node.end] ?? node.end}`];
  if (node.end === "eos") words.push(verdict(node.right).toLowerCase().slice(2));
  if (node.score !== null) words.push(`score ${node.score.toFixed(3)}`);
  if (node.value !== null) words.push(`value ${node.value.toFixed(3)}`);
  if (node.visits) words.push(`${number(node.visits)} visits`);
  if (node.count > 1) words.push(`${number(node.count)} equal ones`);
  if (node.chosen) words.push("on the chosen line");
  if (node.pruned) words.push("pruned");
  return words.join(", ");
}

export const endWords = (node) => ENDS[node.end] ?? node.end;

export function verdict(right) {
  return right === true ? "✓ Right" : right === false ? "✗ Not right" : "? Not checked";
}

/** 5914951296 -> "5.9 GFLOP"; null: the model's size is unknown. */
export function flops(value) {
  if (value === null || value === undefined) return "unknown";
  let at = 0;
  while (value >= 1000 && at < UNITS.length - 1) {
    value /= 1000;
    at += 1;
  }
  return `${number(value, value < 100 && at ? 1 : 0)} ${UNITS[at]}FLOP`;
}
