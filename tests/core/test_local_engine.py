"""The local engine: batching changes nothing, bounds hold, cancelling frees the row, failures are sentences."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from core.engines.base import Bounds, Chunk, EngineError, GenerateRequest, Sampling
from core.engines.local import LocalEngine
from core.formats import steiner_tokens as t
from core.run import run_trace
from core.trace import Problem, Trace

ROOT = Path(__file__).parents[2]
QUESTION = "Reach 24 from 4, 7, 8 and 8."


async def respond(engine: LocalEngine, prompt: str = QUESTION, **sampling) -> tuple[str, list[Chunk]]:
    chunks = [c async for c in engine.stream(GenerateRequest(prompt, Sampling(**sampling), Bounds(0, 60)))]
    return "".join(c.text for c in chunks), chunks


def with_engine(folder: Path, work):
    async def run():
        engine = LocalEngine(folder, "tiny")
        try:
            return await work(engine)
        finally:
            await engine.close()

    return asyncio.run(run())


def test_the_same_seed_gives_the_same_text_and_another_seed_another(tiny_model: Path) -> None:
    async def work(engine):
        return [(await respond(engine, seed=s, max_tokens=60))[0] for s in (7, 7, 8)]

    first, again, other = with_engine(tiny_model, work)
    assert first == again != other


def test_a_batch_gives_each_row_what_it_gets_alone(tiny_model: Path) -> None:
    prompts = [f"Reach {n} from {a}, 7 and 3." for n, a in ((24, 4), (31, 9), (50, 13), (12, 1), (77, 2))]

    async def work(engine):
        alone = [(await respond(engine, p, temperature=0, max_tokens=20 + 9 * i))[0] for i, p in enumerate(prompts)]
        together = await asyncio.gather(
            *(respond(engine, p, temperature=0, max_tokens=20 + 9 * i) for i, p in enumerate(prompts))
        )
        return alone, [text for text, _ in together]

    alone, together = with_engine(tiny_model, work)
    assert alone == together


def test_decoding_equals_transformers_generate(tiny_model: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": QUESTION}], add_generation_prompt=True, tokenize=False
    )
    prompt = tokenizer(ids, add_special_tokens=False, return_tensors="pt")
    wanted = model.generate(**prompt, do_sample=False, max_new_tokens=50)[0, prompt.input_ids.shape[1] :]
    text, _ = with_engine(tiny_model, lambda e: respond(e, temperature=0, max_tokens=50))
    assert text == tokenizer.decode([i for i in wanted.tolist() if i != tokenizer.eos_token_id])


def test_the_length_limit_is_told_and_tokens_are_counted(tiny_model: Path) -> None:
    _, chunks = with_engine(tiny_model, lambda e: respond(e, seed=1, max_tokens=17))
    assert chunks[-1].finish_reason == "length"
    assert sum(c.tokens for c in chunks) == 17
    assert chunks[0].prompt_tokens > 5


def test_a_question_that_is_too_long_is_an_engine_error(tiny_model: Path) -> None:
    with pytest.raises(EngineError, match=r"reads at most 2,048"):
        with_engine(tiny_model, lambda e: respond(e, "7 " * 5000))


def test_a_model_that_is_not_there_is_a_sentence_and_the_next_request_too(tmp_path: Path) -> None:
    async def work(engine):
        for _ in range(2):
            with pytest.raises(EngineError, match="could not be loaded"):
                await respond(engine)

    with_engine(tmp_path / "nothing", work)


def test_cancelling_frees_the_row_and_leaves_the_others_alone(tiny_model: Path) -> None:
    async def work(engine):
        stop = asyncio.Event()
        cut = asyncio.create_task(
            run_trace(
                engine, Problem.ask(QUESTION), Sampling(seed=1), Bounds(), lambda _: None, trace_id="a", stop=stop
            )
        )
        other = asyncio.create_task(respond(engine, seed=2, max_tokens=80))
        await asyncio.sleep(0.3)
        stop.set()
        return await cut, await other, await respond(engine, seed=2, max_tokens=80)

    trace, (together, _), (alone, _) = with_engine(tiny_model, work)
    assert trace.finish_reason in ("cancelled", "stop")
    assert together == alone


class Scripted:
    """An engine that says what it is told, in the pieces it is told, and may die on the way."""

    model = "scripted"

    def __init__(self, pieces: list[str], finish: str | None = "stop", error: str = "") -> None:
        self.pieces, self.finish, self.error = pieces, finish, error

    async def stream(self, request):
        for piece in self.pieces:
            yield Chunk(piece, 1)
        if self.error:
            raise EngineError(self.error)
        if self.finish:
            yield Chunk("", 0, self.finish)

    async def close(self) -> None: ...


def run(engine) -> tuple[Trace, list[dict]]:
    events: list[dict] = []
    work = run_trace(
        engine, Problem.ask(QUESTION), Sampling(), Bounds(), events.append, trace_id="t", stop=asyncio.Event()
    )
    return asyncio.run(work), events


def test_tokens_that_came_before_anybody_read_make_no_speed() -> None:
    class Late(Scripted):
        async def stream(self, request):
            yield Chunk("many " * 100, 100)
            await asyncio.sleep(0.2)
            yield Chunk("ten " * 10, 10)
            yield Chunk("", 0, "stop")

    stats = run(Late([]))[0].stats
    assert stats["generated_tokens"] == 110
    assert 0 < stats["tokens_per_s"] <= 50


def test_events_rebuild_exactly_the_trace() -> None:
    from training.synthesis.countdown import walks

    walk = next(w for w in walks(2) if len(w.steps) > 5)
    trace, events = run(Scripted([walk.response[i : i + 3] for i in range(0, len(walk.response), 3)]))
    assert trace.response == walk.response
    for step in trace.steps:
        for name in t.FIELDS:
            shown = "".join(
                e["text"]
                for e in events
                if e["type"] == "step_delta" and (e["index"], e["field"]) == (step.index, name)
            )
            assert shown == getattr(step, name)
    closed = [e["step"] for e in events if e["type"] == "step_close"]
    assert [s["parent"] for s in closed] == [n.parent for n in trace.nodes]
    assert Trace.from_json(trace.to_json()) == trace


@pytest.mark.parametrize(
    ("engine", "reason"),
    [
        (Scripted([t.STEP_START, t.NAME_START, "Try"], finish="length"), "length"),
        (Scripted([t.STEP_START, t.NAME_START, "Try"], error="The server went away."), "error"),
        (Scripted([t.STEP_START, "half"], finish=None), "interrupted"),
        (Scripted([], error="The server is not there."), "error"),
        (Scripted(["no step at all"]), "stop"),
    ],
)
def test_whatever_the_engine_does_the_trace_is_valid_and_says_why(engine: Scripted, reason: str) -> None:
    trace, _ = run(engine)
    assert trace.finish_reason == reason
    assert trace.response == "".join(engine.pieces)
    assert trace.error == engine.error
    assert len(trace.steps) == len(trace.nodes) == (1 if engine.pieces else 0)
    assert Trace.from_json(trace.to_json()) == trace


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"prompt": 3}, '"prompt" is missing'),
        ({"steps": [{"start": 5, "end": 2}]}, r"steps\[0\]"),
        ({"steps": [{"start": 0, "end": 1, "parent": 3}]}, r"steps\[0\].parent"),
        ({"finish_reason": "bored"}, '"finish_reason" is'),
        ({"steps": [{"start": 0, "end": 1, "decision": "jump"}]}, "decision"),
    ],
)
def test_a_broken_trace_names_the_field(change: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Trace.from_json({"prompt": "p", "response": "abc", **change})


def test_going_on_from_a_prefix_gives_the_text_that_an_uncut_run_gives(tiny_model: Path) -> None:
    async def work(engine):
        whole, _ = await respond(engine, temperature=0, max_tokens=60)
        first, _ = await respond(engine, temperature=0, max_tokens=25)
        request = GenerateRequest(QUESTION, Sampling(temperature=0, max_tokens=35), Bounds(0, 60), prefix=first)
        return whole, first, "".join([c.text async for c in engine.stream(request)])

    whole, first, rest = with_engine(tiny_model, work)
    assert whole == first + rest
    assert first
    assert rest


def test_a_trace_that_goes_on_holds_both_parts_and_says_where_it_was_cut(tiny_model: Path) -> None:
    prefix = t.REASONING_START + t.STEP_START + t.NAME_START + "Try"

    async def work(engine):
        return await run_trace(
            engine, Problem.ask(QUESTION), Sampling(max_tokens=5), Bounds(), lambda _: None,
            trace_id="t", stop=asyncio.Event(), prefix=prefix,
        )  # fmt: skip

    trace = with_engine(tiny_model, work)
    assert trace.response.startswith(prefix)
    assert trace.steps[0].name.startswith("Try")
    assert trace.sampling["continued_from"] == len(prefix)
    assert trace.stats["generated_tokens"] <= 5
    server = trace.sampling["server"]
    assert server["server"] == "transformers, in process"
    assert len(server["chat_template"]) == 64
    assert isinstance(trace.sampling["seed"], int)  # drawn by the engine, since none was asked for


@pytest.mark.slow
def test_several_threads_may_be_the_first_to_read_a_model() -> None:
    """In a process of its own, where transformers has not been imported yet."""
    code = """
import threading, time
from core.engines.local import LocalEngine
failed = []
def look():
    try:
        LocalEngine(None)._look()
    except BaseException as failure:
        failed.append(repr(failure))
threads = [threading.Thread(target=look) for _ in range(3)]
for thread in threads:
    thread.start()
    time.sleep(0.3)
for thread in threads:
    thread.join()
assert not failed, failed
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
