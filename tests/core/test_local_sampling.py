"""Sampling for a search in this process: whatever was kept, shared or cut short, a continuation is what it would be alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from core.engines.base import Bounds, EngineError, GenerateRequest, Sampling
from core.engines.local import MAX_BATCH, LocalEngine
from core.engines.sampling import Sample, Sampled, SampleRequest
from core.formats.steiner_tokens import REASONING_END, STEP_END, SUMMARY_START, THOUGHT_END

QUESTION = "Reach 24 from 4, 7, 8 and 8."
MARK = (STEP_END,)


def on(folder: Path | None, work: Callable[[LocalEngine], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        engine = LocalEngine(folder)
        try:
            return await work(engine)
        finally:
            await engine.close()

    return asyncio.run(run())


def asked(written: tuple[int, ...] = (), n: int = 1, *, seed: int = 3, tokens: int = 120, temperature: float = 1.0, **how: Any) -> SampleRequest:  # fmt: skip
    return SampleRequest(QUESTION, written, n, Sampling(temperature, 1.0, seed, tokens), **how)


def ids(sampled: Sampled) -> list[tuple[int, ...]]:
    return [s.ids for s in sampled.samples]


@pytest.fixture(scope="module")
def one_step() -> Sample:
    """The shipped model's first step."""
    sampled = on(None, lambda e: e.sample(asked(stop=MARK)))
    assert sampled.samples[0].end == "step"
    return sampled.samples[0]


def test_what_goes_on_from_parked_keys_is_what_goes_on_from_a_text_read_anew(one_step: Sample) -> None:
    async def parked(engine: LocalEngine) -> tuple[Sampled, Sampled]:
        first = await engine.sample(asked(stop=MARK))
        assert first.samples[0].ids == one_step.ids
        return first, await engine.sample(asked(one_step.ids, 4, seed=9, stop=MARK))

    first, kept = on(None, parked)
    anew = on(None, lambda e: e.sample(asked(one_step.ids, 4, seed=9, stop=MARK)))
    assert ids(kept) == ids(anew)
    assert first.cached_tokens == anew.cached_tokens == 0
    assert kept.cached_tokens == kept.prompt_tokens - 1 == anew.prompt_tokens - 1


def test_steps_one_after_the_other_are_the_answer_in_one_piece() -> None:
    """Greedily, so that it does not matter where the draws are made anew."""

    async def work(engine: LocalEngine) -> tuple[list[Sample], Sample]:
        whole = await engine.sample(asked(tokens=400, temperature=0, bounds=Bounds(0, 5)))
        pieces: list[Sample] = []
        while not pieces or pieces[-1].end == "step":
            written = tuple(i for p in pieces for i in p.ids)
            request = asked(written, tokens=400, temperature=0, bounds=Bounds(0, 5), stop=MARK)
            pieces += (await engine.sample(request)).samples
        return pieces, whole.samples[0]

    pieces, whole = on(None, work)
    assert len(pieces) == 6
    assert tuple(i for p in pieces for i in p.ids) == whole.ids
    assert "".join(p.text for p in pieces) == whole.text
    assert sum(p.tokens for p in pieces) == whole.tokens == len(whole.ids)


def test_n_at_once_are_the_same_as_one_by_one_with_the_seeds_that_follow(tiny_model: Path) -> None:
    async def work(engine: LocalEngine) -> tuple[Sampled, list[Sampled]]:
        together = await engine.sample(asked(n=6, seed=20, tokens=40))
        return together, [await engine.sample(asked(seed=20 + i, tokens=40)) for i in range(6)]

    together, alone = on(tiny_model, work)
    assert ids(together) == [one for sampled in alone for one in ids(sampled)]
    assert len(set(ids(together))) == 6
    assert [together.prompt_tokens] * 6 == [a.prompt_tokens for a in alone]


def test_more_than_fit_the_batch_keep_their_seeds_and_their_order(tiny_model: Path) -> None:
    async def work(engine: LocalEngine) -> tuple[Sampled, Sampled]:
        n = MAX_BATCH + 3
        last = await engine.sample(asked(seed=50 + n - 1, tokens=12))
        return await engine.sample(asked(n=n, seed=50, tokens=12)), last

    many, last = on(tiny_model, work)
    assert len(many.samples) == MAX_BATCH + 3
    assert many.samples[-1] == last.samples[0]


def test_many_requests_at_once_get_what_each_gets_alone(tiny_model: Path) -> None:
    async def work(engine: LocalEngine) -> tuple[list[Sampled], list[Sampled]]:
        requests = [asked(n=1 + i % 3, seed=100 * i, tokens=10 + 7 * i, temperature=0) for i in range(8)]
        together = await asyncio.gather(*map(engine.sample, requests))
        return together, [await engine.sample(r) for r in requests]

    together, alone = on(tiny_model, work)
    assert list(map(ids, together)) == list(map(ids, alone))


def test_it_stops_at_the_mark_and_keeps_it_or_not(one_step: Sample) -> None:
    without = on(None, lambda e: e.sample(asked(stop=MARK, keep_stop=False))).samples[0]
    assert one_step.text.endswith(STEP_END)
    assert one_step.text.count(STEP_END) == 1
    assert without.text == one_step.text.removesuffix(STEP_END)
    assert without.ids == one_step.ids[:-1]
    assert (without.end, without.tokens) == ("step", one_step.tokens)  # the mark was generated, and is charged


def test_a_text_of_several_tokens_stops_it_and_text_and_ids_stay_one() -> None:
    from transformers import AutoTokenizer

    from core.pocket import model_dir

    tokenizer = AutoTokenizer.from_pretrained(model_dir())
    two = THOUGHT_END + SUMMARY_START
    found = on(None, lambda e: e.sample(asked(stop=(two,)))).samples[0]
    assert (found.end, found.text[-len(two) :]) == ("step", two)
    # " 7" is one token: where the mark ends within it, all of it stays, since it is what the model goes on from.
    within = on(None, lambda e: e.sample(asked(stop=("Left: ",)))).samples[0]
    assert within.end == "step"
    assert within.text == tokenizer.decode(within.ids)
    assert within.text.rpartition("Left: ")[2].isdigit()


def test_a_mark_that_comes_with_the_last_token_is_a_whole_step(one_step: Sample) -> None:
    exact = on(None, lambda e: e.sample(asked(stop=MARK, tokens=one_step.tokens))).samples[0]
    assert exact == one_step
    short = on(None, lambda e: e.sample(asked(stop=MARK, tokens=one_step.tokens - 1))).samples[0]
    assert (short.end, short.ids) == ("length", one_step.ids[:-1])


def test_text_that_is_put_in_belongs_to_every_continuation_and_is_not_charged() -> None:
    from transformers import AutoTokenizer

    from core.pocket import model_dir

    tokenizer = AutoTokenizer.from_pretrained(model_dir())

    async def work(engine: LocalEngine) -> tuple[Sampled, Sampled]:
        put_in = await engine.sample(asked(n=3, tokens=20, insert=REASONING_END))
        ids = tuple(tokenizer(REASONING_END, add_special_tokens=False).input_ids)
        return put_in, await engine.sample(asked(ids, 3, tokens=20))

    put_in, written = on(None, work)
    for a, b in zip(put_in.samples, written.samples, strict=True):
        assert a.text == REASONING_END + b.text
        assert a.ids[1:] == b.ids
        assert (a.tokens, a.end) == (b.tokens, b.end)
    assert put_in.prompt_tokens == written.prompt_tokens


@pytest.mark.parametrize("steps", [1, 3])
def test_bounds_hold_and_count_what_was_written(one_step: Sample, steps: int) -> None:
    bounds = Bounds(steps, steps)
    for written in ((), one_step.ids):
        found = on(None, lambda e, w=written: e.sample(asked(w, 3, tokens=600, bounds=bounds)))
        before = 1 if written else 0
        assert [s.text.count(STEP_END) for s in found.samples] == [steps - before] * 3
        assert [s.end for s in found.samples] == ["eos"] * 3


def test_at_the_end_of_the_context_everything_ends_by_its_length(tiny_model: Path) -> None:
    async def work(engine: LocalEngine) -> tuple[Sampled, Sampled]:
        prompt = (await engine.sample(asked(tokens=1))).prompt_tokens
        room = 4096 - prompt
        nearly = await engine.sample(asked((40,) * (room - 3), 2, tokens=500, bounds=Bounds(9, 9)))
        return nearly, await engine.sample(asked((40,) * (room - 1), 2, tokens=500))

    nearly, none = on(tiny_model, work)
    assert all(0 < s.tokens <= 3 for s in nearly.samples)
    assert {s.end for s in nearly.samples} <= {"length", "eos"}
    assert [(s.end, s.tokens, s.text) for s in none.samples] == [("length", 0, "")] * 2


def test_cancelling_a_search_frees_its_rows_and_leaves_a_reader_alone(tiny_model: Path) -> None:
    async def read(engine: LocalEngine) -> str:
        request = GenerateRequest(QUESTION, Sampling(seed=2, max_tokens=60), Bounds(0, 60))
        return "".join([c.text async for c in engine.stream(request)])

    async def work(engine: LocalEngine) -> tuple[str, str, Sampled]:
        await engine.sample(asked(tokens=1))  # loaded
        cut = asyncio.create_task(engine.sample(asked(n=MAX_BATCH, tokens=1900, bounds=Bounds(500, 500))))
        reader = asyncio.create_task(read(engine))
        await asyncio.sleep(0.3)
        assert not cut.done()
        cut.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cut
        after = await asyncio.wait_for(engine.sample(asked(n=4, tokens=5)), 60)
        return await reader, await read(engine), after

    beside, alone, after = on(tiny_model, work)
    assert beside == alone
    assert len(after.samples) == 4


def test_the_same_seed_is_the_same_whoever_was_there_before(tiny_model: Path) -> None:
    async def work(engine: LocalEngine) -> tuple[Sampled, Sampled]:
        first = await engine.sample(asked(n=2, tokens=30))
        await engine.sample(asked(n=5, seed=77, tokens=30))
        return first, await engine.sample(asked(n=2, tokens=30))

    first, again = on(tiny_model, work)
    assert first == again


def test_a_model_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="could not be"):
        on(tmp_path / "nothing", lambda e: e.sample(asked()))
    with pytest.raises(EngineError, match="could not be read"):
        on(tmp_path / "nothing", lambda e: e.marks())


def test_the_size_is_that_of_the_model(tiny_model: Path) -> None:
    from transformers import AutoModelForCausalLM

    size = on(tiny_model, lambda e: e.size())
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    tied = model.config.tie_word_embeddings
    embedding = 0 if tied else model.get_input_embeddings().weight.numel()
    assert size.parameters == model.num_parameters() - embedding
    assert (size.layers, size.width) == (2, 64)
    # One token after 10 others: a multiplication and an addition for each parameter, and attention to 11 positions.
    assert size.flops(1, 10) == 2 * size.parameters + 4 * 2 * 64 * 11


def test_a_cancelled_request_says_what_was_written_for_it(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from core.engines import rows

    wrote, said = [0], rows.Piece.said

    def counted(self: rows.Piece, *what: Any) -> bool:
        wrote[0] += 1
        return said(self, *what)

    async def work(engine: LocalEngine) -> tuple[int, list[SampleRequest]]:
        await engine.sample(asked(tokens=1))  # loaded
        # What waits behind a full batch has cost nothing, and is let go of at once.
        full = asked(n=2 * MAX_BATCH, tokens=1900, bounds=Bounds(500, 500))
        behind = asked(n=1, tokens=1900)
        before = wrote[0]
        runs = [asyncio.create_task(engine.sample(one)) for one in (full, behind)]
        await asyncio.sleep(0.3)
        for run in runs:
            run.cancel()
        await asyncio.wait_for(asyncio.gather(*runs, return_exceptions=True), 10)
        return wrote[0] - before, [full, behind]

    monkeypatch.setattr(rows.Piece, "said", counted)
    made, (full, behind) = on(tiny_model, work)
    come = full.report.sampled
    assert come is not None and len(come.samples) == MAX_BATCH
    assert sum(s.tokens for s in come.samples) == made > 0
    assert come.prompt_tokens > 0
    assert behind.report.sampled == Sampled((), 0)
