"""IFD against a direct computation, the selective rule as published, s1K's stages counted and its draws as distributed."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest

from tests.core import scoring_models as tiny
from training.selection import ifd, s1k
from training.selection.ifd import Choice, Pair, SelectionError, Student, choose


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Student:
    folder = tmp_path_factory.mktemp("student")
    tiny.language_model(folder)
    return Student(folder)


def direct(student: Student, before: str, target: str) -> float:
    """exp(mean cross-entropy) of the target, token by token. (This tokenizer has one token a byte, so the seam is plain.)"""
    import torch

    tok = student.tokenizer
    head = [tok.bos_token_id, *tok(before, add_special_tokens=False).input_ids]
    tail = tok(target, add_special_tokens=False).input_ids
    total = 0.0
    for i, token in enumerate(tail):
        with torch.no_grad():
            logits = student.model(torch.tensor([head + tail[:i]])).logits[0, -1]
        total -= torch.log_softmax(logits, -1)[token].item()
    return math.exp(total / len(tail))


def test_ifd_and_its_reverse_are_ratios_of_perplexities_over_the_target(student: Student) -> None:
    pair = Pair("Add 2 and 3 – quickly.", "It is 5 ≠ 6.")
    template = student.asked(pair.instruction)
    assert template.endswith("assistant<|end_header_id|>\n\n") and pair.instruction in template
    expected = direct(student, template, pair.response) / direct(student, "", pair.response)
    assert student.ifd(pair) == pytest.approx(expected, rel=1e-4)
    guess = student.asked(
        "Below is the response to an instruction, please guess the corresponding instruction for the given response.\n"
        "It is 5 ≠ 6.\nGenerate the instruction for the above response."
    )
    assert guess.endswith("assistant<|end_header_id|>\n\n")
    expected = direct(student, guess, pair.instruction) / direct(student, "", pair.instruction)
    assert student.rifd(pair) == pytest.approx(expected, rel=1e-4)


def test_what_cannot_be_scored_is_said(student: Student) -> None:
    with pytest.raises(SelectionError, match="empty text"):
        student.ifd(Pair("x", ""))
    with pytest.raises(SelectionError, match="more than 1024"):
        student.ifd(Pair("x", "y" * 2000))
    left_out = choose(student, Pair("x", "y" * 2000), None, None)
    assert left_out.pair is None and "more than 1024" in left_out.why
    assert ifd.counts([left_out])["left out: too long"] == 1


class Table:
    """A student whose scores are written down."""

    def __init__(self, ifd: dict[Pair, float], rifd: dict[Pair, float]) -> None:
        self._ifd, self._rifd = ifd, rifd

    def ifd(self, pair: Pair) -> float:
        return self._ifd[pair]

    def rifd(self, pair: Pair) -> float:
        return self._rifd[pair]


A, B = Pair("x", "y"), Pair("x2", "y2")
A2, B2 = Pair("x", "z"), Pair("x2", "z")


@pytest.mark.parametrize(
    ("ifds", "rifds", "expected"),
    [
        ({A: 0.5, B: 0.7, B2: 0.7}, {B: 0.6, B2: 0.4}, B2),  # harder instruction, more telling response
        ({A: 0.5, B: 0.7}, {B: 0.4, B2: 0.6}, B),
        ({A: 0.7, B: 0.5, A2: 0.8}, {A: 0.6, A2: 0.4}, A2),
        ({A: 0.7, B: 0.5}, {A: 0.4, A2: 0.6}, A),
        ({A: 0.7, B: 1.2}, {B: 0.4, B2: 0.6}, None),  # chosen by the rule, then dropped: its IFD is above 1
        ({A: 0.7, B: 0.5}, {A: 1.0, A2: 1.1}, None),
    ],
)
def test_the_student_chooses_as_published(ifds: dict, rifds: dict, expected: Pair | None) -> None:
    found = choose(Table(ifds, rifds), A, B, "z")
    assert found.pair == expected
    assert bool(found.why) == (expected is None)


def test_the_counts_add_up() -> None:
    made = [
        Choice(A, True, False, 0.5, 0.5),
        Choice(A, False, True, 0.5, 0.5),
        Choice(None, True, True, 2.0, 0.5, "IFD is not below 1"),
    ]
    assert ifd.counts(made) == {
        "pairs": 3, "kept": 2, "instructions_rewritten": 1, "responses_rewritten": 1, "left out: IFD is not below 1": 1,
    }  # fmt: skip


# --------------------------------------------------------------------------------------------------------------- s1K


def collection(n: int = 400) -> list[s1k.Sample]:
    rng = random.Random(7)
    made = []
    for i in range(n):
        weak = frozenset(m for m in ("7B", "32B") if rng.random() < 0.3)
        made.append(
            s1k.Sample(str(i), f"What is {i}?", "abcdefgh"[i % 8], rng.randint(100, 9000), weak, api_error=i % 40 == 0)
        )
    made.append(s1k.Sample("art", "Look:\n+--------+\n|--------|\n", "a", 500))
    made.append(s1k.Sample("image", "In the figure below, what is x?", "a", 500))
    return made


def test_every_stage_is_counted_and_nothing_easy_or_broken_is_chosen() -> None:
    samples = collection()
    found = s1k.select(samples, s1k.Recipe(size=50))
    assert found.stages["raw"] == 402
    assert found.stages["without API errors"] == 392
    assert found.stages["quality"] == 390
    assert found.stages["difficulty"] == sum(not s.solved_by and not s.api_error for s in samples) - 2
    assert found.stages["diversity"] == len(found.samples) == len({s.id for s in found.samples}) == 50
    assert found.dropped["API error"] == 10 and found.dropped["ASCII art"] == found.dropped["missing image"] == 1
    assert sum(found.dropped.values()) == 402 - found.stages["difficulty"]
    assert not any(s.solved_by for s in found.samples)
    assert found == s1k.select(samples, s1k.Recipe(size=50))


def test_a_collection_smaller_than_the_wish_is_taken_whole() -> None:
    found = s1k.select(collection(60), s1k.Recipe(size=1000))
    assert found.stages["diversity"] == found.stages["difficulty"] < 1000


def test_domains_are_uniform_and_long_traces_come_first() -> None:
    samples = [s1k.Sample(f"{d}{i}", "q", d, 1000 - i) for d in "ab" for i in range(20 if d == "a" else 120)]
    first: Counter[str] = Counter()
    ranks: Counter[int] = Counter()
    for seed in range(400):
        (one,) = s1k.select(samples, s1k.Recipe(size=1, seed=seed)).samples
        first[one.domain] += 1
        ranks[1000 - one.tokens] += 1
    assert 160 < first["a"] < 240  # half, though it holds a seventh
    assert ranks[0] == pytest.approx(200, abs=45)
    assert ranks[1] == pytest.approx(100, abs=35)


def trusted() -> list[s1k.Sample]:
    """Seven to reserve: five right ones of GPQA, two long ones of MATH."""
    gpqa = [s1k.Sample(f"g{i}", "q", "a", 500, source="GPQA", correct=i < 5) for i in range(8)]
    return gpqa + [s1k.Sample(f"m{i}", "q", "a", 5000 + 1000 * i, source="MATH", correct=True) for i in range(3)]


@pytest.mark.parametrize(("mode", "weights"), [("paper", {}), ("notebook", {"b": 1.0})])
def test_both_modes_take_what_is_right_of_trusted_sources_first(mode: s1k.Mode, weights: dict[str, float]) -> None:
    easy = s1k.Sample("easy", "q", "a", 500, frozenset({"7B"}), source="AIME", correct=True)
    rest = [s1k.Sample(f"{d}{i}", "q", d, 500) for d in "ab" for i in range(100)]
    found = s1k.select([*rest, easy, *trusted()], s1k.Recipe(size=100, mode=mode, weights=weights))
    assert found.stages["reserved"] == 7
    assert [s.id for s in found.samples[:7]] == ["g0", "g1", "g2", "g3", "g4", "m1", "m2"]
    assert len({s.id for s in found.samples}) == 100


@pytest.mark.parametrize(
    ("question", "source", "paper", "notebook"),
    [
        ("What is 2 + 2?", "", "", ""),
        ("In the figure below, what is x?", "", "missing image", ""),
        ("[asy] draw((0,0)--(1,1)); [/asy]", "AIME", "missing image", ""),
        ("[asy] draw((0,0)--(1,1)); [/asy]", "MATH", "missing image", "picture as code"),
        ("See ![Image] there.", "", "", "missing image"),
        ("See p12. What is x?", "", "", "page number"),
        ("Prove **this** twice.", "", "", ""),
        ("**1.** Prove it.", "", "", "numbering in bold"),
        ("**Task** 3: prove it.", "", "", "numbering in bold"),
        ("**Task**: prove it\nfor 3.", "", "", ""),
        ("Question 7: what is x?", "", "inconsistent numbering", ""),
    ],
)
def test_poor_quality_is_that_of_the_mode(question: str, source: str, paper: str, notebook: str) -> None:
    sample = s1k.Sample("1", question, "a", 10, source=source)
    assert (s1k.flaw(sample), s1k.flaw(sample, "notebook")) == (paper, notebook)


def test_the_benchmarks_weigh_domains_and_gpqa_counts_half() -> None:
    questions = [("GPQA", "physics")] * 3 + [("GPQA", "algebra")] + [("AIME", "algebra")] * 2
    assert s1k.benchmark_weights(questions) == {"physics": 1.5, "algebra": 2.5}


def test_the_notebook_ends_by_the_benchmarks() -> None:
    hard = [s1k.Sample(f"{d}{i}", "q", d, 500) for d in "ab" for i in range(100)]
    recipe = s1k.Recipe(size=100, mode="notebook", weights={"b": 1.0})
    found = s1k.select([*hard, *trusted()], recipe)
    assert {s.domain for s in found.samples[70:]} == {"b"}
    assert {s.domain for s in found.samples[7:70]} == {"a", "b"}
    with pytest.raises(ValueError, match="domains of the benchmarks"):
        s1k.select(hard, s1k.Recipe(mode="notebook"))
