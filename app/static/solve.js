// The Solve page: ask, follow the run, read the tree. The run belongs to the server; this page only shows it, so that a
// reload or a second browser shows the same.

import { get, poll, post } from "./api.js";
import { AskForm } from "./ask-form.js";
import { $, h, notice, param, plural, say, setParams } from "./dom.js";
import { failures } from "./failures.js";
import { GraphFrame } from "./graph-frame.js";
import { highlight, unmark } from "./highlight.js";
import { Keys, MOVES, READING } from "./keys.js";
import { readHistory } from "./label-history.js";
import { ListTools } from "./list-tools.js";
import { Overview } from "./overview.js";
import { setRaw, showsRaw } from "./reading.js";
import { recentRuns } from "./recent.js";
import { refinedChip, refinedCount, Refiner } from "./refine.js";
import { endingOf, RunStatus } from "./run-status.js";
import { StrategyForm } from "./search-form.js";
import { SearchView } from "./search-view.js";
import { scoreBand, scoreChip, stepDetail } from "./step-detail.js";
import { StepList } from "./steplist.js";
import { follow } from "./stream.js";
import { TraceModel, stepWord } from "./trace-model.js";
import { whenScored } from "./trace-scores.js";
import { treeViews } from "./tree-views.js";
import { Turns } from "./turns.js";
import { DONE_BY, Wheel } from "./wheel.js";
import { Family, outcomes } from "./worldlines.js";

const RECENT_EVERY_MS = 4000;
const URL_AFTER_MS = 250;
const FAMILY_EVERY_MS = 800; // while a fork is running that is not on screen

export async function mount(root) {
  const at = (id) => $(`[data-id="${id}"]`, root);
  const notices = at("notices");
  const failed = failures(notices);
  let model = new TraceModel();
  let runId = null;
  let stopFollowing = null;
  let visit = 0; // counts what was opened: a trace that arrives after something later was opened is not shown
  let pinned = false; // the reader chose a step: leave the selection alone while new ones come
  let scores = null; // {scorer, values}
  const family = new Family();
  let familyTimer = null;

  const toneOf = (step) => (step.other ? "other" : scores?.values[step.index] !== undefined ? `s${scoreBand(scores.values[step.index])}` : step.decision === "finish" ? "finish" : step.is_backtrack ? "back" : "plain");
  const list = new StepList(at("list"), {
    look: "compact",
    label: "Steps of the run",
    decorate: (step) => ({
      tone: step.is_backtrack ? "back" : step.decision === "finish" ? "finish" : "",
      classes: family.traceId === model.traceId && step.index < family.shared ? "shared" : "",
      chips: [refinedChip(step), forkChip(step.index), scores?.values[step.index] !== undefined ? scoreChip(scores.values[step.index], scores.scorer) : null],
    }),
    runChips: (steps) => [refinedCount(steps)],
    onSelect: (index, how) => {
      if (how !== "code") {
        pinned = true;
        rememberStep(index, how === "key" ? URL_AFTER_MS : 0);
      }
      if (how === "mouse") overview.select(index);
      else overview.followTo(index);
      drawDetail();
      tools.selected();
      graph.tell(index);
    },
  });
  // Browsers refuse more than about 100 URL changes in 30 s; a held key makes more.
  let urlTimer = null;
  const rememberStep = (index, wait) => {
    clearTimeout(urlTimer);
    const write = () => setParams({ step: index >= 0 ? index + 1 : null });
    if (wait) urlTimer = setTimeout(write, wait);
    else write();
  };
  const choose = (index) => {
    if (index >= model.steps.length) {
      const place = overview.model.at?.(index);
      if (place) openLine(place.traceId, family.line(place.traceId)?.state ?? "done", place.index);
      return;
    }
    list.select(index, "mouse");
    list.reveal(index);
  };
  const overview = new Overview(at("overview"), { toneOf, onSelect: choose });
  const bar = new RunStatus(root, { mark: (text) => highlight(text, tools.query) });
  const keys = new Keys(root, [...MOVES, ...READING], (action) => list.navigate(action) || read(action));
  const tools = new ListTools(at("list-tools"), { list, model: () => model, keys, redraw: markMatches, show: (index) => {
    pinned = true;
    list.select(index, "key");
    list.reveal(index, "center");
  } });
  at("help").addEventListener("click", () => keys.openSheet("Keys for reading"));

  function read(action) {
    if (action === "find") tools.focus();
    else if (action === "find-next" || action === "find-previous") tools.go(action === "find-next" ? 1 : -1);
    else if (action === "copy-link") at("detail").querySelector(".copy")?.click();
    else if (action === "help") keys.openSheet("Keys for reading");
    else if (action === "raw") {
      setRaw(!showsRaw());
      drawTexts();
      say(showsRaw() ? "Raw text" : "Rendered text");
    }
  }

  /** Mark what is searched for where it can be read: in the selected step and in the answer. */
  function markMatches() {
    for (const id of ["detail", "answer"]) {
      unmark(at(id));
      highlight(at(id), tools.query);
    }
  }

  function drawTexts() {
    drawDetail();
    bar.drawAnswer(model);
  }

  at("list").addEventListener("follow", (event) => {
    at("follow").hidden = event.detail || model.state !== "running";
  });
  at("follow").addEventListener("click", () => {
    pinned = false;
    setParams({ step: null });
    list.followNewest();
    at("follow").hidden = true;
  });

  function drawDetail() {
    const index = list.selected;
    const value = scores?.values[index];
    stepDetail(at("detail"), model, index, { goTo: choose, score: value === undefined ? null : { value, scorer: scores.scorer }, link: linkTo(index), redraw: drawTexts, after: (text) => highlight(text, tools.query), history: model.traceId && model.state !== "running" ? () => readHistory(model.traceId, index < 0 ? null : index) : null });
    highlight(at("detail"), tools.query);
    wheel.show(model, index, family, model.format);
  }

  function linkTo(index) {
    if (!model.traceId || index === null || index < 0) return null;
    return `${location.origin}${location.pathname}?${model.state === "running" ? "run" : "trace"}=${encodeURIComponent(model.traceId)}&step=${index + 1}`;
  }

  // ---------------------------------------------------------------- other world lines

  const wheel = new Wheel(at("wheel"), {
    onFork: (started) => {
      if (started.length === 1) openLine(started[0].run_id, "running");
      else loadFamily().then(() => at("wheel").scrollIntoView({ block: "nearest" }));
    },
    open: (traceId, state) => openLine(traceId, state),
    failed: (error) => failed("wheel", error),
    byHand: (made) => form.byHand(made),
    asWas: () => form.untouch(),
  });
  at("resume").addEventListener("click", () => wheel.resume());

  function openLine(traceId, state, index = null) {
    setParams({ run: state === "running" ? traceId : null, trace: state === "running" ? null : traceId, search: null, node: null, step: index === null ? null : index + 1 }, { push: true });
    route();
  }

  function forkChip(index) {
    const lines = family.traceId === model.traceId ? family.leaving(index) : [];
    return lines.length ? h("span", { class: "wl-chip fork", title: `Other world lines leave here: ${outcomes(lines).words}` }, `↱ ${lines.length}`) : null;
  }

  /** The other lines of the trace on screen; asked again while one of them is running. */
  async function loadFamily() {
    clearTimeout(familyTimer);
    const traceId = model.traceId;
    if (!traceId) return;
    try {
      const changed = await family.load(traceId);
      if (model.traceId !== traceId) return;
      if (changed) {
        list.touchAll();
        drawOverview();
        drawDetail();
        drawOrigin();
        drawLegend();
      }
      // What a run said when it ended may be judged otherwise since: a reference answer can come later.
      const own = family.line(traceId);
      if (own?.state === "done" && model.state === "done" && own.solved !== model.solved) {
        model.solved = own.solved;
        drawStatus();
      }
    } catch (error) {
      if (error.status !== 404) failed("family", error);
      return;
    }
    if (family.lines.some((l) => l.state === "running" && l.trace_id !== traceId)) familyTimer = setTimeout(loadFamily, FAMILY_EVERY_MS);
  }

  function drawOverview() {
    overview.model = family.traceId === model.traceId && family.lines.length > 1 ? family.merged(model) : model;
    overview.update();
  }

  function drawOrigin() {
    const origin = family.line(model.traceId)?.origin;
    at("origin").hidden = !origin || family.traceId !== model.traceId;
    if (at("origin").hidden) return;
    const state = family.line(origin.trace_id)?.state ?? "done";
    at("origin").replaceChildren("↱ ", DONE_BY[origin.action], ...(origin.action === "resume" ? [" where the text ended of "] : [" after ", stepWord(origin.step < 0 ? null : origin.step), " of "]),
      h("a", { href: `?trace=${encodeURIComponent(origin.trace_id)}`, onclick: (event) => { event.preventDefault(); openLine(origin.trace_id, state, Math.max(0, origin.step)); } }, "another world line"), ".");
  }

  const turns = new Turns({
    host: at("earlier"), form: at("ask-on"), button: at("ask-on-button"), ask: async (prompt, how) => (await run(prompt, how)) && (at("list").focus(), true),
    open: (traceId) => openLine(traceId, "done"), failed: (error) => failed("turns", error),
  });

  const refiner = new Refiner(at("status"), { redraw: drawTree, goTo: (index) => { choose(index); list.reveal(index, "center"); }, selected: () => list.selected, failed: (error) => failed("refine", error) });

  /** The same steps as another tree. */
  function drawTree() {
    const { scrollTop } = at("list");
    list.update({ moved: true });
    requestAnimationFrame(() => (at("list").scrollTop = scrollTop));
    tools.update();
    drawOverview();
    drawStatus();
    drawDetail();
  }

  // ---------------------------------------------------------------- the form

  const form = new AskForm(root, { notices, run: (prompt) => (strategy.chosen() ? seek(prompt) : run(prompt)), failed: (error) => failed("form", error), changed: () => wheel.drawSettings() });
  const strategy = new StrategyForm(root, { models: () => form.models(), failed: (error) => failed("form", error) });
  const search = new SearchView(root, { notices, put: (prompt) => form.put(prompt), ended: () => loadRecent().catch(() => {}), failed });

  /** Let a strategy search for the answer. */
  async function seek(prompt) {
    if (!at("ask").checkValidity()) at("controls").open = true; // what is wrong may lie in there
    if (!at("ask").reportValidity()) return;
    at("run").disabled = true;
    const { model: asked, temperature, top_p, seed, max_tokens, max_steps } = form.settings();
    try {
      const { search_id } = await post("/api/searches", { prompt, model: asked, temperature, top_p, seed, max_tokens, max_steps, ...strategy.chosen() });
      form.untouch();
      notice(notices, "form", "error", null);
      setParams({ search: search_id, run: null, trace: null, step: null, node: null }, { push: true });
      route();
      at("search").scrollIntoView({ block: "start" }); // the form above may fill the window
      loadRecent().catch(() => {});
    } catch (error) {
      failed("form", error);
    } finally {
      at("run").disabled = false;
    }
  }

  /** Ask; `after` and `earlier_as` make it a further turn of a conversation. True when the run has begun. */
  async function run(prompt, turn = {}) {
    at("run").disabled = true;
    try {
      const started = await post("/api/runs", { prompt, ...form.settings(), ...turn });
      form.untouch();
      notice(notices, "form", "error", null);
      setParams({ run: started.run_id, trace: null, search: null, node: null, step: null }, { push: true });
      watch(started.run_id);
      loadRecent().catch(() => {});
      return true;
    } catch (error) {
      failed("form", error);
      return false;
    } finally {
      at("run").disabled = false;
    }
  }

  async function stop() {
    at("stop").disabled = true;
    try {
      await post(`/api/runs/${encodeURIComponent(runId)}/stop`);
    } catch (error) {
      failed("stop", error);
    } finally {
      at("stop").disabled = false;
    }
  }

  // ---------------------------------------------------------------- a run on screen

  function begin() {
    search.hide();
    stopFollowing?.();
    stopFollowing = null;
    clearTimeout(urlTimer);
    clearTimeout(familyTimer);
    model = new TraceModel();
    scores = null;
    at("origin").hidden = true;
    for (const key of ["wheel", "family", "turns"]) notice(notices, key, "error", null);
    pinned = param("step") !== null;
    for (const id of ["status", "split"]) at(id).hidden = false;
    at("empty").hidden = true;
    at("follow").hidden = true;
    notice(notices, "connection", "warn", null);
    notice(notices, "gone", "warn", null);
    show("overview");
  }

  function watch(id) {
    visit += 1;
    begin();
    runId = id;
    model.state = "running";
    list.show(model);
    overview.show(model);
    tools.update();
    drawDetail();
    drawStatus();
    stopFollowing = follow(id, {
      event: (event) => {
        const change = model.apply(event);
        list.update(change);
        if (event.type !== "step_delta" && event.type !== "stats") drawOverview();
        if (event.type === "start") {
          putPrompt();
          loadFamily();
        }
        if (change.opened !== null && !pinned) list.select(change.opened);
        else if (change.changed !== null && change.changed === list.selected) drawDetail();
        restoreStep(change.opened);
        if (event.type === "done") finished();
        else if (event.type !== "step_delta") drawStatus();
        const turned = event.type === "step_open" ? event : event.type === "step_close" && change.moved ? event.step : null;
        if (turned?.is_backtrack) say(`Step ${turned.index + 1}, back to ${stepWord(turned.resumes)}`);
      },
      connected: () => notice(notices, "connection", "warn", null),
      lost: () => notice(notices, "connection", "warn", "Connection lost. The run goes on at the server; this page catches up as soon as it is back."),
      gone: () => runGone(id),
    });
  }

  function restoreStep(opened) {
    const wanted = Number(param("step")) - 1;
    if (pinned && opened !== null && opened === wanted && list.selected === null) {
      list.select(wanted);
      list.reveal(wanted, "center");
    }
  }

  function finished() {
    tools.update();
    drawOverview();
    loadFamily();
    drawStatus();
    drawDetail();
    at("follow").hidden = true;
    list.touch(model.steps.length - 1);
    say(`${endingOf(model)}. ${plural(model.steps.length, "step")}, ${plural(model.backtracks, "backtrack")}.`);
    loadRecent().catch(() => {});
    loadScores(model.traceId);
  }

  /** The server does not know the run any more (it was restarted): the trace itself is kept. */
  async function runGone(id) {
    const trace = param("trace") ?? id;
    try {
      await showTrace(trace);
    } catch {
      clear();
      notice(notices, "gone", "warn", `The run ${id} is not known to this server. Recent runs and traces are listed below.`);
    }
  }

  async function showTrace(traceId) {
    const mine = visit;
    const trace = await get(`/api/traces/${encodeURIComponent(traceId)}?lean=true`).catch((error) => {
      if (mine === visit) throw error;
    });
    if (mine !== visit) return; // something else was opened meanwhile
    begin();
    model = TraceModel.fromTrace(trace);
    list.show(model);
    overview.show(model);
    tools.update();
    const wanted = Number(param("step") ?? 1) - 1;
    list.select(model.steps[wanted] ? wanted : model.steps.length ? 0 : -1);
    list.reveal(list.selected);
    putPrompt();
    drawStatus();
    loadFamily();
    loadScores(trace.trace_id);
  }

  function clear() {
    search.hide();
    stopFollowing?.();
    model = new TraceModel();
    at("run").hidden = false;
    at("stop").hidden = true;
    turns.show(model);
    refiner.show(model);
    for (const id of ["status", "split"]) at(id).hidden = true;
    at("empty").hidden = false;
  }

  const loadScores = (traceId) => whenScored(traceId, () => model.traceId === traceId, takeScores);

  function takeScores(found) {
    scores = { scorer: found.scorer, values: found.values };
    at("score").hidden = true;
    list.touchAll();
    overview.update();
    drawLegend();
    drawDetail();
  }

  /** A run opened by its link shows what was asked; a question that is being typed stays. Once a run: who empties the box means it. */
  function putPrompt() {
    if (model.prompt && !model.earlier) form.put(model.prompt);
  }

  function drawStatus() {
    bar.draw(model, { scored: scores !== null });
    notice(notices, "run", "error", model.error || (model.finishReason === "error" ? "The run failed without saying why; the log of the server may tell." : null));
    notice(notices, "notes", "info", model.stats.notes?.length ? model.stats.notes.join(" ") : null);
    turns.show(model);
    refiner.show(model);
    drawLegend();
  }

  function drawLegend() {
    const item = (tone, words) => h("span", { class: "key" }, h("i", { class: `strip ${tone}` }), words);
    at("legend").replaceChildren(...(scores
      ? [h("span", { class: "key" }, "PRM 0", ...[0, 1, 2, 3, 4].map((n) => h("i", { class: `strip s${n}` })), "1")]
      : [item("plain", "step"), item("back", "after a backtrack"), item("finish", "finish"), family.traceId === model.traceId && family.lines.length > 1 ? item("other", "other world lines") : null].filter(Boolean)));
  }

  // ---------------------------------------------------------------- overview or graph

  const graph = new GraphFrame(at("graph"), { onSelect: choose, selected: () => list.selected });
  const show = treeViews(at, () => graph.draw(model));

  const loadRecent = recentRuns(at("recent"), {
    open: (link) => {
      setParams({ run: link.run ?? null, trace: link.trace ?? null, search: link.search ?? null, step: null, node: null }, { push: true });
      route();
      root.scrollIntoView({ block: "start" });
    },
    current: () => model.traceId ?? search.id,
  });

  // ---------------------------------------------------------------- start

  function route() {
    visit += 1;
    if (param("search")) {
      clear();
      at("empty").hidden = true;
      search.show(param("search"));
    } else if (param("run")) watch(param("run"));
    else if (param("trace")) showTrace(param("trace")).catch((error) => { clear(); failed("gone", error); });
    else clear();
  }

  at("stop").addEventListener("click", stop);
  at("score").addEventListener("click", async () => {
    at("score").disabled = true;
    try {
      const made = await post(`/api/traces/${encodeURIComponent(model.traceId)}/scores`);
      takeScores(made[0]);
    } catch (error) {
      failed("score", error);
    } finally {
      at("score").disabled = false;
    }
  });
  addEventListener("popstate", route);
  if (param("prompt")) form.put(param("prompt"), { instead: true });
  route();
  await form.load();
  await strategy.load();
  poll(loadRecent, RECENT_EVERY_MS);
}
