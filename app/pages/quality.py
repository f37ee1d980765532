"""The Quality page: how far raters agree, where they differ, what was decided. Markup only; the behaviour is in
app/static/quality.js."""

NAME = "quality"
TITLE = "Quality"
ROLE = "adjudicator"

MARKUP = """
<h1 class="wl-visually-hidden">Quality</h1>
<div class="wl-notices" data-id="notices"></div>

<div class="fields quality-head">
  <label class="wide">Queue<select data-id="queue"></select></label>
  <label class="wide">What was judged<select data-id="dimension"></select></label>
  <p class="muted dated" data-id="dated" role="status"></p>
</div>

<section class="wl-card disputes" aria-label="Where raters differ">
  <div class="disputes-head">
    <h2>Where raters differ</h2>
    <div class="switch" role="group" aria-label="Which to show" data-id="states"></div>
    <p class="muted" data-id="disputes-count"></p>
    <button type="button" class="quiet" data-id="keys">Keys <kbd>?</kbd></button>
  </div>
  <div class="disputes-columns">
    <div class="dispute-left">
      <div class="dispute-list" data-id="list" data-keyzone role="listbox" tabindex="0" aria-label="Steps in dispute, the widest spread first"></div>
      <div data-id="more"></div>
    </div>
    <div class="dispute" data-id="dispute" data-keyzone></div>
  </div>
</section>

<div data-id="reports" hidden>
  <div class="wl-grid two">
    <section class="wl-card span-two"><h2>Agreement</h2><div data-id="agreement"></div></section>
    <section class="wl-card"><h2>Each two raters</h2><div data-id="kappa"></div></section>
    <section class="wl-card"><h2>Where they see the first error</h2><div data-id="first-errors"></div></section>
    <section class="wl-card span-two"><h2>Raters</h2><div data-id="raters"></div></section>
    <section class="wl-card span-two"><h2>Changes of mind</h2><div data-id="minds"></div></section>
    <section class="wl-card span-two"><h2>Items whose answer is known</h2><div data-id="gold"></div></section>
  </div>
</div>
"""
