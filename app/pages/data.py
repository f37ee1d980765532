"""The Data page: what is there, freeze it, export it. Markup only; the behaviour is in app/static/data.js."""

from core.formats import FORMATS

NAME = "data"
TITLE = "Data"
ROLE = "researcher"

_FORMATS = "".join(f"<option>{name}</option>" for name in FORMATS)

MARKUP = f"""
<h1 class="wl-visually-hidden">Data</h1>
<div class="wl-notices" data-id="notices"></div>

<div class="wl-tiles" data-id="tiles"></div>

<div class="wl-grid two">
  <section class="wl-card"><h2>Labels</h2><div data-id="labels"></div></section>
  <section class="wl-card wl-import"><h2>Import traces</h2>
    <p class="muted">JSONL, JSON or Parquet: prompt and response, chat logs, PRM800K, TRL rows, Worldline's own JSON. You see what is in it before anything is stored.</p>
    <label class="drop" data-id="drop"><input type="file" data-id="file" accept=".jsonl,.json,.ndjson,.txt,.parquet,.pq"><span data-id="drop-text">Choose a file or drop it here</span></label>
    <label class="as">Format of the responses <select data-id="import-format"><option value="">found by itself</option>{_FORMATS}</select></label>
    <details><summary>Paste a text instead</summary>
      <form data-id="paste">
        <label>Question<input type="text" data-id="paste-question" placeholder="what was asked; leave empty for JSON"></label>
        <label>Response, or JSON lines<textarea data-id="paste-text" rows="5" spellcheck="false"></textarea></label>
        <button type="submit" class="secondary" data-id="paste-look">Look at it</button>
      </form>
    </details>
    <div data-id="import-result"></div>
  </section>
  <section class="wl-card"><h2>By rater</h2><div data-id="by-rater"></div></section>
  <section class="wl-card"><h2>By model</h2><div data-id="by-model"></div></section>
</div>

<section class="wl-card wl-freeze"><h2>Freeze a snapshot</h2>
  <p class="muted">A snapshot is a folder that never changes: the submitted ratings of now, their count, their hash. Exports and training start from one.</p>
  <form data-id="freeze" class="fields">
    <label class="wide">Name<input data-id="freeze-name" type="text" maxlength="80" placeholder="optional"></label>
    <label>Rater<select data-id="freeze-rater"><option value="">all</option></select></label>
    <label>Model<select data-id="freeze-model"><option value="">all</option></select></label>
    <button type="submit" class="primary" data-id="freeze-go">Freeze</button>
  </form>
  <div data-id="preview" aria-live="polite"></div>
</section>

<section class="wl-card"><h2>Snapshots</h2><div data-id="snapshots"></div></section>

<details class="wl-card wl-fold wl-sql" data-id="sql-card"><summary><h2>Ask a snapshot in SQL</h2></summary>
  <p class="muted">Read only, ten seconds, no files. Views: <code>ratings</code> (a row a trace and rater), <code>steps</code> (a row a step), <code>comparisons</code> (where there are any); <code>describe steps</code> lists columns. Ctrl+Enter runs it.</p>
  <form data-id="sql">
    <div class="fields"><label class="wide">Snapshot<select data-id="sql-snapshot"><option value="">Nothing is frozen yet</option></select></label></div>
    <label class="wl-field">Query<textarea data-id="sql-text" rows="4" spellcheck="false" autocapitalize="off">select rater_id, rating, count(*) as steps from steps group by all order by all</textarea></label>
    <div><button type="submit" class="primary" data-id="sql-go" disabled>Run</button></div>
  </form>
  <div data-id="sql-result"></div>
</details>

<details class="wl-card wl-fold" data-id="lineage-card"><summary><h2>Lineage</h2></summary>
  <p class="muted">From a checkpoint to the single ratings behind it, and back: give the id of a job, a snapshot, a trace, an assignment or a rating.</p>
  <form class="fields" data-id="lineage"><label class="wide long">Id<input type="text" data-id="lineage-id" spellcheck="false"></label><button class="secondary" type="submit">Follow</button></form>
  <div data-id="lineage-result" aria-live="polite"></div>
</details>
<section class="wl-card"><h2>Traces</h2>
  <form class="fields" data-id="search"><label class="wide">Text in the question<input type="search" data-id="q"></label><button class="secondary" type="submit">Search</button></form>
  <div data-id="traces"></div>
</section>
"""
