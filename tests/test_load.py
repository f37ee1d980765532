"""What benchmarks/raters.py and big_store.py promise, in the small: their figures are of large runs, that nothing is lost is of any."""

from __future__ import annotations

import re

import pytest

from benchmarks import big_store, raters
from storage.exports import FORMATS


@pytest.mark.slow
def test_a_crowd_of_raters_loses_doubles_and_reorders_nothing() -> None:
    rows = {row.name.strip(): row for row in raters.measure(minutes=0.15, raters=20)}
    told = rows["ratings"].note
    events = re.match(r"([\d,]+) in the store: (.*)", told)
    assert events and events[2] == "nothing lost, doubled, reordered or handed out twice", told
    assert int(events[1].replace(",", "")) > 20, "every rater has rated"


@pytest.mark.slow
def test_every_request_of_the_large_store_is_answered_in_a_small_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(big_store, "WRITTEN", 100)
    monkeypatch.setattr(big_store, "ROUNDS", 2)
    rows = big_store.measure(traces=400, ratings=4000)
    assert not [row.name for row in rows if "refused" in row.note]
    made = [row.name for row in rows if row.name.startswith("export as")]
    assert made == [f"export as {form}" for form in FORMATS if form != "tree"], "nobody corrected a tree"
