"""The Accounts page: who may log in, and as what; invitations. Markup only; the behaviour is in app/static/accounts.js."""

NAME = "accounts"
TITLE = "Accounts"
ROLE = "admin"

MARKUP = """
<h1 class="wl-visually-hidden">Accounts</h1>
<div class="wl-notices" data-id="notices"></div>

<section class="wl-card" aria-labelledby="wl-accounts-people">
  <div class="accounts-head"><h2 id="wl-accounts-people">Who may log in</h2><p class="muted" data-id="count"></p></div>
  <ul class="accounts" data-id="people"></ul>
</section>

<div class="wl-grid two">
  <section class="wl-card" aria-labelledby="wl-accounts-add">
    <h2 id="wl-accounts-add">New account</h2>
    <form class="accounts-form" data-id="add" autocomplete="off"></form>
  </section>
  <section class="wl-card" aria-labelledby="wl-accounts-invite" data-id="invite-card" hidden>
    <h2 id="wl-accounts-invite">Invite</h2>
    <form class="accounts-form" data-id="invite" autocomplete="off"></form>
    <ul class="accounts" data-id="invites"></ul>
  </section>
</div>
"""
