"""The Train page: start a job from a snapshot, watch it, use what it made. Markup only; see app/static/train.js."""

NAME = "train"
TITLE = "Train"
ROLE = "researcher"

MARKUP = """
<h1 class="wl-visually-hidden">Train</h1>
<div class="wl-notices" data-id="notices"></div>

<div class="wl-train">
  <div class="left">
    <section class="wl-card"><h2>Start a job</h2>
      <form data-id="start" class="stack-form">
        <fieldset class="kinds" data-id="kinds"><legend>What to train</legend></fieldset>
        <label class="stack">Snapshot<select data-id="snapshot"></select></label>
        <label class="stack">Laid out for <select data-id="size"><option value="">the pocket model</option></select></label>
        <label class="stack">Changes to the recipe <small class="muted">one key=value a line; nothing changes nothing</small>
          <textarea data-id="overrides" rows="3" spellcheck="false"></textarea></label>
        <div class="buttons"><button type="submit" class="primary" data-id="go">Start</button>
          <button type="button" class="secondary" data-id="preview">Show the whole recipe</button>
          <button type="button" class="secondary" data-id="look">Show what is learned</button></div>
        <div data-id="start-result"></div>
      </form>
    </section>
    <section class="wl-card"><h2>Jobs</h2><p class="muted small">One runs on a device at a time, the others wait. Tick two or more to compare them.</p><div data-id="jobs"></div></section>
  </div>
  <div class="right">
    <section class="wl-card" data-id="rows" hidden></section>
    <section class="wl-card job" data-id="compare" hidden></section>
    <section class="wl-card job" data-id="job"></section>
    <section class="wl-card"><h2>Checkpoints</h2><div data-id="checkpoints"></div></section>
  </div>
</div>
"""
