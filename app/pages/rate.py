"""The Rate page: judge every step and every turn back of a trace. Markup only; the behaviour is in app/static/rate.js."""

NAME = "rate"
TITLE = "Rate"
ROLE = "rater"

MARKUP = """
<h1 class="wl-visually-hidden">Rate</h1>
<div class="wl-notices" data-id="notices"></div>

<section class="wl-rate-empty wl-card" data-id="empty" hidden>
  <h2 data-id="empty-title"></h2>
  <p data-id="empty-text"></p>
  <div class="actions" data-id="empty-actions"></div>
</section>

<div class="wl-rate" data-id="work" hidden>
  <header class="wl-problem" data-id="problem-bar">
    <div class="problem-text"><span class="label">Problem</span><div class="text" data-id="prompt" tabindex="0" role="region" aria-label="Problem"></div></div>
    <div class="problem-text answer"><span class="label">Answer</span><div class="text" data-id="answer" tabindex="0" role="region" aria-label="Answer"></div></div>
    <div class="problem-text answer" data-id="reference-box" hidden><span class="label">Reference</span><div class="text" data-id="reference" tabindex="0" role="region" aria-label="Reference"></div></div>
    <div class="progress">
      <span data-id="progress"></span>
      <span class="meter" aria-hidden="true"><span data-id="meter"></span></span>
      <span class="rater">Rater <button type="button" class="quiet" data-id="rater" title="Change the rater's name"></button></span>
    </div>
    <div class="queue-head">
      <label data-id="queue-pick" hidden>Queue <select data-id="queue"></select></label>
      <button type="button" class="secondary" data-id="guidelines-button" aria-expanded="false" aria-controls="wl-guidelines">Guidelines</button>
      <span class="muted" data-id="pace"></span>
      <span class="muted" data-id="sampling-note" hidden></span>
    </div>
    <div class="guidelines" id="wl-guidelines" data-id="guidelines" role="region" aria-label="Guidelines" tabindex="0" hidden></div>
  </header>

  <div class="wl-rate-columns">
    <section class="wl-card list-card" aria-label="Steps to rate">
      <div class="same-words" data-id="same" role="status"></div>
      <div id="wl-rate-list" data-id="list" data-keyzone></div>
      <div class="step-panel" role="region" aria-label="Step" data-id="panel"></div>
    </section>
    <aside class="side">
      <section class="wl-card" aria-label="The whole trace" data-id="trace-card">
        <h2>The trace <kbd data-key="verdict"></kbd></h2>
        <div data-id="verdict"></div>
        <div class="tags" role="group" aria-label="Tags of the trace" data-id="tags"></div>
        <label class="stack">Note<textarea data-id="note" rows="3" placeholder="Anything the next reader should know"></textarea></label>
        <label class="check"><input type="checkbox" data-id="show-all"> Show all steps at full strength</label>
        <div class="detail-tools" data-id="raw"></div>
      </section>
      <section class="wl-card view-card">
        <h2>Overview</h2>
        <div class="panel" data-id="overview"></div>
      </section>
      <section class="wl-card" aria-label="Ways out">
        <h2>Cannot rate it?</h2>
        <div class="exits" data-id="exits"></div>
      </section>
      <section class="wl-card" data-id="recent-card" hidden>
        <h2 data-id="recent-title">Your last ones</h2>
        <ul class="plain" data-id="recent"></ul>
      </section>
    </aside>
  </div>

  <footer class="wl-dock" data-keyzone data-id="dock">
    <div class="rates" role="group" aria-label="Rate the current step" data-id="dock-rates"></div>
    <div class="tools" data-id="dock-tools"></div>
    <div class="save" data-id="save-state"></div>
    <button type="button" class="primary" data-id="submit">Submit</button>
  </footer>
</div>
"""
