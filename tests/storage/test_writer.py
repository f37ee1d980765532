"""In which order the one thread that writes takes what waits for it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from storage.store import Store, StoreError
from storage.writer import FEW, Lane, Writer


def test_ratings_pass_what_else_waits_and_claims_come_a_few_at_a_time(store: Store) -> None:
    begun, go_on, done = threading.Event(), threading.Event(), list[list[str]]()

    def hold(con: Any, items: Sequence[str]) -> list[None]:
        begun.set()
        assert go_on.wait(30)
        return [None] * len(items)

    def note(con: Any, items: Sequence[str]) -> list[None]:
        done.append(list(items))
        return [None] * len(items)

    writer = Writer(store.connections, lambda: None, lambda: None, patience=60)
    writer.submit(hold, "")
    assert begun.wait(30)
    sent = [
        *(("trace 1", Lane.TOGETHER), ("trace 2", Lane.TOGETHER)),
        *((f"claim {i}", Lane.FEW) for i in range(FEW + 1)),
        *(("trace 3", Lane.TOGETHER), ("rating 1", Lane.FIRST), ("rating 2", Lane.FIRST)),
    ]
    futures = [writer.submit(note, *one) for one in sent]
    go_on.set()
    writer.close()
    claims = [f"claim {i}" for i in range(FEW + 1)]
    assert done == [["rating 1", "rating 2"], ["trace 1", "trace 2"], claims[:FEW], claims[FEW:], ["trace 3"]]
    assert all(future.done() for future in futures)
    with pytest.raises(StoreError, match="closed"):
        writer.submit(note, "late")


def test_ratings_that_never_cease_do_not_keep_a_claim_waiting(store: Store) -> None:
    order, last = list[str](), f"claim {FEW}"
    writer = Writer(store.connections, lambda: None, lambda: None, patience=0)

    def rate(con: Any, items: Sequence[str]) -> list[None]:
        order.extend(items)
        if len(order) < 200 and last not in order:
            writer.submit(rate, "rating", Lane.FIRST)  # before this one is written, the next is there
        return [None] * len(items)

    def claim(con: Any, items: Sequence[str]) -> list[None]:
        order.extend(items)
        return [None] * len(items)

    started = threading.Event()

    def begin(con: Any, items: Sequence[str]) -> list[None]:
        assert started.wait(30)
        return [None] * len(items)

    writer.submit(begin, "")
    writer.submit(rate, "rating", Lane.FIRST)
    claims = [writer.submit(claim, f"claim {i}", Lane.FEW) for i in range(FEW + 1)]
    started.set()
    for future in claims:
        future.result(30)
    writer.close()
    at = [order.index("claim 0"), order.index(last)]
    assert at[0] < at[1] < 10 + FEW
    assert "rating" in order[at[0] : at[1]]  # they take turns: a claim does not keep a rating waiting for all claims
