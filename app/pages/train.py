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
        <fieldset class="kinds"><legend>What to train</legend>
          <label class="pick"><input type="radio" name="kind" value="prm" checked><span><b>Reward model (PRM)</b><small>learns to score each step from the ratings</small></span></label>
          <label class="pick"><input type="radio" name="kind" value="sft"><span><b>Reasoner (SFT)</b><small>fine-tunes the pocket model on rated traces</small></span></label>
        </fieldset>
        <label class="stack">Snapshot<select data-id="snapshot"></select></label>
        <label class="stack">Changes to the recipe <small class="muted">one key=value a line; nothing changes nothing</small>
          <textarea data-id="overrides" rows="3" spellcheck="false"></textarea></label>
        <button type="submit" class="primary" data-id="go">Start</button>
        <div data-id="start-result"></div>
      </form>
    </section>
    <section class="wl-card"><h2>Jobs</h2><div data-id="jobs"></div></section>
  </div>
  <section class="wl-card job" data-id="job"></section>
</div>
"""
