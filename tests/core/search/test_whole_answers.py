"""Strategies over whole answers against a model that answers by rule: the trees they draw, what they ask, what they choose."""

from __future__ import annotations

import asyncio
import pickle
import re
from collections.abc import AsyncGenerator, Callable, Sequence

import pytest

from core.engines.base import Chunk, GenerateRequest
from core.engines.sampling import Marks, ModelSize, Sample, Sampled, SampleRequest
from core.search import policy, strategies
from core.search.base import State
from core.search.ledger import Budget
from core.search.policy import Measured, Rule
from core.search.scheduler import Limits, Scheduler, Team
from core.search.scorers import Item, Scored, Scorer
from core.search.search import Search, replay
from core.search.strategies import prompts
from core.search.verifiers import SCORERS, CodeTests, JudgeSearch, OrmSearch, Rollouts, known
from core.search.voting import Candidate
from core.trace import Problem
from tests.core.search.scripted import drawing


class Writer:
    """Answers a prompt by `says(prompt, i)`, i counting the answers to the same prompt. A token is a character, and one for the end."""

    model = "writer"

    def __init__(self, says: Callable[[str, int], str]) -> None:
        self.says, self.prompts, self.asked = says, [], {}

    async def sample(self, request: SampleRequest) -> Sampled:
        self.prompts.append(request.prompt)
        samples = []
        for _ in range(request.n):
            turn = self.asked[request.prompt] = self.asked.get(request.prompt, -1) + 1
            text = self.says(request.prompt, turn)
            most = request.sampling.max_tokens
            if len(text) < most:
                samples.append(Sample(text, (*map(ord, text), 0), "eos", len(text) + 1))
            else:
                samples.append(Sample(text[:most], tuple(map(ord, text[:most])), "length", most))
        return Sampled(tuple(samples), len(request.prompt))

    async def marks(self) -> Marks:
        return Marks()

    async def size(self) -> ModelSize:
        return ModelSize(100, 1, 4)


class ByTable:
    """A scorer: the score of the first text of the table that a response ends with."""

    name, version = "table", "1"

    def __init__(self, table: dict[str, float]) -> None:
        self.table = table

    async def score(self, items: Sequence[Item]) -> list[Scored]:
        return [Scored((next((v for k, v in self.table.items() if i.text.endswith(k)), 0.1),)) for i in items]

    async def size(self) -> None:
        return None


def run(
    name: str, model: Writer, problem: Problem | None = None, scorer: Scorer | None = None, executor: Writer | None = None,
    budget: Budget = Budget(), max_tokens: int = 5000, **params: object,
) -> Search:  # fmt: skip
    search = Search(problem or Problem.ask("How many?", "text", "7"), strategies.make(name, params))
    log = [search.start_event()]
    team = Team(model, scorer, executor)
    asyncio.run(
        asyncio.wait_for(Scheduler().run(search, team, budget, Limits(max_tokens=max_tokens), log=log.append), 60)
    )
    again, _ = replay(log)
    assert (
        again.state.tree == search.state.tree
        and again.state.memo == search.state.memo
        and again.choice == search.choice
    )
    assert pickle.loads(pickle.dumps(search.state.memo)) == search.state.memo
    return search


# ---- self-revision


def test_a_chain_is_revised_round_by_round_and_the_best_scored_answer_is_chosen() -> None:
    drafts = {"5": "6", "6": "7", "7": "8"}

    def says(prompt: str, turn: int) -> str:
        return next((new for old, new in drafts.items() if f"attempt:\n\n{old}\n" in prompt), "5")

    model = Writer(says)
    search = run("revision", model, scorer=ByTable({"7": 0.9, "8": 0.3}), rounds=3)
    assert drawing(search) == (
        "* ?\n  * 5 0.10 [attempt]\n    * 6 0.10 [revision]\n      * 7 0.90 [revision]\n        - 8 0.30 [revision]"
    )
    assert search.choice is not None and search.choice.answer == "7"
    assert len(model.prompts) == 4 and "5" not in model.prompts[-1]  # a revision sees the last attempt alone


def test_the_last_of_each_chain_can_decide_and_equal_attempts_are_one_chain() -> None:
    def says(prompt: str, turn: int) -> str:
        return "7" if "attempt:" in prompt else ("5", "5", "6")[turn]

    search = run("revision", Writer(says), rounds=1, chains=3, pick="last")
    assert drawing(search) == "* ?\n  * 5 ×2 [attempt]\n    * 7 [revision]\n  - 6 [attempt]\n    - 7 [revision]"
    assert search.choice is not None and search.choice.answer == "7"


def test_an_attempt_that_was_cut_is_not_revised() -> None:
    model = Writer(lambda prompt, turn: "on and on " * 100)
    search = run("revision", model, max_tokens=50)
    assert len(model.prompts) == 1
    assert search.choice is not None and search.choice.node is None


# ---- planner and executor


def test_one_model_plans_and_the_other_writes_what_its_ledger_says() -> None:
    planner = Writer(lambda prompt, turn: f"1. Think of way {turn}.")
    executor = Writer(lambda prompt, turn: "7" if "way 1" in prompt else "6")
    search = run("planner", planner, executor=executor, scorer=ByTable({"7": 0.9}), plans=2)
    assert drawing(search) == (
        "* ?\n  - 1. Think of way 0. [plan]\n    - 6 0.10 [execution]\n"
        "  * 1. Think of way 1. [plan]\n    * 7 0.90 [execution]"
    )
    assert len(planner.prompts) == 1 and len(executor.prompts) == 2
    assert all("Think of way" in p and p.startswith("How many?") for p in executor.prompts)
    assert search.spent.generated == 2 * len("1. Think of way 0.") + 2 + 2 * 2
    assert search.choice is not None and search.choice.votes == {"7": 0.9, "6": 0.1}


@pytest.mark.parametrize(
    ("task", "fits", "does_not"),
    [
        ("math", ("So 1.\n\n\\boxed{\\frac{1}{2}}", "$\\boxed{7}$"), ("7", "\\boxed{7} or 8")),
        ("choice", ("It is \\boxed{C}.",), ("C", "\\boxed{7}")),
        ("text", (), ()),
    ],
)
def test_only_the_executor_is_held_to_the_form_of_an_answer(
    task: str, fits: tuple[str, ...], does_not: tuple[str, ...]
) -> None:
    found: dict[str, str] = {}

    class Noting(Writer):
        async def sample(self, request: SampleRequest) -> Sampled:
            found["executor" if "Carry out" in request.prompt else "planner"] = request.form
            return await super().sample(request)

    run("planner", Noting(lambda prompt, turn: "7"), Problem.ask("How many?", task))
    assert found["planner"] == ""
    assert bool(found["executor"]) == bool(fits)
    assert all(re.fullmatch(found["executor"], text) for text in fits)
    assert not any(re.fullmatch(found["executor"], text) for text in does_not)


# ---- PlanSearch, with programs and tests that really run

SUM = Problem(
    "p", "Write total(numbers): the sum of a list of numbers, 0 of an empty one.", "code", None,
    {"tests": [{"call": "total", "args": [[1, 2]], "expect": 3}, "assert total([]) == 0"],
     "hidden_tests": [{"call": "total", "args": [[5, -5, 2]], "expect": 2}, {"call": "total", "args": [[]], "expect": 0}]},
)  # fmt: skip
GOOD = "```python\ndef total(numbers):\n    return sum(numbers)\n```"
HALF = "```python\ndef total(numbers):\n    return 3\n```"
HANGS = "```python\nwhile True:\n    pass\n```"


def plans(prompt: str, turn: int) -> str:
    """Two observations. Only the mended plan of both together leads to a good program."""
    if "List up to" in prompt:
        return "Here they are:\n\n- It folds.\n2) An empty list.\n"
    if "somewhere" in prompt:
        return "mended: " + prompt.partition("plan:\n\n")[2].partition("\n")[0]
    if "Write no solution yet" in prompt:
        return "plan of " + " and ".join(line[2:] for line in prompt.splitlines() if line.startswith("- "))
    plan = prompt.partition("plan:\n\n")[2].partition("\n")[0]
    if plan == "mended: plan of It folds. and An empty list.":
        return GOOD
    return HANGS if plan == "plan of An empty list." else HALF


@pytest.mark.slow
def test_plans_from_combinations_of_two_are_mended_solved_and_chosen_by_the_public_tests() -> None:
    model = Writer(plans)
    search = run("plan-search", model, SUM, CodeTests(), observations=5, plans=3)
    shapes = [(n.label, search.state.tree.depth(n.id), n.score) for n in search.state.tree.nodes[1:]]
    assert [s for s in shapes if s[0] == "solution"] == [
        ("solution", 3, 0.5), ("solution", 3, 0.0), ("solution", 3, 0.5),
        ("solution", 4, 0.5), ("solution", 4, 0.5), ("solution", 4, 1.0),
    ]  # fmt: skip
    assert (
        [label for label, _, _ in shapes].count("plan") == 3 == [label for label, _, _ in shapes].count("mended plan")
    )
    assert search.choice is not None and search.choice.node is not None
    assert search.state.tree.text(search.choice.node) == GOOD
    assert search.done_event()["right"] is True
    assert search.spent.scorer == 0
    ideas = [p for p in model.prompts if "Use these observations" in p]
    assert [p.count("\n- ") for p in ideas] == [1, 1, 2]
    assert all(n.answers == (n.label == "solution") for n in search.state.tree.nodes[1:])
    assert search.node_json(1)["answer"] is None


def test_a_search_that_may_stop_asks_for_nothing_more_once_all_public_tests_pass() -> None:
    def says(prompt: str, turn: int) -> str:
        return GOOD if "Follow this plan" in prompt else plans(prompt, turn)

    search = run("plan-search", Writer(says), SUM, CodeTests(), plans=3, early_stop=True)
    assert [n.label for n in search.state.tree.nodes].count("solution") < 6
    assert search.done_event()["right"] is True


def test_a_model_that_lists_nothing_still_gets_one_plan() -> None:
    search = run("plan-search", Writer(lambda prompt, turn: "" if "List up to" in prompt else "7"), mend=False)
    assert [n.label for n in search.state.tree.nodes[1:]] == ["observations", "plan", "solution"]
    assert search.choice is not None and search.choice.answer == "7"


def test_lists_are_read_as_text_and_never_run() -> None:
    hostile = "__import__('os').system('false')"
    assert prompts.items(f"- a\n* b\n1. c\n(2) d\n{hostile}", 9) == ["a", "b", "c", "d"]
    assert prompts.items(f"[{hostile}]\n# No\nSo:\nfree line", 9) == [f"[{hostile}]", "free line"]
    assert prompts.items("- a\n- a\n- b", 1) == ["a"]
    assert prompts.items("<think>\n- no\n</think>\n- yes", 9) == ["yes"]
    # Braces of a problem or of a plan are left as they are.
    assert "{0.__class__}" in prompts.SOLVE.format(problem="{0.__class__}", plan="{x}", form="")


# ---- compute-optimal

TABLE = (
    "0.2 any: stop; 0.7 strong: beam width=1 branch=2; 0.7 any: best-of-n n=6 vote=weighted; 1 any: revision rounds=1"
)


def test_an_easy_problem_is_done_with_its_probes() -> None:
    search = run("compute-optimal", Writer(lambda prompt, turn: "7"), policy=TABLE)
    assert drawing(search) == "* ?\n  * 7 ×4 [probe]"
    assert search.state.memo["difficulty"] == 0.0
    assert (
        search.choice is not None
        and search.choice.why == "majority (there are no scores to vote weighted) of 4; difficulty 0.00: stop"
    )


def test_the_probes_are_the_first_of_best_of_ns_answers() -> None:
    search = run("compute-optimal", Writer(lambda prompt, turn: ("7", "7", "5", "6", "7", "5")[turn]), policy=TABLE)
    # Half of the probes agree: 0.5.
    assert drawing(search) == "* ?\n  * 7 ×3 [probe]\n  - 5 ×2 [probe]\n  - 6 [probe]"
    assert search.choice is not None and search.choice.votes["7"] == 0.5


def test_a_scorer_that_tells_answers_apart_brings_on_the_beam_and_one_that_does_not_a_vote() -> None:
    def says(prompt: str, turn: int) -> str:
        return ("7", "7", "5", "6", "a\n\n7", "b\n\n5")[turn % 6]

    good = run("compute-optimal", Writer(says), scorer=ByTable({"7": 0.9, "5": 0.2}), policy=TABLE)
    assert good.state.memo["signal"] > 0.9 and good.state.memo["rule"].endswith("beam width=1 branch=2")
    assert good.state.memo["inner"]["beams"] is not None
    blind = run("compute-optimal", Writer(says), scorer=ByTable({"7": 0.5, "5": 0.5, "6": 0.5}), policy=TABLE)
    assert blind.state.memo["signal"] == 0.0 and "best-of-n" in blind.state.memo["rule"]


def test_oracle_difficulty_is_the_pass_rate_and_only_where_the_reference_is_known() -> None:
    says = Writer(lambda prompt, turn: "5" if "attempt:" not in prompt else "7").says
    agreed_but_wrong = run("compute-optimal", Writer(says), policy=TABLE, difficulty="oracle")
    assert agreed_but_wrong.state.memo["difficulty"] == 1.0
    assert (
        "revision" in agreed_but_wrong.state.memo["rule"]
        and agreed_but_wrong.state.tree.leaves()[-1].label == "revision"
    )
    unknown = run("compute-optimal", Writer(says), Problem.ask("How many?", "text"), policy=TABLE, difficulty="oracle")
    assert unknown.state.memo["difficulty"] == 0.0


def test_where_the_budget_ends_with_the_probes_they_decide() -> None:
    search = run(
        "compute-optimal", Writer(lambda prompt, turn: "7" * 20 + str(turn)), budget=Budget(tokens=60), max_tokens=30
    )
    assert search.reason == "budget" and search.spent.generated <= 60
    assert search.choice is not None and search.choice.node is not None


def test_every_rule_of_a_policy_can_be_written_and_read_and_what_cannot_says_why() -> None:
    for text in (policy.DEFAULT, TABLE):
        assert policy.read(policy.written(policy.read(text))) == policy.read(text)
    assert policy.read("1 any: best-of-n early_stop=true")[0].params == {"early_stop": True}
    for text, says in (
        ("", "there is no rule"),
        ("hard: beam", "must look like"),
        ("1.5 any: stop", "between 0 and 1"),
        ("1 any: nothing", 'no strategy "nothing"'),
        ("1 any: beam wide=2", 'no parameter "wide"'),
        ("1 any: compute-optimal", "cannot choose itself"),
    ):
        with pytest.raises(ValueError, match=says):
            strategies.make("compute-optimal", {"policy": text})


def test_a_rule_whose_strategy_needs_scores_is_passed_over_without_them() -> None:
    table = policy.read("1 any: beam width=2; 1 any: best-of-n n=4")
    assert policy.picked(table, 0.5, "weak", scored=False).strategy == "best-of-n"
    assert policy.picked(table, 0.5, "weak", scored=True).strategy == "beam"
    assert policy.picked(policy.read("0.1 any: beam"), 0.5, "weak", scored=True).strategy == policy.STOP


def test_difficulty_and_signal_are_what_they_say() -> None:
    probes = [Candidate(1, "a", 0.9, 2), Candidate(2, "b", 0.3)]
    assert policy.predicted_difficulty(probes, 4) == pytest.approx(1 - (0.5 + 2.1 / 4) / 2)
    assert policy.predicted_difficulty([], 4) == 1.0
    assert policy.signal_strength([Candidate(1, "a", None)]) is None
    # Two of "a" at 0.9 and one "b" at 0.3: all variance (0.08) lies between.
    assert policy.signal_strength(probes) == pytest.approx(0.08 / (0.08 + policy.NOISE**2))
    noisy = [Candidate(1, "a", 0.9), Candidate(2, "a", 0.1), Candidate(3, "b", 0.9), Candidate(4, "b", 0.1)]
    assert policy.signal_strength(noisy) == 0.0


def test_a_policy_is_learned_as_the_cheapest_that_is_as_good_in_each_bin() -> None:
    rows = []
    for i in range(20):
        easy = i < 10
        rows += [
            Measured(str(i), i / 20, "best-of-n", {"n": 1}, easy or i % 5 == 0, 100),
            Measured(str(i), i / 20, "best-of-n", {"n": 16}, easy or i % 5 < 2, 1600),
            Measured(str(i), i / 20, "beam", {"width": 4}, True, 900),
        ]
    learned = policy.policy_from(rows, bins=2)
    assert learned == (Rule(0.45, "any", "best-of-n", {"n": 1}), Rule(1.0, "any", "beam", {"width": 4}))
    assert policy.read(policy.written(learned)) == learned
    assert len(policy.policy_from(rows[:3], bins=5)) == 1
    with pytest.raises(ValueError, match="nothing to learn"):
        policy.policy_from([])


# ---- scorers


def scored(scorer: Scorer, *items: Item) -> list[Scored]:
    return asyncio.run(scorer.score(items))


def test_a_rollouts_value_is_the_share_of_completions_that_agree_and_its_tokens_are_the_scorers() -> None:
    problem = Problem.ask("How many?", "text", "6")
    model = Writer(lambda prompt, turn: ("7", "7", "5", "7")[turn % 4])  # what most say, and wrong
    agreeing = Rollouts(model, k=4)
    ended, open_ = Item(problem, ("7",), ended=True, response="7"), Item(problem, ("so ",), tuple(map(ord, "so ")))
    first, second = scored(agreeing, ended, open_)
    assert first.values == (1.0,) and second.values == (0.0,)  # "so 7" is another answer than "7"
    assert first.tokens == len("How many?") + 8 and second.tokens == len("How many?") + 8
    oracle = Rollouts(model, k=4, oracle=True)
    assert scored(oracle, ended)[0] == Scored((0.0,), 0)
    assert oracle.at_most(open_, 5) >= oracle.cost(open_) >= 4 * 3500 + 15


def test_the_budget_holds_with_a_scorer_that_costs_more_than_it_reads() -> None:
    solver, judge = Writer(lambda prompt, turn: "7"), Writer(lambda prompt, turn: "7")
    scorer = Rollouts(judge, k=4, max_tokens=20)
    search = run("best-of-n", solver, scorer=scorer, n=50, budget=Budget(tokens=2000), max_tokens=20)
    assert search.spent.scorer > 0 and search.spent.tokens <= 2000
    few = run("best-of-n", solver, scorer=Rollouts(judge, k=4, max_tokens=20), n=4)
    assert few.spent.scorer == len("How many?") + 8 and few.spent.scorer_flops


def test_public_tests_say_nothing_of_an_unfinished_program_and_name_what_is_missing() -> None:
    from core.scoring.prm import ScorerError

    assert scored(CodeTests(), Item(SUM, (GOOD,), response=GOOD)) == [Scored(())]
    assert scored(CodeTests(), Item(SUM, (HALF,), ended=True, response=HALF)) == [Scored((0.5,))]
    with pytest.raises(ScorerError, match=r"meta\.tests"):
        scored(CodeTests(), Item(Problem.ask("?", "code"), ("x",), ended=True))


def test_every_scorer_of_the_list_is_there_and_follows_the_protocol() -> None:
    for name in SCORERS:
        assert callable(known(name).score) and callable(known(name).size)
    with pytest.raises(ValueError, match="there is no scorer"):
        known("nothing")


def test_an_outcome_model_scores_a_finished_answer_once_at_its_end(tmp_path) -> None:
    from core.scoring.prm import PrmScorer
    from tests.core import scoring_models

    scoring_models.token_classifier(tmp_path)
    scorer = PrmScorer(tmp_path)
    text = "One step.\n\nAnd the answer: 7"
    one, none = scored(
        OrmSearch(scorer), Item(Problem.ask("How many?"), ("One step.\n\n", "And the answer: 7"), ended=True, response=text),
        Item(Problem.ask("How many?"), ("One step.\n\n",)),
    )  # fmt: skip
    assert one.values == pytest.approx(scorer.score("How many?", [text])) and one.tokens > 0
    assert none == Scored(())


class Critic:
    """An engine that writes one critique, of a token a word, after a question of 9 tokens."""

    model = "critic"

    def __init__(self, critique: str) -> None:
        self.critique = critique

    async def stream(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        for word in self.critique.split(" "):
            yield Chunk(word + " ", 1, prompt_tokens=9)


def test_a_judges_verdicts_are_scores_and_what_it_read_and_wrote_is_counted() -> None:
    from core.scoring.judge import GenerativeJudge
    from core.scoring.prm import ScorerError

    steps = Item(Problem.ask("How many?"), ("3 cats.", "12 legs."))
    critic = Critic("Step 1: yes \\boxed{correct}\nStep 2: no \\boxed{incorrect}")
    judge = JudgeSearch(GenerativeJudge(critic, samples=2))
    each = len(critic.critique.split(" ")) + 9
    assert scored(judge, steps) == [Scored((1.0, 0.0), 2 * each, parts=((each, 0), (each, 0)))]
    assert judge.at_most(Item(steps.problem, ()), 20) >= judge.cost(steps) > 2 * 8192
    silent = JudgeSearch(GenerativeJudge(Critic("Hm."), samples=2))
    assert scored(silent, steps)[0].values == ()  # one solution that could not be judged is no end of a search
    with pytest.raises(ScorerError, match="no verdict on any of 8"):
        scored(silent, *[steps] * 7)


def test_a_strategy_is_data_and_its_state_can_be_copied_in_mid_search() -> None:
    for name in ("revision", "plan-search", "planner", "compute-optimal"):
        search = Search(Problem.ask("How many?", "text", "7"), strategies.make(name))
        state: State = pickle.loads(pickle.dumps(search.state))
        assert state.memo == search.state.memo and state.tree == search.state.tree
        assert hash(search.strategy) is not None
