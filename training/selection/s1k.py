"""s1K's three filters over any collection: quality → difficulty → diversity, each stage counted (Muennighoff et al. 2025,
arXiv 2501.19393).

Both modes take what is right of trusted sources first (Algorithm 1: AIME and GPQA, and MATH above 5,600 tokens; 384 in the paper,
393 in the notebook) and then fill up: a domain at random, inside it P ∝ 2^(−rank) by length, longest first. They differ in what is of
poor quality and in the domains. **paper**: its description (§2.2), domains uniform. **notebook**: the released one's patterns,
uniform to 70 %, the last 30 % by the domain weights of benchmarks. It is aware of the benchmarks it is measured on: say so.

Algorithm 1 draws the reserve from what is left after difficulty, §2.2 of the paper counts it before; here it is the algorithm's.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Mode = Literal["paper", "notebook"]
MODES: tuple[Mode, ...] = ("paper", "notebook")
UNIFORM_SHARE = 0.7  # notebook: 700 of 1,000
LONG_MATH = 5600  # MATH is trusted above so many thinking tokens
# The benchmarks that the notebook's weights come from: questions of GPQA count half.
BENCHMARK_SHARES = {"GPQA": 0.5}
# The paper's: ASCII art, references to pictures that are not there, numbering left in the question.
_BROKEN = (
    ("ASCII art", re.compile(r"(?m)^[ \t]*[|+\-_/\\=*]{8,}[ \t]*$|[┌┐└┘│─]{3,}")),
    ("missing image", re.compile(r"(?i)!\[[^\]]*\]\(|\[asy\]|\\includegraphics|\b(?:figure|diagram|image) (?:below|above|shown)")),
    ("inconsistent numbering", re.compile(r"(?im)^\s*(?:question|problem|exercise)\s*\d+\s*[.:)]")),
)  # fmt: skip
# The notebook's: pictures as code (AIME's are kept, their code can be read), pictures left out, page numbers, bold numbering.
_PAGE = re.compile(r"p[1-9]\d{0,2}\.")
_BOLD = re.compile(r"\*\*[^\s\]]*\*\*")


@dataclass(frozen=True)
class Sample:
    """One question with a reasoning trace. tokens: length of the trace. solved_by: which of the two weak models got it right.

    source: the collection it is from; correct: the trace's own answer is right. GPQA, AIME and MATH are reserved where correct.
    """

    id: str
    question: str
    domain: str
    tokens: int
    solved_by: frozenset[str] = frozenset()
    source: str = ""
    correct: bool = False
    api_error: bool = False


@dataclass(frozen=True)
class Recipe:
    """`weights`: notebook's share of each domain among the benchmarks (need not sum to 1), as `benchmark_weights` counts them."""

    size: int = 1000
    mode: Mode = "paper"
    seed: int = 42
    weights: Mapping[str, float] = field(default_factory=dict)
    trusted: frozenset[str] = frozenset({"GPQA", "AIME"})
    trusted_if_long: frozenset[str] = frozenset({"MATH"})


@dataclass
class Selected:
    """The chosen samples in the order of choice, and how many each stage left."""

    samples: list[Sample]
    stages: dict[str, int]
    dropped: dict[str, int]


def flaw(sample: Sample, mode: Mode = "paper") -> str:
    """Why a question is of poor quality; "" where nothing is wrong with it."""
    if sample.api_error:
        return "API error"
    if not sample.question.strip() or sample.tokens <= 0:
        return "empty"
    if mode == "notebook":
        return _bad_format(sample)
    return next((name for name, pattern in _BROKEN if pattern.search(sample.question)), "")


def _bad_format(sample: Sample) -> str:
    text = sample.question
    if "[asy]" in text:
        return "" if "AIME" in sample.source else "picture as code"
    if "![Image]" in text:
        return "missing image"
    if _PAGE.search(text):
        return "page number"
    # Numbering in bold: two stars, no space, two stars, and a digit on the rest of the line.
    bold = any(any(c.isdigit() for c in text[m.start() :].partition("\n")[0]) for m in _BOLD.finditer(text))
    return "numbering in bold" if bold else ""


def benchmark_weights(questions: Iterable[tuple[str, str]]) -> dict[str, float]:
    """Domain → weight from (benchmark, domain) of each question of the benchmarks: a question counts 1, one of GPQA ½."""
    weights: dict[str, float] = {}
    for benchmark, domain in questions:
        weights[domain] = weights.get(domain, 0.0) + BENCHMARK_SHARES.get(benchmark, 1.0)
    return weights


def select(samples: Sequence[Sample], recipe: Recipe) -> Selected:
    """Run the stages. Raises ValueError for a notebook run without weights."""
    if recipe.mode not in MODES:
        raise ValueError(f'"{recipe.mode}" is not a mode; use one of: {", ".join(MODES)}')
    if recipe.mode == "notebook" and not any(w > 0 for w in recipe.weights.values()):
        raise ValueError(
            "The notebook's mode needs the domains of the benchmarks (--benchmarks FILE.jsonl), or their weights (--weights FILE.json)."
        )
    rng = random.Random(recipe.seed)
    dropped: dict[str, int] = {}
    answered = _without(samples, lambda s: "API error" if s.api_error else "", dropped)
    clean = _without(answered, lambda s: flaw(s, recipe.mode), dropped)
    hard = _without(clean, lambda s: "solved by a weak model" if s.solved_by else "", dropped)
    stages = {"raw": len(samples), "without API errors": len(answered), "quality": len(clean), "difficulty": len(hard)}
    chosen = [s for s in hard if _reserved(s, recipe)][: recipe.size]
    stages["reserved"] = len(chosen)
    taken = {s.id for s in chosen}
    pools: dict[str, list[Sample]] = {}
    for sample in sorted(hard, key=lambda s: (-s.tokens, s.id)):
        if sample.id not in taken:
            pools.setdefault(sample.domain, []).append(sample)
    uniform_to = recipe.size if recipe.mode == "paper" else max(len(chosen), round(UNIFORM_SHARE * recipe.size))
    while len(chosen) < recipe.size and pools:
        domains = sorted(pools)
        weights = [1.0] * len(domains)
        if len(chosen) >= uniform_to and any(recipe.weights.get(d, 0) > 0 for d in domains):
            weights = [recipe.weights.get(d, 0.0) for d in domains]
        domain = rng.choices(domains, weights)[0]
        pool = pools[domain]
        chosen.append(pool.pop(_rank(len(pool), rng)))
        if not pool:
            del pools[domain]
    stages["diversity"] = len(chosen)
    return Selected(chosen, stages, dropped)


def _reserved(sample: Sample, recipe: Recipe) -> bool:
    if sample.source in recipe.trusted:
        return sample.correct
    return sample.source in recipe.trusted_if_long and sample.correct and sample.tokens > LONG_MATH


def _rank(n: int, rng: random.Random) -> int:
    """A rank from 0 with P ∝ 2^(−rank): a coin is thrown until it shows heads; beyond the end it begins anew."""
    while True:
        rank = 0
        while rng.random() < 0.5:
            rank += 1
        if rank < n:
            return rank


def _without(samples: Sequence[Sample], why: Callable[[Sample], str], dropped: dict[str, int]) -> list[Sample]:
    kept = []
    for sample in samples:
        reason = why(sample)
        if reason:
            dropped[reason] = dropped.get(reason, 0) + 1
        else:
            kept.append(sample)
    return kept
