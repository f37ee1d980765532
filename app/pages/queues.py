"""The Queues page: make and change queues, write their guidelines, see how far everybody is. Markup only; see app/static/queues.js."""

NAME = "queues"
TITLE = "Queues"
ROLE = "researcher"

MARKUP = """
<h1 class="wl-visually-hidden">Queues</h1>
<div class="wl-notices" data-id="notices"></div>

<div class="wl-queues">
  <section class="wl-card" aria-labelledby="wl-queues-title">
    <h2 id="wl-queues-title">Queues</h2>
    <ul class="pick-queue" data-id="list"></ul>
    <button type="button" class="secondary" data-id="new">New queue</button>
    <label class="check"><input type="checkbox" data-id="archived"> Show closed ones</label>
  </section>
  <div class="queue-parts" data-id="parts">
    <section class="wl-card" data-id="progress-card" aria-labelledby="wl-queue-progress" hidden>
      <div class="queue-title"><h2 id="wl-queue-progress" data-id="title"></h2><a class="button secondary" data-id="rate">Rate from it</a></div>
      <div data-id="progress"></div>
    </section>
    <section class="wl-card" data-id="leases-card" aria-labelledby="wl-queue-leases" hidden>
      <h2 id="wl-queue-leases">In hand now</h2>
      <div class="leases" data-id="leases"></div>
    </section>
    <section class="wl-card" aria-labelledby="wl-queue-settings">
      <h2 id="wl-queue-settings" data-id="settings-title">Settings</h2>
      <form class="queue-form" data-id="settings" autocomplete="off" novalidate></form>
    </section>
    <section class="wl-card" data-id="guidelines-card" aria-labelledby="wl-queue-guidelines" hidden>
      <h2 id="wl-queue-guidelines">Guidelines</h2>
      <form class="guide-form" data-id="guidelines" autocomplete="off"></form>
    </section>
  </div>
</div>
"""
