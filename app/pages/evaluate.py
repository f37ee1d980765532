"""The Evaluate page: what inference-time compute is worth, over problems, and whether a model answers as one stream (the linear probe).

Markup only; the behaviour is in app/static/evaluate.js and app/static/probes.js.
"""

NAME = "evaluate"
TITLE = "Evaluate"
ROLE = "researcher"

MARKUP = """
<h1 class="wl-visually-hidden">Evaluate</h1>
<div class="wl-notices" data-id="notices"></div>

<div class="wl-evaluate">
  <div class="left">
    <section class="wl-card" aria-labelledby="wl-eval-list"><h2 id="wl-eval-list">Evaluations</h2>
      <div data-id="list"><p class="muted">Loading …</p></div>
    </section>
    <details class="wl-card wl-fold" data-id="new"><summary><h2>New evaluation</h2></summary>
      <form class="stack-form eval-form" data-id="form" autocomplete="off" novalidate>
        <label class="stack">Problems <small class="muted">a built-in set, an uploaded file</small>
          <input type="text" data-id="problems" list="wl-eval-sets" value="countdown:20" spellcheck="false"></label>
        <datalist id="wl-eval-sets" data-id="sets"></datalist>
        <label class="stack">Upload JSONL <small class="muted">question and answer a line, such as MATH-500</small>
          <input type="file" data-id="file" accept=".jsonl,.ndjson,.json,.txt"></label>
        <p class="said muted" data-id="upload-said" role="status"></p>
        <p class="said" data-id="drop-set" hidden><button type="button" class="linklike" data-id="drop-set-go"></button></p>
        <fieldset class="eval-picks"><legend>Models</legend><div data-id="models"></div></fieldset>
        <fieldset class="eval-picks"><legend>Scorers</legend><div data-id="scorers"></div></fieldset>
        <fieldset class="eval-picks"><legend>Strategies</legend>
          <ul class="eval-strategies" data-id="strategies"></ul>
          <div class="fields"><label class="wide">Add a strategy<select data-id="add"></select></label>
            <button type="button" class="secondary" data-id="add-go">Add</button></div>
        </fieldset>
        <div class="fields">
          <label title="Whole answers a problem: the curves over k and the bins of difficulty are made of them; 0 leaves them out">Pool of answers<input type="number" data-id="n" min="0" max="512" step="1" value="8"></label>
          <label title="Tries of each problem, with commas between them">Seeds<input type="text" data-id="seeds" value="0" inputmode="numeric"></label>
        </div>
        <fieldset class="eval-picks"><legend>Budgets of a search <small class="muted">several with commas: each is a point of the plots</small></legend>
          <div class="fields">
            <label title="Written by the model and read by the scorer">Tokens<input type="text" data-id="budget-tokens" placeholder="no limit"></label>
            <label title="Of solver and scorer">FLOPs<input type="text" data-id="budget-flops" placeholder="no limit"></label>
            <label title="Searches then run one at a time">Seconds<input type="text" data-id="budget-seconds" placeholder="no limit"></label>
          </div>
        </fieldset>
        <details><summary>Sampling and limits</summary>
          <div class="fields">
            <label>Temperature<input type="number" data-id="temperature" min="0" max="5" step="0.1" value="1"></label>
            <label>Top-p<input type="number" data-id="top_p" min="0.05" max="1" step="0.05" value="1"></label>
            <label>Answer, tokens<input type="number" data-id="max_tokens" min="1" step="1" value="3500"></label>
            <label>Step, tokens<input type="number" data-id="step_tokens" min="1" step="1" value="512"></label>
            <label>Most steps<input type="number" data-id="max_steps" min="1" step="1" value="60"></label>
            <label title="From the scores of steps to one">Scores of steps<select data-id="aggregation"></select></label>
            <label title="Writes what a planner planned">Executor<select data-id="executor"></select></label>
          </div>
        </details>
        <label class="stack">Name<input type="text" data-id="name" maxlength="120" placeholder="the problems' name"></label>
        <p class="said" data-id="check" role="status"></p>
        <div class="buttons"><button type="submit" class="primary" data-id="go">Start</button></div>
      </form>
    </details>
    <p class="to-probes"><button type="button" class="linklike" data-id="to-probes">Linear probe: one stream, or a search behind it?</button></p>
  </div>
  <div class="right" data-id="right"></div>
</div>

<section class="wl-evaluate wl-probes" data-id="probes" aria-labelledby="wl-probes">
  <div class="left">
    <section class="wl-card"><h2 id="wl-probes" tabindex="-1">Linear probe</h2>
      <p class="muted">Does a model write one stream, or does a service search in parallel behind it? Time against tokens, reasoning included.</p>
      <div data-id="probe-list"><p class="muted">Loading …</p></div>
    </section>
    <details class="wl-card wl-fold" data-id="probe-new"><summary><h2>New probe</h2></summary>
      <form class="stack-form eval-form" data-id="probe-form" autocomplete="off" novalidate>
        <label class="stack">Model <small class="muted">served ones: worldline --endpoint URL</small>
          <select data-id="probe-model"></select></label>
        <fieldset class="eval-picks"><legend>What answers</legend><div>
          <label class="check"><input type="radio" name="probe-behind" value="" checked> the model as it is</label>
          <label class="check"><input type="radio" name="probe-behind" value="best-of-n"> best-of-N behind it</label>
          <label class="check"><input type="radio" name="probe-behind" value="beam"> beam search behind it, on the numbers game</label></div>
        </fieldset>
        <p class="muted">Controls: the pocket model as it is writes one stream (the negative one), a search behind it works in parallel (the positive ones; their width is 1 to 16, from question to question); run them here before you believe a verdict about a service.</p>
        <div class="fields">
          <label title="How often each question is asked: 1 to 20">Repeats<input type="number" data-id="probe-repeats" min="1" max="20" step="1" value="3"></label>
          <label title="The longest answer">Answer, tokens<input type="number" data-id="probe-max-tokens" min="1" max="100000" step="1" value="3500"></label>
        </div>
        <details><summary>Questions of your own</summary>
          <label class="stack">One a line, from easy to hard <small class="muted">none: our own, from a word to thousands of tokens</small>
            <textarea data-id="probe-questions" rows="5" spellcheck="false"></textarea></label>
        </details>
        <p class="said muted" data-id="probe-wait" role="status"></p>
        <p class="said" data-id="probe-said" role="status"></p>
        <div class="buttons"><button type="submit" class="primary" data-id="probe-go">Start the probe</button></div>
      </form>
    </details>
  </div>
  <div class="right" data-id="probe-right"></div>
</section>
"""
