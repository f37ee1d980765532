"""Faults that other libraries for inference-time search have, each as what must hold here.

Seen in July to November 2026 in its_hub 1.2.0, search-and-learn, REBASE, ThinkBooster 0.1.1 and OptiLLM 0.4.0; each test says whose it was.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from core.engines.base import Bounds, Sampling
from core.engines.local import LocalEngine
from core.engines.openai_api import OpenAIEngine
from core.engines.sampling import PieceEnd, Sample, Sampled, SampleRequest
from core.formats.steiner_tokens import REASONING_END, STEP_END
from core.scoring.prm import AGGREGATIONS, aggregate
from core.search import strategies
from core.search.ledger import Budget, Spent
from core.search.scheduler import Limits, Scheduler, Team
from core.search.scorers import Scored
from core.search.search import Event, Search
from core.trace import Problem
from tests.core.search.chance import STEP, Chance, Lengths
from tests.core.search.writes import LIMITS, Says, Writes, drive, search
from tests.core.served import Script, serving

ROOT = Path(__file__).parents[3]


def depth_of(engine: Chance) -> int:
    """How many steps deep an engine was asked to go, by the requests it got."""
    return len({len(r.written) for r in engine.requests if r.stop})


# ---- 1. its_hub: only the text of a step is looked at, so that an answer that ended goes on


def test_an_answer_that_ended_is_never_gone_on_from() -> None:
    engine = Writes(lambda r, i: (" Answer: 7", "eos") if r.written else (f"step {i}{STEP}", "step"))
    one = drive(engine, search("beam", width=2, branch=2), Lengths())
    ended = [n for n in one.state.tree.nodes if n.ended]
    assert ended
    assert depth_of(engine) == 2
    whole = {one.state.tree.ids(n.id) for n in ended}
    assert not [r for r in engine.requests if any(r.written[: len(ids)] == ids for ids in whole)]
    assert one.choice is not None and one.choice.node is not None
    # The answer is the two pieces as they were written, and nothing after them.
    assert one.state.tree.text(one.choice.node) in {f"step {i}{STEP} Answer: 7" for i in range(2)}


@pytest.mark.slow
def test_a_model_in_this_process_says_where_its_answer_ended() -> None:
    """Step by step to the end, greedily: the last piece is the end of the answer, the ones before it are steps."""

    async def work() -> list[Sample]:
        engine, pieces = LocalEngine(), []
        mark = (await engine.marks()).step_end
        try:
            while not pieces or pieces[-1].end == "step":
                written = tuple(i for p in pieces for i in p.ids)
                request = SampleRequest(
                    "Reach 24 from 4, 7, 8 and 8.", written, 1, Sampling(0, 1.0, 1, 300), Bounds(0, 6), (mark,)
                )
                pieces += (await engine.sample(request)).samples
        finally:
            await engine.close()
        return pieces

    *steps, last = asyncio.run(work())
    assert last.end == "eos"
    assert STEP_END not in last.text
    assert all(p.text.endswith(STEP_END) for p in steps)


# ---- 2. its_hub: the limit is tested before the step is appended, so that max_steps=8 runs 9


def test_eight_steps_are_eight_for_a_strategy() -> None:
    engine = Writes(lambda r, i: (f"{len(r.written)} {i}{STEP}", "step" if r.stop else "eos"))
    drive(engine, search("beam", width=2, branch=2, max_depth=8), Lengths())
    assert depth_of(engine) == 8


def test_eight_steps_are_eight_for_a_model() -> None:
    async def work() -> list[Sample]:
        engine = LocalEngine()
        request = SampleRequest("Reach 24 from 4, 7, 8 and 8.", (), 4, Sampling(1.0, 1.0, 3, 3000), Bounds(8, 8))
        try:
            return list((await engine.sample(request)).samples)
        finally:
            await engine.close()

    assert [s.text.count(STEP_END) for s in asyncio.run(work())] == [8] * 4


# ---- 3. its_hub: a template that drops the trailing mark makes every later step "", and all steps are burnt


def test_an_empty_step_is_seen_kept_in_the_books_and_never_gone_on_from() -> None:
    engine, scorer = Writes(lambda r, i: (STEP, "step") if r.stop else ("Answer: 7", "eos")), Lengths()
    one = drive(engine, search("beam", width=2, branch=2, max_depth=8), scorer)
    assert len([r for r in engine.requests if r.stop]) == 1
    assert [n.end for n in one.state.tree.nodes][:2] == ["root", "empty"]
    assert one.state.tree[1].pruned
    assert all(item.ended for item in scorer.asked)  # nobody was asked to judge blanks
    assert one.spent.generated == engine.made
    assert one.reason == "finished"


def test_the_mark_of_a_step_stays_in_what_is_gone_on_from() -> None:
    engine = Writes(lambda r, i: (f"{len(r.written)} {i}{STEP}", "step" if r.stop else "eos"))
    one = drive(engine, search("beam", width=2, branch=2, max_depth=4), Lengths())
    assert all(r.keep_stop for r in engine.requests)
    steps = [n for n in one.state.tree.nodes if n.end == "step"]
    assert all(one.state.tree.text(n.id).count(STEP) == one.state.tree.depth(n.id) for n in steps)


# ---- 4. its_hub: finished beams are copied and keep their places; the results hold copies


def test_a_finished_beam_is_paid_for_once_and_equal_beams_are_one() -> None:
    def piece(request: SampleRequest, i: int) -> tuple[str, PieceEnd]:
        if not request.written:
            return [("Answer: 1", "eos"), *[(f"a{STEP}", "step")] * 3, *[(f"bb{STEP}", "step")] * 2][i]  # type: ignore[return-value]
        return f" Answer: {i}", "eos"

    engine = Writes(piece)
    one = drive(engine, search("beam", width=3, branch=2), Lengths())
    first, *then = engine.requests
    assert first.n == 6
    texts = [one.state.tree.text(n.id) for n in one.state.tree.nodes]
    assert len(set(texts)) == len(texts)
    # The two that have not ended go on, each once, in one request; the one that has is in none.
    assert sorted(one.state.tree.text(n.id) for n in one.state.tree.nodes if n.children and n.id) == [
        f"a{STEP}",
        f"bb{STEP}",
    ]
    assert [r.n for r in then] == [2, 2]


def test_who_gives_up_with_the_target_in_reach_has_not_reached_it() -> None:
    from core.search.scorers import CountdownOracle, Item
    from training.synthesis.countdown import walks

    walk = next(w for w in walks(3) if w.path and not any(s.decision == "backtrack" for s in w.steps))
    thinking = walk.response.partition(REASONING_END)[0]
    steps = tuple(s + STEP_END for s in thinking.split(STEP_END)[:-1])
    oracle, problem = CountdownOracle(), Problem.ask(walk.prompt)
    assert oracle.values(Item(problem, steps, (), True))[-1] == 1.0
    assert oracle.values(Item(problem, steps[:1], (), False)) == (1.0,)
    assert oracle.values(Item(problem, steps[:1], (), True)) == (0.0,)


def test_what_is_surely_wrong_is_not_grown_beside_what_may_be_right() -> None:
    engine = Writes(lambda r, i: (f"{len(r.written)} {i % 2}{STEP}", "step" if r.stop else "eos"))
    one = drive(engine, search("beam", width=2, branch=2, max_depth=3), Says(**{"0": (0.0,), "1": (0.7,)}))
    grown = [n for n in one.state.tree.nodes[1:] if n.children]
    assert grown
    assert all(n.text.strip().endswith("1") for n in grown)


# ---- 5. search-and-learn: lookahead writes rollouts and then scores the text without them


def test_what_lookahead_rolls_out_is_what_it_scores() -> None:
    """One way looks good and leads nowhere, the other looks bad and leads to the answer."""

    class Judge(Says):
        async def score(self, items: Any) -> list[Scored]:
            self.seen += ["".join(item.steps) for item in items]
            return [
                Scored(({"bright": 0.9, "dull": 0.2, "trap": 0.01, "door": 0.95}.get(s.split()[-1], 0.5),))
                for s in self.seen[-len(items) :]
            ]

    def piece(request: SampleRequest, i: int) -> tuple[str, PieceEnd]:
        if not request.stop:
            return "Answer: 1", "eos"
        if not request.written:
            return f"{('bright', 'dull')[i % 2]}{STEP}", "step"
        return f"{'trap' if request.written[-1] == bright else 'door'}{STEP}", "step"

    bright = sum(f"bright{STEP}".encode())
    judge = Judge()
    engine = Writes(piece)
    one = drive(engine, search("lookahead", width=1, branch=2, ahead=1, max_depth=1), judge)
    tree = one.state.tree
    first = {n.text.strip(): n for n in tree.nodes if n.parent == 0}
    assert any(text.split()[-1] == "trap" for text in judge.seen)
    assert (first["bright"].pruned, first["dull"].pruned) == (True, False)
    assert one.spent.generated == engine.made


# ---- 6. search-and-learn: completion_tokens is 0 for beam search and -1 for DVTS


@pytest.mark.parametrize("name", list(strategies.STRATEGIES))
def test_every_strategy_charges_exactly_what_the_engine_wrote(name: str) -> None:
    engine, scorer = Chance(), Lengths()
    one = drive(engine, search(name, seed=4), scorer, limits=Limits(max_tokens=200, step_tokens=20))
    assert one.reason == "finished"
    assert one.spent.generated == engine.made > 0
    assert one.spent.scorer == scorer.read
    assert sum(one.node_spent.values(), Spent()).generated == engine.made
    assert sum(n.tokens for n in one.state.tree.nodes) == engine.made
    assert one.spent.calls == len(engine.requests)


# ---- 7. search-and-learn: a step cut by its length looks like the end of an answer


def test_a_step_that_its_length_cut_is_no_answer() -> None:
    engine = Chance(ends=0.0)
    one = drive(engine, search("beam", width=2, branch=2), Lengths(), limits=Limits(step_tokens=1))
    assert {n.end for n in one.state.tree.nodes[1:]} == {"length"}
    assert one.choice is not None
    assert one.choice.node is None
    assert one.choice.why == "no answer was finished"


def test_a_model_in_this_process_tells_length_from_end_and_from_step() -> None:
    async def ends(tokens: int, stop: tuple[str, ...]) -> PieceEnd:
        request = SampleRequest("Reach 24 from 4, 7, 8 and 8.", (), 1, Sampling(0, 1.0, 1, tokens), Bounds(0, 2), stop)
        return (await engine.sample(request)).samples[0].end

    async def work() -> list[PieceEnd]:
        return [await ends(5, (STEP_END,)), await ends(300, (STEP_END,)), await ends(900, ()), await ends(60, ())]

    engine = LocalEngine()
    try:
        assert asyncio.run(work()) == ["length", "step", "eos", "length"]
    finally:
        asyncio.run(engine.close())


# ---- 8. search-and-learn: a custom chat template is silently ignored


def test_a_models_own_chat_template_is_what_it_reads(tiny_model: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(tiny_model, other)
    template = "{% for m in messages %}7 7 7 {{ m['content'] }}{% endfor %} 8"
    for file in other.glob("chat_template*"):
        file.unlink()
    (other / "chat_template.jinja").write_text(template)

    async def prompt_tokens(folder: Path) -> int:
        engine = LocalEngine(folder, "tiny")
        try:
            asked = SampleRequest("Reach 24 from 4, 7, 8 and 8.", sampling=Sampling(0, 1.0, 1, 1))
            return (await engine.sample(asked)).prompt_tokens
        finally:
            await engine.close()

    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(other)
    wanted = len(tokenizer("7 7 7 Reach 24 from 4, 7, 8 and 8. 8", add_special_tokens=False).input_ids)
    assert asyncio.run(prompt_tokens(other)) == wanted != asyncio.run(prompt_tokens(tiny_model))


def test_a_server_renders_the_question_and_what_it_rendered_is_gone_on_from() -> None:
    """The template is the server's: it is asked for the ids of the conversation, and they are what it then gets back."""
    completion = {
        "choices": [{"text": "a", "token_ids": [5], "finish_reason": "stop", "stop_reason": None}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1},
    }
    script = Script(
        owned_by="vllm",
        replies={
            "/version": {"version": "0.32.0"},
            "/tokenize": {"tokens": [41, 42, 43]},
            "/v1/completions": completion,
        },
    )

    async def work(url: str) -> Sampled:
        engine = OpenAIEngine(url, "served")
        try:
            return await engine.sample(SampleRequest("How much?", (9, 8), sampling=Sampling(seed=1)))
        finally:
            await engine.close()

    with serving(script) as url:
        asyncio.run(work(url))
    rendered = [b for path, b in script.others if path == "/tokenize" and "messages" in b]
    assert rendered[-1]["messages"] == [{"role": "user", "content": "How much?"}]
    assert rendered[-1]["add_generation_prompt"] is True
    assert script.others[-1][1]["prompt"] == [41, 42, 43, 9, 8]


# ---- 9. search-and-learn: always aggregates "last"; results are grouped by the text of the question


@pytest.mark.parametrize("how", AGGREGATIONS)
def test_scores_of_steps_become_one_as_the_search_was_told(how: Any) -> None:
    scores = {"x": (0.9, 0.2, 0.9), "y": (0.6, 0.6, 0.6), "z": (0.1, 0.1, 0.95), "w": (0.99, 0.99, 0.3)}
    engine = Writes(lambda r, i: (f"Answer: {'xyzw'[i]}", "eos"))
    one = Search(Problem.ask("?"), strategies.make("best-of-n", {"n": 4, "vote": "best"}), aggregation=how)
    drive(engine, one, Says(**scores))
    best = max(scores, key=lambda k: aggregate(scores[k], how))
    assert {n.text[-1]: n.score for n in one.state.tree.nodes[1:]} == {k: aggregate(v, how) for k, v in scores.items()}
    assert one.choice is not None
    assert one.choice.answer == f"answer: {best}"


@pytest.mark.parametrize("how", AGGREGATIONS)
@pytest.mark.parametrize(
    ("name", "params"), [("beam", {"width": 1, "branch": 4}), ("dvts", {"subtrees": 1, "branch": 4})]
)
def test_the_step_that_is_gone_on_with_is_the_best_as_the_search_was_told(
    name: str, params: dict[str, int], how: Any
) -> None:
    """For each way of making one score of two another step is the best."""
    scores = {"x": (0.7, 0.7), "y": (1.0, 0.56), "z": (0.95, 0.6), "w": (0.1, 0.95)}

    def piece(request: SampleRequest, i: int) -> tuple[str, PieceEnd]:
        if not request.written:
            return f"first{STEP}", "step"
        return ("Answer: 7", "eos") if len(request.written) > 1 else (f"{'xyzw'[i]}{STEP}", "step")

    one = Search(Problem.ask("?"), strategies.make(name, params), aggregation=how)
    drive(Writes(piece), one, Says(first=(0.5,), **scores, **{"7": (1.0,)}))
    grown = [n.text.strip() for n in one.state.tree.nodes if n.children and n.parent]
    assert grown == [{"min": "x", "mean": "y", "prod": "z", "last": "w"}[how]]


def test_the_same_question_twice_at_once_is_two_searches() -> None:
    engine, scheduler = Chance(delay=0.002), Scheduler()
    searches = [search("beam", seed=s, width=2, branch=2) for s in (0, 1, 2, 0)]

    async def work() -> None:
        await asyncio.gather(*(scheduler.run(s, Team(engine, Lengths()), limits=LIMITS) for s in searches))

    asyncio.run(work())
    assert len({s.search_id for s in searches}) == 4
    assert searches[0].state.tree == searches[3].state.tree
    assert searches[0].state.tree != searches[1].state.tree != searches[2].state.tree
    assert sum(s.spent.generated for s in searches) == engine.made


# ---- 10. REBASE: the tokens of a path never include the parent's, so that its limit never fires


GROWS = [("beam", {"width": 2, "branch": 2}), ("rebase", {"n": 4})]


@pytest.mark.parametrize(("name", "params"), GROWS)
def test_the_limit_of_a_response_holds_however_many_steps_it_was_grown_by(name: str, params: dict[str, int]) -> None:
    engine = Writes(lambda r, i: (f"one two three {len(r.written)} {i}{STEP}", "step" if r.stop else "eos"))
    one = drive(engine, search(name, **params), Lengths(), limits=Limits(max_tokens=17, step_tokens=100))
    tree = one.state.tree
    lengths = [len(tree.ids(n.id)) for n in tree.nodes]
    assert 15 <= max(lengths) <= 20
    assert all(r.sampling.max_tokens <= 17 - len(r.written) for r in engine.requests)
    assert [n for n in tree.nodes if n.end == "length"]
    assert one.reason == "finished"


@pytest.mark.parametrize(("name", "params"), GROWS)
def test_the_limit_of_a_search_holds(name: str, params: dict[str, int]) -> None:
    engine = Chance(ends=0.0)
    one = drive(engine, search(name, **params), Lengths(), budget=Budget(tokens=300), limits=Limits(step_tokens=10))
    assert one.reason == "budget"
    assert 150 < one.spent.tokens <= 300


# ---- 11. ThinkBooster and search-and-learn: an installed package lacks files and modules


@pytest.mark.slow
def test_an_installed_wheel_has_every_strategy_and_file(tmp_path: Path) -> None:
    source = tmp_path / "source"
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for part in ("app", "core", "storage", "training"):
        shutil.copytree(ROOT / part, source / part, ignore=ignore)
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index", "-w"]
    subprocess.run([*build, str(tmp_path), str(source)], check=True, capture_output=True, timeout=300)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
        there = set(archive.namelist())
    wanted = {
        str(p.relative_to(source))
        for part in ("app", "core", "storage", "training") for p in (source / part).rglob("*") if p.is_file()
    }  # fmt: skip
    assert not sorted(wanted - there)
    code = (
        "import importlib, json, pkgutil, core, core.search, core.answers; from core.search import strategies\n"
        "found = [strategies.make(n).NAME for n in strategies.STRATEGIES]\n"
        "for p in (core.search, core.answers):\n"
        "  for m in pkgutil.walk_packages(p.__path__, p.__name__ + '.'): importlib.import_module(m.name)\n"
        "from core.pocket import model_dir\n"
        "print(json.dumps([core.__file__, found, (model_dir() / 'config.json').exists()]))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "installed")},
    )  # fmt: skip
    where, names, model = json.loads(done.stdout)
    assert where.startswith(str(tmp_path / "installed"))
    assert names == list(strategies.STRATEGIES)
    assert model


# ---- 12. OptiLLM and ThinkBooster: what streams is a replay after the end


def test_events_come_while_the_search_works() -> None:
    class Gated(Chance):
        def __init__(self) -> None:
            super().__init__(ends=0.0)
            self.go = asyncio.Semaphore(0)

        async def sample(self, request: SampleRequest) -> Sampled:
            await self.go.acquire()
            return await super().sample(request)

    async def work() -> None:
        engine, shown = Gated(), list[Event]()
        one = search("beam", width=2, branch=2, max_depth=3)
        run = asyncio.create_task(Scheduler().run(one, Team(engine, Lengths()), limits=LIMITS, show=shown.append))
        for depth, requests in ((1, 1), (2, 2), (3, 2)):
            for _ in range(requests):
                engine.go.release()
            await asyncio.sleep(0.05)
            assert not run.done()
            assert max(e["path"].count(".") + 1 for e in shown if e["type"] == "node") == depth
            assert [e for e in shown if e["type"] == "ledger"][-1]["generated"] == engine.made > 0
        for _ in range(20):
            engine.go.release()
        await asyncio.wait_for(run, 10)
        assert shown[-1]["type"] == "done"

    asyncio.run(work())
