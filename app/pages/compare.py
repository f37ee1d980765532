"""The Compare page: two answers to one question side by side, blind. Markup only; the behaviour is in app/static/compare.js."""

NAME = "compare"
TITLE = "Compare"
ROLE = "rater"


def _side(place: int, letter: str) -> str:
    return f"""
    <section class="wl-card compare-side" data-id="side-{place}" aria-label="Trace {letter}">
      <div class="compare-head" data-part="head"></div>
      <div class="compare-tree" data-part="overview"></div>
      <div class="compare-list" id="wl-compare-{letter.lower()}" data-part="list" data-keyzone></div>
      <div class="compare-answer"><span class="label">Answer</span><div class="text" data-part="answer" tabindex="0" role="region" aria-label="Answer of {letter}"></div></div>
    </section>"""


MARKUP = f"""
<h1 class="wl-visually-hidden">Compare</h1>
<div class="compare-screen">
<div class="wl-notices" data-id="notices"></div>

<section class="wl-rate-empty wl-card" data-id="empty" hidden>
  <h2 data-id="empty-title"></h2>
  <p data-id="empty-text"></p>
  <div class="actions" data-id="empty-actions"></div>
</section>

<div class="wl-compare" data-id="work" hidden>
  <header class="wl-problem">
    <div class="problem-text"><span class="label">Problem</span><div class="text" data-id="prompt" tabindex="0" role="region" aria-label="Problem"></div></div>
    <div class="problem-text answer" data-id="reference-box" hidden><span class="label">Reference</span><div class="text" data-id="reference" tabindex="0" role="region" aria-label="Reference"></div></div>
    <div class="progress">
      <label class="queue-pick" data-id="queue-pick" hidden><span class="wl-visually-hidden">Queue</span><select data-id="queue"></select></label>
      <span data-id="progress"></span>
      <span class="muted" data-id="pace"></span>
      <span class="rater">Rater <span data-id="rater"></span></span>
    </div>
  </header>

  <div class="compare-tools" data-keyzone>
    <div class="switch sides" role="group" aria-label="Which trace is shown">
      <button type="button" data-id="show-0" aria-pressed="true">A</button><button type="button" data-id="show-1" aria-pressed="false">B</button>
    </div>
    <button type="button" class="secondary" data-id="shared" hidden></button>
    <button type="button" class="secondary" data-id="difference">First difference</button>
    <label class="check together"><input type="checkbox" data-id="together" checked> Scroll together</label>
    <div class="detail-tools" data-id="raw"></div>
    <div class="tools" data-id="tools"></div>
  </div>

  <div class="wl-compare-columns" data-id="columns" data-shown="0">{_side(0, "A")}{_side(1, "B")}
  </div>

  <section class="wl-card compare-panel" role="region" aria-label="More" data-id="panel" hidden></section>

  <div class="criteria" data-keyzone data-id="criteria"></div>

  <footer class="wl-dock compare-dock" data-keyzone data-id="dock">
    <div data-id="whole"></div>
    <div class="save" data-id="save-state" role="status"></div>
    <button type="button" class="primary" data-id="submit">Submit</button>
  </footer>
</div>
</div>

<details class="wl-card compare-make" data-id="make" hidden>
  <summary>Make pairs</summary>
  <div data-id="make-body"></div>
</details>
"""
