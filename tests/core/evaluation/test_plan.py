"""What can be evaluated: plans from options and files, problems from built-in sets and lines, each refusal a sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.answers import answers_for
from core.evaluation.plan import Chosen, Plan
from core.evaluation.problems import from_jsonl, load, numbered, read_lines, sha256_of, to_jsonl
from core.search.ledger import Budget
from core.tasks.countdown import held_out_set
from core.tasks.countdown_text import ask, understand


def test_a_plan_is_every_combination_that_can_be_run(tmp_path: Path) -> None:
    text = """
problems = "countdown:4"
models = ["pocket", "other"]
strategies = ["linear max_steps=20", "beam width=2 vote=majority"]
scorers = ["none", "countdown-oracle"]
n = 8
seeds = [0, 1]
[[budgets]]
tokens = 4000
[[budgets]]
flops = 1e9
[limits]
temperature = 0.8
"""
    (tmp_path / "plan.toml").write_text(text)
    plan = Plan.read(tmp_path / "plan.toml")
    assert plan.strategies[1].params == {"width": 2, "vote": "majority"}
    assert plan.budgets == (Budget(tokens=4000), Budget(flops=1e9)) and plan.limits.temperature == 0.8
    # two pools a model; linear with and without a scorer, beam with one alone, each under two budgets
    assert [sum(c.model == m for c in plan.cells) for m in plan.models] == [2 + 4 + 2] * 2
    assert len({c.cell_id for c in plan.cells}) == 16
    assert [len(plan.seeds_of(c)) for c in plan.cells if c.pool] == [1] * 4
    (tmp_path / "plan.json").write_text(json.dumps(plan.to_json()))
    again = Plan.read(tmp_path / "plan.json")
    assert again == plan and not again.difference(plan)
    assert [c.cell_id for c in again.cells] == [c.cell_id for c in plan.cells]
    other = Plan.from_json({**plan.to_json(), "seeds": [3]})
    assert other.difference(plan) == '"seeds" is 3 there and 0, 1 here'


@pytest.mark.parametrize(
    "said",
    [
        "linear",
        "beam width=2 vote=best early_stop=true",
        "compute-optimal policy='0.5 any: stop; 1 any: best-of-n n=4'",
    ],
)
def test_a_strategy_as_text_is_read_as_it_is_written(said: str) -> None:
    assert str(Chosen.of(said)) == said
    assert Chosen.of(str(Chosen.of(said))) == Chosen.of(said)


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ([], "must be an object"), ({}, '"problems" is missing'), ({"problems": ""}, '"problems" is missing'),
        ({"problems": "x", "strategy": []}, 'a plan has no "strategy"; it has problems'),
        ({"problems": "x", "models": "pocket"}, '"models" is \'pocket\'; it must be a list'),
        ({"problems": "x", "models": []}, '"models" is empty'),
        ({"problems": "x", "models": ["a", "a"]}, '"models" names the same twice'),
        ({"problems": "x", "strategies": ["beam width"]}, '"width" is not NAME=VALUE'),
        ({"problems": "x", "strategies": ["compute-optimal policy='1 any"]}, "close the quotation mark"),
        ({"problems": "x", "strategies": [""]}, 'there is no strategy ""'),
        ({"problems": "x", "strategies": [{"name": "beam", "width": 3}]}, 'a strategy has "name" and "params", not width'),
        ({"problems": "x", "strategies": ["linear", "linear"]}, '"strategies" names the same twice'),
        ({"problems": "x", "n": 1000}, '"n" is 1000; it must lie between 0 and 512'),
        ({"problems": "x", "n": True}, '"n" is \'True\'; it must be a whole number'), ({"problems": "x", "seeds": [-1]}, "seeds lie between 0"),
        ({"problems": "x", "budgets": [7]}, "must hold objects"), ({"problems": "x", "budgets": [{"tokens": 1.5}]}, "a whole number"),
        ({"problems": "x", "limits": {"top_p": 0}}, "above 0 and at most 1"),
        ({"problems": "x", "aggregation": "sum"}, '"aggregation" is \'sum\''),
    ],
)  # fmt: skip
def test_a_plan_that_makes_no_sense_is_refused_by_field(row: object, sentence: str) -> None:
    with pytest.raises(ValueError) as refusal:
        Plan.from_json(row)  # type: ignore[arg-type]
    assert sentence in str(refusal.value)


def test_a_file_that_is_no_plan_is_named(tmp_path: Path) -> None:
    for name, text, sentence in (
        ("a.toml", "x =", "a.toml is not TOML"), ("a.json", "{", "a.json is not JSON"), ("b.toml", "n = 1", 'b.toml: "problems"'),
    ):  # fmt: skip
        (tmp_path / name).write_text(text)
        with pytest.raises(ValueError, match=sentence.replace(".", r"\.")):
            Plan.read(tmp_path / name)
    with pytest.raises(ValueError, match="cannot be read"):
        Plan.read(tmp_path / "none.toml")


def test_built_in_sets_are_the_held_out_questions_always_the_same() -> None:
    assert [p.problem.prompt for p in load("countdown:6")] == [ask(q) for q in held_out_set(6)]
    for count in (3, 4):
        found = [understand(p.problem.prompt) for p in load(f"countdown:5:{count}")]
        assert all(len(q.numbers) == count and q.held_out for q in found) and len({q.key for q in found}) == 5
    assert load("countdown:5:4:7") == load("countdown:5:4:7") != load("countdown:5:4")
    assert load("countdown:6:9") == numbered([p.problem for p in load("countdown:6:9")]) != load("countdown:6")
    for wrong in ("countdown", "countdown:", "countdown:x", "countdown:4:5:6:7", "countdown:4:5:6", "countdown:-1"):
        with pytest.raises(ValueError, match="no built-in set"):
            load(wrong)
    with pytest.raises(ValueError, match="there are 212"):
        load("countdown:213:3")


def test_problems_of_the_usual_files_are_read_with_what_is_right() -> None:
    rows = [
        {"problem": "What is $1/2 + 1/2$?", "solution": r"It is \boxed{1}, or \boxed{\frac{2}{2}}.", "answer": "1", "level": 2},
        {"question": "How many?", "answer": "First 3, then 4.\n#### 1,007"},
        {"problem": "Find it.", "solution": r"So \boxed{\frac{3}{4}}."},
        {"prompt": "Is 1001 prime?", "answer": "no"}, {"question": "Forty-two?", "answer": 42},
        {"question": "Write f.", "tests": [{"input": "1", "output": "1"}]},
    ]  # fmt: skip
    found = read_lines("\n\n".join(map(json.dumps, rows)), "x.jsonl")
    odd = json.dumps({"question": "one\u2028two\x85three?", "answer": "a"}, ensure_ascii=False)
    assert [p.prompt for p in read_lines(f"{odd}\n{odd}\n", "x.jsonl")] == ["one\u2028two\x85three?"] * 2
    assert [p.answer for p in found] == ["1", "1,007", r"\frac{3}{4}", "no", "42", None]
    assert found[0].meta == {"level": 2} and found[5].task == "code"
    assert answers_for(found[0]).right(r"\boxed{1.0}") and answers_for(found[2]).right(r"It is $\boxed{\frac{3}{4}}$")
    assert not answers_for(found[2]).right("the solution mentions 3/4 and 4/3: 4/3")
    asked = numbered([*found, found[0]])
    assert asked[-1].key == f"{asked[0].key}-2" and from_jsonl(to_jsonl(asked)) == asked
    assert sha256_of(asked) != sha256_of(asked[:-1])


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("[]", "must be an object"), ("{", "not JSON"), ('{"q": 1}', "there is no question"), ('{"question": 3}', '"question" is \'3\''),
        ('{"question": " "}', "text that is not empty"), ('{"question": "a", "answer": []}', '"answer" is'),
        ('{"question": "a", "answer": ""}', '"answer" is'), ('{"question": "a", "task": 3}', '"task" is 3'),
        ('{"question": "a", "task": "chess"}', 'there is no task "chess"'), ('{"question": "a", "tests": 3}', "tests"),
        ('{"question": "a", "meta": 3}', '"meta" is 3'), ('{"question": "a", "task": "countdown"}', "numbers game"),
    ],
)  # fmt: skip
def test_a_line_that_is_no_problem_is_named_with_its_field(line: str, sentence: str) -> None:
    with pytest.raises(ValueError) as refusal:
        read_lines('{"question": "a?"}\n\n' + line, "x.jsonl")
    assert str(refusal.value).startswith("x.jsonl:3: ") and sentence in str(refusal.value)
