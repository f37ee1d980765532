"""Server-sent events: however the bytes are cut, the same events."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.engines.sse import Events

DATA = st.dictionaries(st.text(max_size=4), st.text(max_size=6), max_size=2)


@given(st.lists(DATA, max_size=6), st.sampled_from(["\n", "\r\n"]), st.lists(st.integers(0, 400), max_size=6))
def test_events_are_the_same_however_their_bytes_are_cut(rows: list[dict], end: str, cuts: list[int]) -> None:
    blocks = [f": hello{end}id: 1{end}data: {json.dumps(row, ensure_ascii=False)}{end}{end}" for row in rows]
    raw = "".join(blocks).encode()
    edges = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    events = Events()
    assert [e for a, b in itertools.pairwise(edges) for e in events.feed(raw[a:b])] == rows
    assert list(events.close()) == []


def test_data_may_take_several_lines_and_its_last_blank_line_may_be_missing() -> None:
    events = Events()
    assert list(events.feed(b'data: {"a":\ndata:1}\n')) == []
    assert list(events.close()) == [{"a": 1}]


def test_nothing_follows_the_end_and_what_is_no_json_is_told() -> None:
    events = Events()
    assert list(events.feed(b'data: 1\n\ndata: [DONE]\n\ndata: {"a": 1}\n\n')) == [1]
    assert events.done
    assert list(events.close()) == []
    with pytest.raises(ValueError, match="Expecting"):
        list(Events().feed(b"data: {no\n\n"))
