"""Who is asking, and what they may do. Knows no route and no page.

Without accounts there is one person, who may do everything: the server then answers on this machine only. With accounts
everyone logs in, and what a route needs is said beside it (`needs` in app/api/common.py).
"""

from __future__ import annotations

from dataclasses import dataclass

# Each may do what those before it may: raters rate and compare; adjudicators also see and settle where raters differ;
# researchers see, run, freeze, export and train; admins also keep the accounts.
ROLES = ("rater", "adjudicator", "researcher", "admin")


@dataclass(frozen=True)
class Person:
    """Whoever a request comes from. alone: there are no accounts, and the name is whatever the page says it is."""

    rater_id: str
    display_name: str
    role: str
    alone: bool = False

    def may(self, role: str) -> bool:
        """Whether this person may do what needs `role`."""
        return ROLES.index(self.role) >= ROLES.index(role)
