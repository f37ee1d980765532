"""The ledger is a search's own and the engine's count, whoever shares the models with it, and hard budgets hold for all that is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from core.engines.sampling import FREE, ModelSize
from core.scoring.prm import PrmScorer
from core.search import strategies
from core.search.ledger import Budget, Spent
from core.search.pricing import check_budget
from core.search.scheduler import Limits, Scheduler, Team
from core.search.scorers import CountdownOracle, Item, PrmSearch, Scored
from core.search.search import Event, Search, replay
from core.search.verifiers import CodeTests, OrmSearch
from core.trace import Problem
from tests.core import scoring_models as tiny
from tests.core.search.chance import Chance, Lengths

SHORT = Limits(max_tokens=120, step_tokens=20)
BIG = ModelSize(1_000_000, 2, 8)
GROWN: list[tuple[str, dict[str, Any]]] = [
    ("beam", {"width": 2, "branch": 2}),
    ("dvts", {"subtrees": 3, "branch": 2}),
    ("mcts", {"simulations": 12, "branch": 2, "parallel": 3, "max_depth": 3}),
    ("best-of-n", {"n": 6}),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> PrmScorer:
    """A reward model of a token a byte."""
    folder = tmp_path_factory.mktemp("prm")
    tiny.token_classifier(folder)
    return PrmScorer(folder)


def search(name: str, seed: int = 9, prompt: str = "How much?", **params: Any) -> Search:
    return Search(Problem.ask(prompt), strategies.make(name, params), seed=seed)


def drive(one: Search, team: Team, budget: Budget = Budget(), log: Any = lambda event: None, limits: Limits = SHORT) -> Search:  # fmt: skip
    return asyncio.run(Scheduler().run(one, team, budget, limits, log=log))


def paid(one: Search) -> Spent:
    """Without what is of the clock."""
    return replace(one.spent, seconds=0.0)


def alike(a: Any, b: Any) -> bool:
    """Equal, but for the last bits of what a model computed."""
    if isinstance(a, float) and isinstance(b, float):
        return abs(a - b) < 1e-4
    if is_dataclass(a) and type(a) is type(b):
        return all(alike(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    if isinstance(a, dict) and isinstance(b, dict):
        return list(a) == list(b) and all(alike(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple) and type(a) is type(b):
        return len(a) == len(b) and all(map(alike, a, b))
    return bool(a == b)


# ---- a reward model that all share


@pytest.mark.parametrize(("name", "params"), GROWN)
@pytest.mark.parametrize("tokens", [None, 900])
def test_a_search_costs_the_same_alone_again_and_in_company(
    model: PrmScorer, name: str, params: dict[str, Any], tokens: int | None
) -> None:
    def one(prompt: str = "How much?") -> Search:
        return search(name, prompt=prompt, **params)

    budget = Budget(tokens=tokens)
    alone = drive(one(), Team(Chance(), PrmSearch(model)), budget)
    shared = PrmSearch(model)
    again = [drive(one(), Team(Chance(), shared), budget) for _ in range(2)]

    async def company() -> list[Search]:
        scheduler = Scheduler()
        runs = [
            scheduler.run(one(prompt), Team(Chance(delay=0.004, chance=i), shared), budget, SHORT, user=str(i))
            for i, prompt in enumerate(("How much?", "How many?", "How much?"))
        ]
        return list(await asyncio.gather(*runs))

    first, _, third = asyncio.run(company())
    for other in (*again, first, third):
        assert paid(other) == paid(alone)
        assert alike(other.state.tree.nodes, alone.state.tree.nodes)
    assert alone.spent.scorer > 0
    assert tokens is None or alone.spent.tokens <= tokens


@pytest.mark.parametrize(("name", "params"), GROWN)
@pytest.mark.parametrize("tokens", [None, 700])
def test_a_search_that_was_killed_goes_on_to_the_same_ledger_with_a_reward_model_that_knows_nothing_yet(
    model: PrmScorer, name: str, params: dict[str, Any], tokens: int | None
) -> None:
    one, budget = search(name, **params), Budget(tokens=tokens)
    log: list[Event] = [one.start_event()]
    drive(one, Team(Chance(delay=0.002), PrmSearch(model)), budget, log.append)
    for cut in range(1, len(log) - 1, 2):
        again, _ = replay(log[:cut])
        drive(again, Team(Chance(delay=0.002, chance=cut), PrmSearch(model)), budget)
        assert paid(again) == paid(one)
        assert again.reason == one.reason
        assert alike(again.state.tree.nodes, one.state.tree.nodes)
        assert alike(again.choice, one.choice)


class Reads(PrmSearch):
    """It knows what it was asked to read, and forgets all."""

    def __init__(self, scorer: PrmScorer) -> None:
        super().__init__(scorer)
        self.texts: list[tuple[str, ...]] = []

    def _blocking(self, items: Sequence[Item]) -> list[Scored]:
        self._growing = None
        self.texts += [item.steps for item in items]
        return super()._blocking(items)


def test_a_step_is_charged_once_and_the_steps_before_it_are_those_that_this_search_had_judged(model: PrmScorer) -> None:
    scorer = Reads(model)
    one = drive(search("beam", width=2, branch=2), Team(Chance(ends=0.1), scorer))
    question = len(model.windows("How much?", [""])[0].ids) - 1
    tree, due = one.state.tree, 0
    for node in tree.nodes[1:]:
        first = node.parent == 0
        due += len(node.text.encode()) + 1 + (question if first else 0)  # a token a byte, and the separator
    assert one.spent.scorer == due
    assert len(scorer.texts) == len(set(scorer.texts))  # what has a score is not asked about again


@pytest.mark.parametrize("kind", [PrmSearch, OrmSearch])
@pytest.mark.parametrize("longest", [1024, 160])
def test_a_budget_of_tokens_holds_for_what_a_reward_model_reads(
    model: PrmScorer, kind: type[PrmSearch], longest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tokens are not the solver's, each step has a separator more, and texts that are too long are read in windows."""
    monkeypatch.setattr(model, "max_tokens", longest)
    spent = []
    for tokens in (150, 300, 500, 1000, 2500):
        for name, params in GROWN:
            one = drive(search(name, 3, **params), Team(Chance(ends=0.05), kind(model)), Budget(tokens=tokens), limits=Limits(max_tokens=60))  # fmt: skip
            assert one.spent.tokens <= tokens
            spent.append(one.spent.tokens / tokens)
    assert max(spent) > 0.6  # and is made use of


def test_a_reward_model_with_the_solvers_tokens_has_less_set_aside(model: PrmScorer) -> None:
    scorer, item = PrmSearch(model), Item(Problem.ask("How much?"), ())
    size = asyncio.run(scorer.size())
    assert size is not None and size.tokens
    assert scorer.at_most(item, 100, size.tokens) + 400 < scorer.at_most(item, 100) == scorer.at_most(item, 100, "x")


# ---- FLOPs


def test_what_costs_nothing_is_no_reason_to_refuse_a_budget_in_flops() -> None:
    assert asyncio.run(CountdownOracle().size()) == asyncio.run(CodeTests().size()) == FREE

    class Free(Lengths):
        async def score(self, items: Sequence[Item]) -> list[Scored]:
            return [replace(one, tokens=0) for one in await super().score(items)]

    one = drive(search("beam", width=2, branch=2), Team(Chance(), Free(FREE)), Budget(flops=1e12, tokens=1000))
    assert one.reason == "finished"
    assert (one.spent.scorer, one.spent.scorer_flops) == (0, 0.0)
    least = Budget(tokens=30)  # nothing is set aside for it either
    assert drive(search("best-of-n", n=1), Team(Chance(ends=1.0), Free(FREE)), least, limits=Limits(max_tokens=30)).reason == "finished"  # fmt: skip


@pytest.mark.parametrize("flops", [2e5, 2e7, 2e8])
def test_each_part_is_priced_by_the_size_of_who_writes_it(flops: float) -> None:
    team = Team(Chance(), None, Chance(size=BIG))
    one = drive(search("planner", plans=2, executions=20), team, Budget(flops=flops), limits=Limits(max_tokens=60))
    assert one.spent.flops is not None and one.spent.flops <= flops
    assert one.reason == ("finished" if flops == 2e8 and one.spent.generated > 300 else "budget")


@pytest.mark.parametrize(
    ("team", "who"),
    [
        (Team(Chance(size=None)), "The size of chance is not known"),
        (Team(Chance(), Lengths(None)), "The size of the scorer lengths is not known"),
        (Team(Chance(), None, Chance(size=None)), "The size of the executor chance is not known"),
    ],
)
def test_a_size_that_nobody_knows_is_named_before_anything_is_spent(team: Team, who: str) -> None:
    with pytest.raises(ValueError, match=who):
        asyncio.run(check_budget(Budget(flops=1e9), team, Problem.ask("How much?")))
    one = drive(search("planner", plans=2, executions=2), team, Budget(flops=1e9))
    assert (one.reason, one.spent.calls) == ("error", 0)


# ---- what is cut off


def test_a_search_out_of_time_decides_with_what_is_finished_and_pays_for_the_rest() -> None:
    engine = Chance(delay=50.0, ends=0.5)
    log: list[Event] = []
    one = search("best-of-n", n=24)
    start = one.start_event()
    drive(one, Team(engine), Budget(seconds=0.1), log.append)
    assert one.reason == "budget" and one.choice is not None and one.choice.node is not None
    leaves, cut = one.state.tree.leaves(), [n for n in one.state.tree.nodes if n.end == "length"]
    assert leaves and cut
    assert one.spent.generated == engine.made
    assert [e["cut"] for e in log if e["type"] == "result"] == ["budget"]
    again, _ = replay([start, *log])
    assert (again.state.tree, again.choice, again.spent) == (one.state.tree, one.choice, one.spent)


def test_an_engine_that_cannot_say_what_it_wrote_is_named_in_the_ledger() -> None:
    engine = Chance(delay=50.0)
    engine.tells = False
    one = drive(search("best-of-n", n=4), Team(engine), Budget(seconds=0.05))
    assert (one.spent.calls, one.spent.uncounted, one.spent.generated) == (1, 1, 0)
    assert one.node_spent[0].uncounted == 1
    assert Spent.from_json(one.spent.to_json()) == one.spent
    assert Spent.from_json({k: v for k, v in one.spent.to_json().items() if k != "uncounted"}).uncounted == 0


def test_what_came_early_counts_in_a_search_that_is_stopped() -> None:
    """Later subtrees were done before the first: they were paid for, and their answers are there."""

    class FirstIsSlow(Chance):
        async def sample(self, request: Any) -> Any:
            self.delay = 0.0 if self.requests else 100.0
            return await super().sample(request)

    engine = FirstIsSlow(ends=0.5)
    one = drive(search("dvts", subtrees=4, branch=2), Team(engine, Lengths()), Budget(seconds=0.2))
    assert one.spent.generated == engine.made
    assert len(one.state.tree.leaves()) > 0


def test_a_reward_model_is_paid_for_what_it_is_reading_and_not_for_what_waits(model: PrmScorer) -> None:
    import threading

    began, go = threading.Event(), threading.Event()
    read: list[Item] = []

    class Held(PrmSearch):
        def _blocking(self, items: Sequence[Item]) -> list[Scored]:
            read.extend(items)
            began.set()
            go.wait(10)
            return super()._blocking(items)

    async def work() -> tuple[list[Item], PrmSearch]:
        scorer, problem = Held(model), Problem.ask("How much?")
        items = [Item(problem, (f"step {i}",)) for i in range(70)]
        asked = asyncio.ensure_future(scorer.score(items))
        await asyncio.to_thread(began.wait, 10)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        go.set()
        return items, scorer

    items, scorer = asyncio.run(work())
    assert len(read) == 64
    charged = [sum(one.tokens for one in item.cut if one) for item in items]
    assert charged == [scorer.cost(item) for item in items[:64]] + [0] * 6


# ---- sizes


def test_of_experts_those_count_that_a_token_goes_through(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file
    from transformers import MixtralConfig

    from core.engines.sampling import size_of

    config = MixtralConfig(
        hidden_size=8, num_attention_heads=2, num_key_value_heads=2, num_hidden_layers=1, num_local_experts=4, num_experts_per_tok=2,
        tie_word_embeddings=False,
    )  # fmt: skip
    weights = {f"model.layers.0.block_sparse_moe.experts.{i}.w1.weight": torch.zeros(8, 10) for i in range(4)}
    weights |= {
        "model.layers.0.mlp.shared_expert.up_proj.weight": torch.zeros(8, 3),
        "lm_head.weight": torch.zeros(5, 8),
    }
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert size_of(config, tmp_path).parameters == 2 * 80 + 24 + 40
