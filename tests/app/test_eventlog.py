"""The numbered log: readers resume anywhere, joined text loses nothing, nobody waits for ever."""

from __future__ import annotations

import asyncio
import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.eventlog import EventLog, coalesce, encode, stream
from tests.app.client import parse, texts

pytestmark = pytest.mark.anyio

DELTA = st.one_of(
    st.builds(
        lambda i, f, t: {"type": "step_delta", "index": i, "field": f, "text": t},
        st.integers(0, 2),
        st.sampled_from(["name", "thought"]),
        st.text(min_size=1, max_size=5),
    ),
    st.builds(lambda t: {"type": "answer_delta", "text": t}, st.text(min_size=1, max_size=5)),
    st.just({"type": "stats", "steps": 1}),
)


def numbered(events: list[dict]) -> list[dict]:
    return [{"seq": i, **event} for i, event in enumerate(events)]


@given(st.lists(DELTA, max_size=30), st.lists(st.integers(0, 30), max_size=5))
def test_joining_text_anywhere_loses_nothing_and_doubles_nothing(events: list[dict], cuts: list[int]) -> None:
    log = numbered(events)
    edges = [0, *sorted(c for c in cuts if c < len(log)), len(log)]
    sent = [e for a, b in itertools.pairwise(edges) for e in coalesce(log[a:b])]
    assert texts(sent) == texts(log)
    assert [e for e in sent if e["type"] == "stats"] == [e for e in log if e["type"] == "stats"]
    seqs = [e["seq"] for e in sent]
    assert seqs == sorted(set(seqs))
    if log:
        assert sent[-1]["seq"] == log[-1]["seq"]


@given(st.lists(DELTA, min_size=1, max_size=30), st.data())
def test_a_reader_who_comes_back_gets_exactly_the_rest(events: list[dict], data: st.DataObject) -> None:
    async def read(after: int) -> list[dict]:
        log = EventLog(numbered(events), closed=True)
        blocks = "".join([block async for block in stream(log, after)]).split("\n\n")
        return [event for block in blocks if (event := parse(block))]

    whole = asyncio.run(read(-1))
    last_seen = data.draw(st.sampled_from([e["seq"] for e in whole[:-1]] or [-1]))
    seen = [e for e in whole if e["seq"] <= last_seen]
    assert texts([*seen, *asyncio.run(read(last_seen))]) == texts(numbered(events))


async def test_a_reader_waits_gets_heartbeats_and_ends_with_the_log() -> None:
    log = EventLog()
    got: list[str] = []

    async def read() -> None:
        async for block in stream(log, tick=0, heartbeat=0.02):
            got.append(block)

    reader = asyncio.create_task(read())
    await asyncio.sleep(0.07)
    assert any(block.startswith(":") for block in got)
    log.append({"type": "stats", "steps": 0})
    log.close()
    await asyncio.wait_for(reader, 5)
    assert json.loads(got[-1].split("data: ")[1]) == {"seq": 0, "type": "stats", "steps": 0}


async def test_the_last_event_waits_for_no_company() -> None:
    log = EventLog()
    log.append({"type": "answer_delta", "text": "a"})
    blocks = stream(log, tick=60)
    assert "retry" in await anext(blocks) and '"text":"a"' in await anext(blocks)
    rest = asyncio.ensure_future(anext(blocks))
    await asyncio.sleep(0.05)
    log.append({"type": "done"})
    await asyncio.sleep(0.05)
    assert not rest.done()  # more may come
    log.close()
    assert '"type":"done"' in await asyncio.wait_for(rest, 5)
    with pytest.raises(StopAsyncIteration):
        await anext(blocks)


async def test_what_is_shown_was_flushed_before() -> None:
    log = EventLog()
    flushed: list[int] = []
    log.append({"type": "stats"})
    log.close()
    async for block in stream(log, before_send=lambda: flushed.append(len(log.events))):
        assert not block.startswith("id:") or flushed == [1]


async def test_a_number_from_another_life_of_the_log_replays_it() -> None:
    log = EventLog(numbered([{"type": "start"}, {"type": "done"}]), closed=True)
    text = "".join([block async for block in stream(log, after=999)])
    assert "id: 0" in text
    assert "id: 1" in text


def test_line_breaks_in_text_cannot_end_an_event() -> None:
    block = encode({"seq": 3, "type": "answer_delta", "text": "a\n\nid: 9\ndata: {}\r\u2028"})
    assert block.count("\n") == 3
    assert parse(block.strip())["text"] == "a\n\nid: 9\ndata: {}\r\u2028"
