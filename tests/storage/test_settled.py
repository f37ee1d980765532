"""What is kept ready of finished work is what its events say, at every moment."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.settled import REBUILD, differences
from storage.store import Store
from tests.storage.helpers import Rater, make_trace

_acts = st.lists(
    st.tuples(
        st.sampled_from(["ann", "ben"]),
        st.sampled_from(["set", "set", "set", "clear", "submit", "reopen", "skip"]),
        st.integers(0, 2),
        st.sampled_from([1.0, 0.0, -1.0, None]),
        st.integers(1, 3),
    ),
    max_size=30,
)
BOTH = "select assignment_id, step_idx, dimension, value, value_text, event_id from {} order by all"


@pytest.mark.slow
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(acts=_acts)
def test_what_is_settled_is_what_the_events_say(store: Store, acts: list[Any]) -> None:
    """Work finished, taken up again, changed after its end, skipped, by two raters, several acts in one call."""
    trace = make_trace((None, 0, 0))
    store.add_trace(trace).result()
    hands = {name: Rater(store, store.open_assignment(name, trace.trace_id)) for name in ("ann", "ben")}
    for name, action, step, value, times in acts:
        fields: dict[str, Any] = {}
        if action in ("set", "clear"):
            fields = {"target": "step", "dimension": "correctness", "step_idx": step}
        if action == "set":
            fields |= {"value": value} if value is not None else {"value_text": "unsure"}
        one = hands[name].event(action, **fields)
        again = [replace(hands[name].event(action, **fields), seq=one.seq) for _ in range(times - 1)]
        store.add_rating_events([one, *again]).result()
        assert store.query(BOTH.format("rating_current")) == store.query(BOTH.format("rating_latest"))
    assert store.read(differences) == {}
    shown = {row.trace_id: row for row in store.traces(limit=1000)}[trace.trace_id]
    counted = sum(
        r.dimension == "correctness" for h in hands.values() for r in store.current_ratings(h.assignment.assignment_id)
    )
    assert shown.n_ratings == counted


def test_a_difference_is_found_and_rebuilding_ends_it(store: Store) -> None:
    trace = make_trace((None, 0, 0))
    store.add_trace(trace).result()
    hand = Rater(store, store.open_assignment("ann", trace.trace_id))
    hand.step(0, 1)
    hand.send("submit")
    assert store.read(differences) == {}
    for damage, found in (
        ("update settled set value = -1", {"rows": 1, "counts": 1}),
        ("update tally set good = 7", {"counts": 1}),
        ("delete from tally", {"rows": 1, "missing": 1}),
        ("delete from settled", {"rows": 1, "counts": 1}),
    ):
        store.write(lambda con, sqls: [con.execute(sql) and None for sql in sqls], damage).result()
        assert store.read(differences) == found
        store.write(lambda con, sqls: [con.execute(sql) and None for sql in sqls], REBUILD).result()
        assert store.read(differences) == {}
        assert store.stats()["rating_histogram"]["good"] == 1
