"""The Solve page: ask, watch the steps appear, read the tree. Markup only; the behaviour is in app/static/solve.js."""

from core.formats import FORMATS

NAME = "solve"
TITLE = "Solve"
ROLE = "researcher"

_FORMATS = "".join(f"<option>{name}</option>" for name in FORMATS)

MARKUP = f"""
<h1 class="wl-visually-hidden">Solve</h1>
<div class="wl-notices" data-id="notices"></div>

<form class="wl-card wl-ask" data-id="ask" autocomplete="off">
  <div class="ask-row">
    <label class="grow"><span class="wl-visually-hidden">Question</span>
      <textarea data-id="question" rows="1" placeholder="Reach 24 from 4, 7, 8 and 8." aria-describedby="wl-model-note"></textarea>
    </label>
    <button type="submit" class="primary" data-id="run">Run</button>
    <button type="button" class="danger" data-id="stop" hidden>Stop</button>
  </div>
  <div class="ask-row small">
    <label class="strategy-choice" title="How compute is spent on the question: one answer as the model writes it, or a search">Strategy
      <select data-id="strategy"><option value="">One answer, as it is written</option></select></label>
    <div class="group" role="group" aria-label="Random problem">
      <button type="button" class="secondary" data-id="dice3" title="A random problem with three numbers">⚂ 3 numbers</button>
      <button type="button" class="secondary" data-id="dice4" title="A random problem with four numbers">⚃ 4 numbers</button>
    </div>
    <div class="examples" data-id="examples" role="group" aria-label="Examples"></div>
  </div>
  <div class="wl-strategy" data-id="strategy-fields" role="group" aria-label="Strategy" hidden></div>
  <details class="wl-controls" data-id="controls">
    <summary>Model, sampling, limits <span class="muted" data-id="controls-now"></span></summary>
    <div class="fields">
      <label class="wide">Model<select data-id="model"></select></label>
      <label>Temperature<input data-id="temperature" type="number" min="0" max="2" step="0.1" value="1"></label>
      <label>Top-p<input data-id="top_p" type="number" min="0.05" max="1" step="0.05" value="1"></label>
      <label>Seed<input data-id="seed" type="number" min="0" step="1" placeholder="random"></label>
      <label title="How the response is cut into steps">Format<select data-id="format"><option value="">found by itself</option>{_FORMATS}</select></label>
      <div class="sliders">
        <div class="slider" title="Before so many steps the model may not end its thinking">
          <label for="wl-min_steps">Least steps</label>
          <input type="range" class="hand" data-hand="min_steps" aria-label="Least steps, slider">
          <input id="wl-min_steps" data-id="min_steps" type="number" step="1" min="0" max="10000" value="0">
        </div>
        <div class="slider" title="After so many steps it is made to end its thinking">
          <label for="wl-max_steps">Most steps</label>
          <input type="range" class="hand" data-hand="max_steps" aria-label="Most steps, slider">
          <input id="wl-max_steps" data-id="max_steps" type="number" step="1" min="1" max="10000" value="60">
        </div>
        <div class="slider" title="The end of thinking is forced after so many tokens of it">
          <label for="wl-thinking_budget">Thinking budget, tokens</label>
          <input type="range" class="hand" data-hand="thinking_budget" aria-label="Thinking budget, tokens, slider">
          <input id="wl-thinking_budget" data-id="thinking_budget" type="number" step="1" min="1" max="100000" placeholder="no limit">
        </div>
        <div class="slider" title="The response is cut off after so many tokens; thinking and answer together">
          <label for="wl-max_tokens">Most tokens</label>
          <input type="range" class="hand" data-hand="max_tokens" aria-label="Most tokens, slider">
          <input id="wl-max_tokens" data-id="max_tokens" type="number" step="1" min="1" max="100000" value="3500">
        </div>
        <div class="slider" title="So often an end of thinking is taken back, and the model made to think on">
          <label for="wl-waits">Waits</label>
          <input type="range" class="hand" data-hand="waits" aria-label="Waits, slider">
          <input id="wl-waits" data-id="waits" type="number" step="1" min="0" max="100" value="0">
        </div>
      </div>
    </div>
    <p class="muted note">Models fine-tuned on the Train page join this list.</p>
  </details>
  <p class="muted note" id="wl-model-note" data-id="model-note"></p>
</form>

<section class="wl-card wl-earlier" data-id="earlier" aria-label="Earlier turns" hidden></section>

<section class="wl-status" data-id="status" aria-label="Run" hidden>
  <span class="state" data-id="state"></span>
  <dl class="counters">
    <div><dt>Steps</dt><dd data-id="n-steps">0</dd></div>
    <div><dt>Backtracks</dt><dd data-id="n-backtracks">0</dd></div>
    <div title="Tokens of the prompt. Given as summaries, earlier turns cost fewer than with their full thoughts."><dt>Prompt</dt><dd data-id="n-prompt">–</dd></div>
    <div><dt>Tokens</dt><dd data-id="n-tokens">0</dd></div>
    <div><dt>Tokens/s</dt><dd data-id="speed">–</dd></div>
    <div><dt>First token</dt><dd data-id="first-token">–</dd></div>
    <div><dt>Time</dt><dd data-id="seconds">–</dd></div>
  </dl>
  <div class="actions">
    <button type="button" class="secondary" data-id="resume" title="Let the model write on from exactly where this ends" hidden>Continue</button>
    <button type="button" class="secondary" data-id="ask-on-button" aria-expanded="false" aria-controls="wl-ask-on" title="Ask a question that follows this one" hidden>Ask on</button>
    <button type="button" class="secondary" data-id="score" hidden>Score steps</button>
    <a class="button secondary" data-id="save" hidden>Save as HTML</a>
    <a class="button secondary" data-id="rate" hidden>Rate this trace</a>
  </div>
  <p class="origin muted" data-id="origin" hidden></p>
  <div class="answer" data-id="answer-box" hidden><span class="verdict" data-id="verdict"></span><span class="text" data-id="answer"></span></div>
  <form class="ask-on" id="wl-ask-on" data-id="ask-on" autocomplete="off" hidden>
    <label class="grow">Ask on, of the model and with the limits above
      <textarea rows="1" placeholder="A question that follows"></textarea></label>
    <label class="how">Earlier turns
      <select><option value="summaries">summaries only</option><option value="full">with full thoughts</option></select></label>
    <button type="submit" class="primary">Ask</button>
  </form>
</section>

<div class="wl-split" data-id="split" hidden>
  <section class="wl-card list-card" aria-label="Steps">
    <div class="list-tools" data-id="list-tools" data-keyzone>
      <div class="jumps-row" data-id="jumps"></div>
      <div class="find" role="search">
        <input type="search" data-id="find" placeholder="Search in the trace" aria-label="Search in the trace" aria-keyshortcuts="/" spellcheck="false" autocomplete="off">
        <span class="found muted" data-id="found"></span>
        <button type="button" class="quiet" data-id="find-previous" aria-label="Previous match" title="Previous match (Shift+Enter)">↑</button>
        <button type="button" class="quiet" data-id="find-next" aria-label="Next match" title="Next match (Enter)">↓</button>
        <button type="button" class="quiet" data-id="help" aria-label="Keys" title="Keys (?)">?</button>
      </div>
    </div>
    <div id="wl-solve-list" data-id="list" data-keyzone></div>
    <button type="button" class="follow" data-id="follow" hidden>↓ Follow the newest step</button>
  </section>
  <section class="side">
    <div class="wl-card view-card">
      <div class="wl-tabs" role="tablist" aria-label="View">
        <button type="button" role="tab" id="wl-tab-overview" data-id="tab-overview" aria-controls="wl-panel-overview" aria-selected="true">Overview</button>
        <button type="button" role="tab" id="wl-tab-graph" data-id="tab-graph" aria-controls="wl-panel-graph" aria-selected="false" tabindex="-1">Graph</button>
        <span class="legend" data-id="legend"></span>
      </div>
      <div class="panel" role="tabpanel" id="wl-panel-overview" aria-labelledby="wl-tab-overview" data-id="overview" tabindex="0"></div>
      <div class="panel" role="tabpanel" id="wl-panel-graph" aria-labelledby="wl-tab-graph" data-id="graph" hidden></div>
    </div>
    <div class="wl-card under" tabindex="0" data-keyzone aria-label="Selected step, and how to go on from it">
      <div class="detail-card" data-id="detail" aria-label="Selected step"></div>
      <div class="wheel-card" data-id="wheel" aria-label="Go on from here" hidden></div>
    </div>
  </section>
</div>

<section class="wl-search" data-id="search" aria-label="Search" hidden>
  <div class="wl-status">
    <span class="state" data-id="search-state"></span>
    <span class="muted what" data-id="search-what"></span>
    <div class="actions"><button type="button" class="danger" data-id="search-stop" hidden>Stop the search</button>
      <a class="button secondary" data-id="search-nodes" download title="Every node with what it cost, as Parquet">Nodes as Parquet</a></div>
  </div>
  <dl class="wl-card counters ledger" data-id="search-ledger" aria-label="Ledger"></dl>
  <div class="wl-card chosen" data-id="search-choice" hidden></div>
  <div class="search-split">
    <section class="wl-card tree-card" aria-label="Tree">
      <div class="tree-tools">
        <span class="legend"><span class="key">Score 0 <i class="strip s0"></i><i class="strip s1"></i><i class="strip s2"></i><i class="strip s3"></i><i class="strip s4"></i> 1</span>
          <span class="key"><i class="shape eos"></i> finished</span><span class="key"><i class="shape pruned"></i> pruned</span><span class="key"><i class="shape chosen"></i> chosen</span></span>
        <span class="zooms" role="group" aria-label="Zoom">
          <button type="button" class="quiet" data-id="search-zoom-out" aria-label="Smaller" title="Smaller (-)">−</button>
          <button type="button" class="quiet" data-id="search-zoom-fit" title="All of it (0)">Fit</button>
          <button type="button" class="quiet" data-id="search-zoom-in" aria-label="Larger" title="Larger (+)">+</button>
        </span>
      </div>
      <div class="search-tree" data-id="search-tree" data-keyzone></div>
      <p class="muted note" data-id="search-most" hidden></p>
    </section>
    <section class="wl-card node-card" data-id="search-node" aria-label="Selected node" tabindex="0" data-keyzone></section>
  </div>
</section>

<section class="wl-card wl-empty" data-id="empty">
  <p>Ask a question, or roll the dice, and watch the model search: every step, every turn back.</p>
  <p class="muted">Traces that were made elsewhere can be imported on the <a href="/ui/data">Data page</a>, or sent to <a href="/api/docs">the API</a>.</p>
</section>

<section class="wl-card wl-recent" aria-labelledby="wl-recent-title">
  <h2 id="wl-recent-title">Recent runs, searches and traces</h2>
  <div data-id="recent"></div>
</section>
"""
