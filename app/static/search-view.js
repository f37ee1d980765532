// A search on the Solve page: its tree while it grows, what it spends, how the votes stand, the node that is read. The search belongs
// to the server; this only shows it, so a reload or a second browser shows the same.

import { get, post } from "./api.js";
import { $, framed, h, notice, number, param, plural, say, setParams } from "./dom.js";
import { UNCOUNTED, nodeDetail } from "./search-detail.js";
import { ENDINGS, SearchModel, flops, verdict } from "./search-model.js";
import { DRAWN_MOST, SearchTree } from "./search-tree.js";
import { follow } from "./stream.js";

const VOTES_SHOWN = 12;

export class SearchView {
  /** root: the page; put(prompt): into the box; ended(): the list of recent runs has news; failed(key, error). */
  constructor(root, { notices, put, ended, failed }) {
    this.at = (id) => $(`[data-id="search-${id}"]`, root);
    this.host = $('[data-id="search"]', root);
    Object.assign(this, { notices, put, ended, failed, id: null, model: new SearchModel(), stopFollowing: null, full: null });
    this.tree = new SearchTree(this.at("tree"), { onSelect: (node, how) => this.#select(node, how) });
    this.draw = framed(() => this.#draw());
    for (const [name, by] of [["in", 1], ["out", -1], ["fit", null]]) this.at(`zoom-${name}`).addEventListener("click", () => this.tree.scale(by));
    this.at("stop").addEventListener("click", () => this.#stop());
  }

  show(id) {
    this.hide();
    this.id = id;
    this.model = new SearchModel();
    this.host.hidden = false;
    this.at("nodes").href = `/api/searches/${encodeURIComponent(id)}/nodes.parquet`;
    this.tree.show(this.model);
    this.#draw();
    this.#detail(null);
    this.stopFollowing = follow(id, {
      noun: "searches",
      event: (event) => this.#event(event),
      connected: () => notice(this.notices, "connection", "warn", null),
      lost: () => notice(this.notices, "connection", "warn", "Connection lost. The search goes on at the server; this page catches up as soon as it is back."),
      gone: () => {
        this.hide();
        $('[data-id="empty"]').hidden = false;
        notice(this.notices, "gone", "warn", `There is no search ${id.slice(0, 40)} whose log is here. Recent runs, searches and traces are listed below.`);
      },
    });
  }

  hide() {
    this.stopFollowing?.();
    this.stopFollowing = null;
    this.id = null;
    this.full = null;
    this.host.hidden = true;
    for (const key of ["search", "keep"]) notice(this.notices, key, "error", null);
    for (const key of ["connection", "gone"]) notice(this.notices, key, "warn", null);
  }

  #event(event) {
    this.model.apply(event);
    if (event.type === "start") {
      this.put(this.model.prompt);
      this.tree.show(this.model);
    }
    const wanted = param("node") === null ? null : Number(param("node"));
    if (event.type === "node" && event.id === wanted && this.tree.selected === null) this.#select(wanted, "code");
    else if (event.type === "update" && event.id === this.tree.selected) this.#detail(this.full);
    if (event.type === "done") this.#done();
    this.tree.update();
    this.draw();
  }

  #done() {
    const { done } = this.model;
    if (this.tree.selected === null) this.#select(done.node ?? 0, "code");
    else this.#read(this.tree.selected);
    say(`${ENDINGS[done.reason] ?? "Ended"}. ${done.node === null ? "No answer was chosen." : `${verdict(done.right).slice(2)}.`} ${plural(this.model.nodes.length, "node")}.`);
    this.ended();
  }

  // ---------------------------------------------------------------- what stands beside the tree

  #draw() {
    const { model } = this;
    const { start, done, ledger, running } = model;
    const state = this.at("state");
    state.className = `state ${running ? "running" : done.reason === "error" ? "error" : "stop"}`;
    state.textContent = running ? (start ? "Searching" : "Waiting for the search") : (ENDINGS[done.reason] ?? "Ended");
    this.at("what").textContent = start ? `${start.strategy} · ${start.model}${start.executor ? ` + ${start.executor}` : ""} · ${start.scorer ? `scored by ${start.scorer}` : "without a scorer"} · seed ${start.seed}` : "";
    this.at("stop").hidden = !running || Boolean(start?.evaluation);
    const of = (name, words = number) => (start?.budget?.[name] ? ` of ${words(start.budget[name])}` : "");
    const rows = [
      ["Nodes", number(model.nodes.length)], ["Answers", number(model.answers), "Finished answers, copies included"],
      ["Read", number(ledger.prompt), "Tokens of prompts"], ["Cached", number(ledger.cached), "Of these, known to the engine already"],
      ["Written", number(ledger.generated), "Tokens that the model wrote"], ["Scorer", number(ledger.scorer), "Tokens that the scorer read"],
      ["Charged", `${number(ledger.tokens)}${of("tokens")}`, "Tokens written and read by the scorer: what a budget of tokens counts"],
      ["Solver", ledger.calls === undefined ? "–" : flops(ledger.solver_flops), "FLOPs, with the true context, what was cached left out"], ["Verifier", ledger.calls === undefined ? "–" : flops(ledger.scorer_flops), `FLOPs of the scorer${of("flops", flops) ? `; both together may cost ${flops(start.budget.flops)}` : ""}`],
      ["Wall", ledger.elapsed === undefined ? "–" : `${number(ledger.elapsed, 1)} s${of("seconds")}`, "Seconds by the clock, which a limit is about"],
      ["Waiting", `${number(ledger.seconds, 1)} s`, "For models, summed over requests side by side"], ["Requests", number(ledger.calls)],
    ];
    if (ledger.uncounted) rows.push(["Not counted", number(ledger.uncounted), UNCOUNTED]);
    this.at("ledger").replaceChildren(...rows.map(([label, value, title]) => h("div", { title }, h("dt", {}, label), h("dd", {}, value))));
    this.at("most").hidden = model.nodes.length <= DRAWN_MOST;
    this.at("most").textContent = `The first ${number(DRAWN_MOST)} of ${number(model.nodes.length)} nodes are drawn.`;
    this.#choice();
    notice(this.notices, "search", "error", model.error || null);
  }

  #choice() {
    const { done } = this.model;
    const host = this.at("choice");
    host.hidden = done === null;
    if (done === null) return;
    const votes = Object.entries(done.votes ?? {});
    const trace = done.trace_id ? encodeURIComponent(done.trace_id) : null;
    host.replaceChildren(...[
      h("div", { class: "chosen-head" },
        h("span", { class: `verdict ${done.right === true ? "good" : done.right === false ? "bad" : "none"}` }, done.node === null ? "○ No answer" : verdict(done.right)),
        h("span", { class: "text" }, done.answer || (done.node === null ? "" : "(no answer could be read)")),
        h("span", { class: "muted" }, done.why ?? ""),
        h("span", { class: "actions" },
          done.node === null ? null : h("button", { type: "button", class: "secondary", onclick: () => { this.#select(done.node, "mouse"); } }, "Show it in the tree"),
          trace ? h("a", { class: "button secondary", href: `?trace=${trace}` }, "Open the trace") : null,
          trace ? h("a", { class: "button secondary", href: `/ui/rate?trace=${trace}` }, "Rate it") : null)),
      votes.length > 1 ? h("ol", { class: "votes", "aria-label": "Votes" }, votes.slice(0, VOTES_SHOWN).map(([answer, share]) => h("li", { class: answer === done.answer ? "won" : "" },
        h("span", { class: "answer" }, answer || "(none read)"), h("span", { class: "track", "aria-hidden": "true" }, bar(share)), h("span", { class: "num" }, `${number(share * 100, share < 0.1 ? 1 : 0)} %`)))) : null,
      votes.length > VOTES_SHOWN ? h("p", { class: "muted" }, `and ${plural(votes.length - VOTES_SHOWN, "other answer")}`) : null,
    ].filter(Boolean));
  }

  // ---------------------------------------------------------------- the node that is read

  #select(node, how) {
    if (this.tree.selected !== node || how === "code") this.tree.select(node);
    if (how !== "code") setParams({ node });
    this.full = null;
    this.#read(node);
  }

  async #read(node) {
    const { id } = this;
    this.#detail(this.full);
    try {
      const full = await get(`/api/searches/${encodeURIComponent(id)}/nodes/${node}`);
      if (this.id !== id || this.tree.selected !== node) return;
      this.#detail(full);
    } catch (error) {
      if (this.id === id) this.failed("search", error);
    }
  }

  #detail(full) {
    this.full = full;
    const node = this.model.nodes[this.tree.selected];
    if (!node) {
      this.at("node").replaceChildren(h("p", { class: "muted" }, "Select a node to read it: click it, or walk the tree with the arrow keys."));
      return;
    }
    nodeDetail(this.at("node"), node, full, { select: (to) => this.#select(to, "mouse"), keep: () => this.#keep(node.id), redraw: () => this.#detail(this.full) });
  }

  async #keep(node) {
    try {
      const { trace_id } = await post(`/api/searches/${encodeURIComponent(this.id)}/nodes/${node}/keep`);
      if (this.tree.selected === node && this.full) this.#detail({ ...this.full, trace_id });
      this.ended();
    } catch (error) {
      this.failed("keep", error);
    }
  }

  async #stop() {
    this.at("stop").disabled = true;
    try {
      await post(`/api/searches/${encodeURIComponent(this.id)}/stop`);
    } catch (error) {
      this.failed("search", error);
    } finally {
      this.at("stop").disabled = false;
    }
  }
}

function bar(share) {
  const fill = h("span", { class: "fill" });
  fill.style.width = `${share * 100}%`;
  return fill;
}
