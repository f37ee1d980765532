"""The linear probe: does a model's response time grow with the tokens that it generates, one after the other, or slower?

A single autoregressive stream takes time in proportion to its tokens, thinking included; a service that searches in parallel behind its
answer is charged for more tokens than one stream could have written in that time (after Yichao Ji's first experiment on o1, "A Small
Step Towards Reproducing OpenAI o1", 2024). Fitted is t = a + c · nᵖ: a the seconds before the first token, p the exponent.
Knows no HTTP and no screen: it is given something to ask.

What it cannot see: a search whose width is always the same. Its tokens and its time grow together, so it looks like one fast stream.
"""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from random import Random
from typing import TYPE_CHECKING, Any, Literal

from core.engines.base import Bounds, Engine, EngineError, GenerateRequest, Sampling
from core.engines.sampling import Sampler

if TYPE_CHECKING:
    import numpy as np

Behind = Literal["", "best-of-n", "beam"]  # what stands between a question and the model
Verdict = Literal["linear", "sub-linear", "super-linear", "cannot tell"]

LEAST_POINTS = 8
# The tokens of the longest tenth over those of the shortest: below this a constant and a slope cannot be told apart.
LEAST_RANGE = 4.0
BOOTSTRAPS = 200
# Pairs of answers that a slope is the median of: all of 200 answers, 10 s for a fit; of more answers so many, evenly chosen.
MOST_PAIRS = 20_000
COVERAGE = 0.95
# The interval of the exponent must lie within these to be called linear, and wholly below (above) one to be called otherwise.
LINEAR = 0.8, 1.2
BELOW, ABOVE = 0.9, 1.1
# Each token looks back at all before it, so one stream bends upwards, more on a slow machine. That is no sign of work in parallel: an
# interval that begins above `BELOW` may end here. This is asked before `ABOVE` is.
BENT = 1.5
# One stream writes everything at one speed. Where questions differ in speed by more than this (90th over 10th percentile, the curve taken
# out), and by more than chance among their repeats (permutation test), several streams were at work for some of them.
SPEEDS_DIFFER, CHANCE, PERMUTATIONS = 1.5, 0.01, 500
EXPONENTS = (0.05, 1.6)  # from, to

# From a few tokens of answer to thousands, whatever the model: none needs knowledge.
QUESTIONS = (
    "Say yes.",
    "What is 7 + 5?",
    "What is 23 × 17?",
    "List the whole numbers from 1 to 20.",
    "What is 347 × 286? Show the partial products.",
    "Is 1001 prime? Find its factors.",
    "List the primes below 100.",
    "Reach 24 from 4, 7, 8 and 8, each used once, with + − × ÷.",
    "How many ways are there to give change for 50 with coins of 1, 5, 10 and 25? Count them in order.",
    "List the whole numbers from 1 to 200.",
    "Find all three-digit numbers that equal the sum of the cubes of their digits.",
    "Prove that there are infinitely many primes of the form 4k + 3, and give the first twenty.",
)


POCKET_QUESTIONS = 12


def pocket_questions() -> list[str]:
    """What the pocket model can be asked: the numbers game alone. Its responses are from fifty to thousands of tokens long."""
    from core.tasks.countdown import held_out_set
    from core.tasks.countdown_text import ask

    return [ask(problem) for problem in held_out_set(POCKET_QUESTIONS)]


@dataclass(frozen=True)
class Reply:
    """What one question cost: all tokens that the service says it generated, and the seconds until its end."""

    tokens: int
    seconds: float


@dataclass(frozen=True)
class Point(Reply):
    question: str = ""
    repeat: int = 0


Ask = Callable[[str, int], Awaitable[Reply]]


@dataclass(frozen=True)
class Fit:
    """t = a + b · n by Theil–Sen (Sen 1968), and the exponent of t = a + c · nᵖ with its 95 % bootstrap interval over questions.

    a in seconds, b in seconds a token, range: tokens at the 90th over those at the 10th percentile.
    """

    verdict: Verdict
    why: str
    a: float
    b: float
    exponent: float
    low: float
    high: float
    range: float
    points: int
    speeds: float  # how many times faster the fast questions are answered than the slow ones, 90th over 10th percentile
    chance: float  # how often as much would come about if speed had nothing to do with the question

    @property
    def tokens_per_s(self) -> float | None:
        return 1 / self.b if self.b > 0 else None

    def to_json(self) -> dict[str, Any]:
        """NaN is null: without a bootstrap there is no interval."""
        rows = {**asdict(self), "tokens_per_s": self.tokens_per_s}
        return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in rows.items()}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Fit:
        """What `to_json` wrote. Raises KeyError for what is missing."""
        given: dict[str, Any] = {f.name: math.nan if row[f.name] is None else row[f.name] for f in fields(cls)}
        return cls(**given)


def through(engine: Engine, *, max_tokens: int = 3500, temperature: float = 1.0) -> Ask:
    """Ask an engine as a reader would; its tokens are those of the server's usage, thinking included (0: it tells none)."""
    from core.engines.openai_api import PIECES

    async def ask(question: str, seed: int) -> Reply:
        request = GenerateRequest(question, Sampling(temperature, 1.0, seed, max_tokens), Bounds(0, 10_000))
        began, tokens, counted = time.perf_counter(), 0, True
        async for chunk in engine.stream(request):
            tokens += chunk.tokens
            counted = counted and PIECES not in (chunk.about or {}).get("notes", ())  # pieces of text are not tokens
        return Reply(tokens if counted else 0, time.perf_counter() - began)

    return ask


def titled(model: str, behind: Behind) -> str:
    """What was probed, in words."""
    return f"{model}, {'beam search' if behind == 'beam' else 'best-of-N'} behind it" if behind else model


def check_behind(behind: Behind, questions: Sequence[str]) -> None:
    """Raises ValueError for a question that a beam search cannot be scored on."""
    from core.tasks.countdown_text import understand

    for question in questions if behind == "beam" else ():
        try:
            understand(question)
        except ValueError as error:
            raise ValueError(
                f"beam search needs something that scores steps, and here that is the exact rule of the numbers game: {error}"
            ) from None


def in_parallel(
    sampler: Sampler, behind: Behind = "best-of-n", widths: Sequence[int] = (1, 2, 4, 8, 16), *, max_tokens: int = 3500
) -> Ask:
    """The positive control: a service that writes several texts at once, more for some questions than for others, returns one answer,
    and charges for all: best-of-N, or beam search scored by the exact rule of the numbers game. Which width a question gets is drawn
    from its words."""
    from core.search.scheduler import Limits, Scheduler, Team
    from core.search.scorers import CountdownOracle
    from core.search.search import Search
    from core.search.strategies import make
    from core.trace import Problem

    scheduler = Scheduler()
    team = Team(sampler, CountdownOracle() if behind == "beam" else None)

    async def ask(question: str, seed: int) -> Reply:
        n = widths[Random(question).randrange(len(widths))]
        strategy = make("beam", {"width": n, "branch": 2}) if behind == "beam" else make("best-of-n", {"n": n})
        began = time.perf_counter()
        search = Search(Problem.ask(question), strategy, seed=seed, marks=await sampler.marks())
        await scheduler.run(search, team, limits=Limits(max_tokens=max_tokens, max_steps=10_000))
        if search.reason != "finished":
            raise EngineError(f"A search for {question!r} ended as {search.reason}.")
        return Reply(search.spent.generated, time.perf_counter() - began)

    return ask


async def measure(
    ask: Ask, questions: Sequence[str] = QUESTIONS, repeats: int = 3, seed: int = 0
) -> AsyncIterator[Point]:
    """Each as it comes. One at a time, in an order drawn from `seed`, after one that does not count.

    Raises EngineError, also where the service does not say how many tokens it generated.
    """
    order = [(q, r) for r in range(repeats) for q in questions]
    Random(seed).shuffle(order)
    await ask(questions[0], seed)
    for question, repeat in order:
        reply = await ask(question, seed + 1 + repeat)
        if reply.tokens < 1:
            raise EngineError(f"The service did not say how many tokens it generated for {question!r}.")
        yield Point(reply.tokens, reply.seconds, question, repeat)


def fit(points: Sequence[Point], seed: int = 0) -> Fit:
    """The fit and its verdict, by the rules of docs/probe.md. Raises ValueError for fewer than three points."""
    import numpy as np

    if len(points) < 3:
        raise ValueError(f"there are {len(points)} points; a fit needs at least 3")
    n = np.array([p.tokens for p in points], float)
    t = np.array([p.seconds for p in points])
    a, b = _theil_sen(n, t)
    rng = np.random.default_rng(seed)
    spread = float(np.quantile(n, 0.9) / np.quantile(n, 0.1))
    exponent = _exponent(n, t)
    # Drawn are questions, not points: repeats of one question are no independent evidence.
    names = sorted({p.question for p in points})
    of = {q: [i for i, p in enumerate(points) if p.question == q] for q in names}
    drawn = []
    for _ in range(BOOTSTRAPS if spread >= LEAST_RANGE and len(points) >= LEAST_POINTS else 0):
        rows = [i for q in rng.choice(names, len(names)) for i in of[q]]
        if len(np.unique(n[rows])) > 2:
            drawn.append(_exponent(n[rows], t[rows]))
    tail = (1 - COVERAGE) / 2
    low, high = (float(np.quantile(drawn, q)) for q in (tail, 1 - tail)) if drawn else (math.nan, math.nan)
    speeds, chance = _speeds(n, t, exponent, list(of.values()), rng)
    verdict, why = _verdict(len(points), spread, low, high, speeds, chance)
    return Fit(verdict, why, float(a), float(b), float(exponent), low, high, spread, len(points), speeds, chance)


def _speeds(
    n: np.ndarray, t: np.ndarray, exponent: float, rows: list[list[int]], rng: np.random.Generator
) -> tuple[float, float]:
    """How far questions differ in speed, and the chance of that (1 without repeats)."""
    import numpy as np

    a, c = _theil_sen(n**exponent, t)
    guess = a + c * n**exponent
    if max(map(len, rows)) < 2 or (guess <= 0).any():
        return 1.0, 1.0
    slower = np.log(t / guess)

    def between(values: np.ndarray) -> float:
        return float(np.var([values[r].mean() for r in rows]))

    seen = between(slower)
    as_much = sum(between(rng.permutation(slower)) >= seen for _ in range(PERMUTATIONS))
    medians = [float(np.median(slower[r])) for r in rows]
    return float(np.exp(np.quantile(medians, 0.9) - np.quantile(medians, 0.1))), (as_much + 1) / (PERMUTATIONS + 1)


def _verdict(points: int, spread: float, low: float, high: float, speeds: float, chance: float) -> tuple[Verdict, str]:
    if points < LEAST_POINTS:
        return "cannot tell", f"there are {points} points; {LEAST_POINTS} are needed"
    if spread < LEAST_RANGE:
        return (
            "cannot tell",
            f"the longest responses are {spread:.1f} times the shortest; {LEAST_RANGE:g} times are needed",
        )
    interval = f"the exponent lies between {low:.2f} and {high:.2f}"
    if speeds > SPEEDS_DIFFER and chance < CHANCE:
        return "sub-linear", (
            f"some questions are answered {speeds:.1f} times faster than others for the tokens that they are charged (chance {chance:.3f}): "
            "no one stream does that, so work is done in parallel"
        )
    if high < BELOW:
        return (
            "sub-linear",
            f"{interval}: more tokens are charged than one stream writes in the time, so work is done in parallel",
        )
    if low >= LINEAR[0] and high <= LINEAR[1]:
        return "linear", f"{interval}: one autoregressive stream"
    if low >= BELOW and high <= BENT:
        return "linear", f"{interval}: one autoregressive stream, somewhat slower the more it has written"
    if low > ABOVE:
        return (
            "super-linear",
            f"{interval}: each token takes longer the more there are, by more than looking back at them explains",
        )
    return "cannot tell", f"{interval}: too wide to say; more questions, repeats, or a quieter machine would"


def _theil_sen(x: np.ndarray, t: np.ndarray) -> tuple[float, float]:
    """The median of all pairs' slopes, and the median rest; nothing begins before it is asked, so a >= 0."""
    import numpy as np

    i, j = _pairs(len(x))
    differ = x[i] != x[j]
    slope = float(np.median((t[i] - t[j])[differ] / (x[i] - x[j])[differ])) if differ.any() else 0.0
    return max(0.0, float(np.median(t - slope * x))), slope


def _pairs(count: int) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of so many, or about MOST_PAIRS of them in which each occurs equally often, near ones and far ones."""
    import numpy as np

    if count * (count - 1) // 2 <= MOST_PAIRS:
        return np.triu_indices(count, 1)
    apart = np.linspace(1, count // 2, max(1, MOST_PAIRS // count)).astype(int)
    first = np.tile(np.arange(count), len(apart))
    return first, (first + np.repeat(apart, count)) % count


def _exponent(n: np.ndarray, t: np.ndarray) -> float:
    """The p of t = a + c · nᵖ whose residuals, as logarithms of ratios, are least in sum: by tenths, then by hundredths."""
    import numpy as np

    def off(p: float) -> float:
        x = n**p
        a, c = _theil_sen(x, t)
        guess = a + c * x
        return math.inf if c <= 0 or (guess <= 0).any() else float(np.abs(np.log(t / guess)).sum())

    best = min(np.arange(*EXPONENTS, 0.1), key=off)
    near = np.clip(best + np.arange(-0.1, 0.11, 0.02), *EXPONENTS)
    return float(min(near, key=off))


def chart(points: Sequence[Point], found: Fit, width: int = 60, height: int = 16) -> str:
    """Points (●) and the line (·) as text: seconds upwards, tokens to the right."""
    most_n, most_t = max(p.tokens for p in points), max(p.seconds for p in points)
    cells = [[" "] * width for _ in range(height)]

    def put(tokens: float, seconds: float, mark: str) -> None:
        x, y = round(tokens / most_n * (width - 1)), round(seconds / most_t * (height - 1))
        if 0 <= y < height:
            cells[height - 1 - y][x] = mark

    for x in range(width):
        tokens = x / (width - 1) * most_n
        put(tokens, found.a + found.b * tokens, "·")
    for p in points:
        put(p.tokens, p.seconds, "●")
    rows = ["│" + "".join(row).rstrip() for row in cells]
    return "\n".join([f"{most_t:.2f} s", *rows, "└" + "─" * width, f" 0{f'{most_n:,} tokens':>{width - 1}}"])


def svg(points: Sequence[Point], found: Fit, title: str) -> str:
    """The same as a picture, 640 × 400."""
    from html import escape

    most_n, most_t = max(p.tokens for p in points) * 1.05, max(p.seconds for p in points) * 1.05

    def x(tokens: float) -> float:
        return 60 + tokens / most_n * 560

    def y(seconds: float) -> float:
        return 350 - seconds / most_t * 300

    dots = "".join(
        f'<circle cx="{x(p.tokens):.1f}" cy="{y(p.seconds):.1f}" r="4" fill="#2563eb" fill-opacity=".6"/>'
        for p in points
    )
    end = found.a + found.b * most_n
    shown = min(most_n, (most_t - found.a) / found.b) if found.b > 0 and end > most_t else most_n
    line = f'<line x1="{x(0)}" y1="{y(found.a):.1f}" x2="{x(shown):.1f}" y2="{y(found.a + found.b * shown):.1f}" stroke="#b45309" stroke-width="2"/>'
    said = f"{found.verdict}: exponent {found.exponent:.2f}" + (
        "" if math.isnan(found.low) else f" ({found.low:.2f} to {found.high:.2f})"
    )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 400" font-family="system-ui, sans-serif" font-size="13">'
        '<rect width="640" height="400" fill="#fff"/><path d="M60 40V350H620" fill="none" stroke="#475569"/>'
        f'<text x="60" y="24" font-weight="600">{escape(title)}</text><text x="620" y="24" text-anchor="end">{escape(said)}</text>'
        f'<text x="620" y="370" text-anchor="end">{most_n / 1.05:,.0f} tokens</text><text x="60" y="370">0</text>'
        f'<text x="54" y="54" text-anchor="end">{most_t / 1.05:.1f} s</text>{line}{dots}</svg>'
    )
