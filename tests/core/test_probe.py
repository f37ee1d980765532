"""The linear probe tells one stream from a parallel search, and says when it cannot."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from xml.etree import ElementTree

import numpy as np
import pytest

from core import probe
from core.engines.base import Chunk, EngineError, GenerateRequest
from core.engines.local import LocalEngine
from core.engines.openai_api import PIECES
from core.probe import Point, Reply, fit
from tests.core.search.chance import Chance

QUESTIONS = [f"question {i}" for i in range(12)]


def points(
    exponent: float, *, start: float = 0.2, noise: float = 0.05, tokens: Sequence[float] = (30, 3000), repeats: int = 3, seed: int = 1
) -> list[Point]:  # fmt: skip
    """Twelve questions whose times follow t = start + 0.01 · nᵖ, but for noise (the deviation of the logarithm)."""
    draw, low, high = Random(seed), *tokens
    out = []
    for i, question in enumerate(QUESTIONS):
        for repeat in range(repeats):
            n = int(low * (high / low) ** (i / (len(QUESTIONS) - 1)) * draw.uniform(0.8, 1.25))
            seconds = (start + 0.01 * n**exponent) * math.exp(draw.gauss(0, noise))
            out.append(Point(n, seconds, question, repeat))
    return out


@pytest.mark.parametrize("start", [0.02, 2.0])
def test_one_stream_is_linear_however_long_it_takes_to_begin(start: float) -> None:
    found = fit(points(1.0, start=start))
    assert found.verdict == "linear"
    assert found.low <= 1.0 <= found.high
    assert found.b == pytest.approx(0.01, rel=0.1)
    assert found.tokens_per_s == pytest.approx(100, rel=0.1)


@pytest.mark.parametrize("exponent", [0.4, 0.6, 0.75])
def test_work_in_parallel_is_sub_linear(exponent: float) -> None:
    found = fit(points(exponent, start=0.02))
    assert found.verdict == "sub-linear"
    assert found.low - 0.05 <= exponent <= found.high + 0.05


def test_speed_that_depends_on_the_question_is_no_one_stream() -> None:
    """A search whose width differs from question to question: its tokens grow with the width, its time does not."""
    base = points(1.0, start=0.02)
    width = {q: 2 ** (i * 7 % 5) for i, q in enumerate(QUESTIONS)}
    found = fit([Point(p.tokens * width[p.question], p.seconds, p.question, p.repeat) for p in base])
    assert found.verdict == "sub-linear"
    assert found.speeds > 4
    assert found.chance < 0.01
    assert fit(base).speeds < 1.3
    # As uneven, but by chance and not by question: a machine that is busy now and then.
    for seed in range(5):
        draw = Random(seed)
        noisy = fit([Point(p.tokens, p.seconds * 2 ** draw.randrange(5), p.question, p.repeat) for p in base])
        assert noisy.verdict != "sub-linear"


def test_a_stream_that_is_a_little_quicker_on_some_questions_is_still_one() -> None:
    """Text that is easy to foresee is written somewhat faster where a draft model helps."""
    easy = {q: 1.0 if i % 2 else 1.3 for i, q in enumerate(QUESTIONS)}
    found = fit([Point(p.tokens, p.seconds / easy[p.question], p.question, p.repeat) for p in points(1.0)])
    assert found.chance < 0.01
    assert 1.2 < found.speeds < 1.5
    assert found.verdict != "sub-linear"


def test_one_stream_that_bends_a_little_is_one_stream() -> None:
    found = fit([replace(p, seconds=p.seconds * (1 + p.tokens / 4000)) for p in points(1.0)])
    assert found.high > 1.2 and found.low < 1.1, "neither within the bounds of a straight line nor clearly beyond"
    assert found.verdict == "linear"
    assert "slower" in found.why
    more = fit([replace(p, seconds=p.seconds * (1 + p.tokens / 2000)) for p in points(1.0)])
    assert more.low > 1.1 and more.high < 1.5, "beyond a straight line for sure, and yet no more than a bend"
    assert more.verdict == "linear"
    assert "slower" in more.why


def test_what_slows_down_with_its_length_is_said_to() -> None:
    assert fit(points(1.55)).verdict == "super-linear"


def test_a_few_wild_times_change_nothing() -> None:
    calm = points(1.0)
    wild = [p if i % 9 else Point(p.tokens, p.seconds * 8, p.question, p.repeat) for i, p in enumerate(calm)]
    assert fit(wild).b == pytest.approx(fit(calm).b, rel=0.1)
    assert fit(wild).verdict in ("linear", "cannot tell")


def test_thousands_of_answers_are_fitted_without_holding_every_pair_against_every_other() -> None:
    many = points(1.0, repeats=330)  # 3,960: eight million pairs
    n, t = np.array([p.tokens for p in many], float), np.array([p.seconds for p in many])
    a, b = probe._theil_sen(n, t)
    assert (a, b) == (pytest.approx(0.2, abs=0.05), pytest.approx(0.01, rel=0.01))
    pairs = [probe._pairs(count) for count in (200, 201, 4000, 50_000)]
    assert [len(i) for i, _ in pairs] == [19_900, 99 * 201, 5 * 4000, 50_000]
    assert all((i != j).all() for i, j in pairs)


def test_a_fit_survives_being_written_down() -> None:
    for found in (fit(points(1.0)), fit(points(1.0)[:6])):
        again = probe.Fit.from_json(json.loads(json.dumps(found.to_json())))
        assert again.to_json() == found.to_json()
        assert math.isnan(again.low) == math.isnan(found.low)


def test_it_says_when_it_cannot_tell_and_why() -> None:
    few, narrow, noisy = fit(points(1.0)[:6]), fit(points(1.0, tokens=(300, 400))), fit(points(1.0, noise=1.0))
    assert {f.verdict for f in (few, narrow, noisy)} == {"cannot tell"}
    assert "8 are needed" in few.why
    assert "times the shortest" in narrow.why
    assert "too wide" in noisy.why
    with pytest.raises(ValueError, match="at least 3"):
        fit(points(1.0)[:2])


def test_the_same_points_and_seed_give_the_same_fit() -> None:
    assert fit(points(0.8), seed=4) == fit(points(0.8), seed=4)


class Paced:
    """Streams as many tokens as a question's number says, in time that `seconds` makes of them."""

    model = "paced"

    def __init__(self, seconds, told: bool = True) -> None:
        self.seconds, self.told, self.asked = seconds, told, list[str]()
        self.about: dict[str, list[str]] | None = None

    async def stream(self, request: GenerateRequest):
        self.asked.append(request.prompt)
        n = 20 * 2 ** (int(request.prompt.split()[1]) // 2)
        for _ in range(4):
            await asyncio.sleep(self.seconds(n) / 4)
            yield Chunk("x", n // 4 if self.told else 0)
        yield Chunk("", 0, "stop", about=self.about)

    async def close(self) -> None: ...


def measured(ask: probe.Ask, repeats: int = 2) -> list[Point]:
    async def work() -> list[Point]:
        return [p async for p in probe.measure(ask, QUESTIONS, repeats)]

    return asyncio.run(work())


@pytest.mark.parametrize(
    ("seconds", "verdict"), [(lambda n: 0.03 + 4e-4 * n, "linear"), (lambda n: 0.012 * n**0.5, "sub-linear")]
)
def test_an_engine_of_known_pace_is_seen_through(seconds, verdict: str) -> None:
    engine = Paced(seconds)
    found = measured(probe.through(engine))
    assert len(found) == 24
    assert len(engine.asked) == 25  # one to warm up
    assert (
        engine.asked[1:13] != QUESTIONS
    )  # not from easy to hard: a machine that slows down must not look like a slope
    assert {p.tokens for p in found} == {20 * 2**i for i in range(6)}
    assert fit(found).verdict == verdict


def test_a_service_that_does_not_tell_its_tokens_is_refused_in_a_sentence() -> None:
    with pytest.raises(EngineError, match="did not say how many tokens"):
        measured(probe.through(Paced(lambda n: 0.0, told=False)))
    pieces = Paced(lambda n: 0.0)
    pieces.about = {"notes": [PIECES]}  # what it counts are not tokens
    with pytest.raises(EngineError, match="did not say how many tokens"):
        measured(probe.through(pieces))


def test_the_positive_control_charges_for_all_that_is_written_behind_the_answer() -> None:
    engine = Chance()
    found = measured(probe.in_parallel(engine))
    assert {r.n for r in engine.requests} <= {1, 2, 4, 8, 16}
    assert len({r.n for r in engine.requests}) > 2
    warm_up = engine.made - sum(p.tokens for p in found)
    assert warm_up > 0
    widths = {q: {r.n for r in engine.requests if r.prompt == q} for q in QUESTIONS}
    assert all(len(w) == 1 for w in widths.values())


def test_a_beam_search_behind_the_answer_is_a_positive_control_too() -> None:
    questions = ["Reach 24 from 4, 7, 8 and 8.", "Reach 31 from 9, 11 and 12.", "Reach 20 from 4, 5 and 1."]
    engine = LocalEngine()

    async def all_of_it() -> list[Point]:
        try:
            ask = probe.in_parallel(engine, "beam", (1, 4), max_tokens=900)
            return [point async for point in probe.measure(ask, questions, 1)]
        finally:
            await engine.close()

    found = asyncio.run(all_of_it())
    assert len(found) == 3
    assert all(p.tokens > 40 for p in found)
    probe.check_behind("beam", questions)
    with pytest.raises(ValueError, match="exact rule of the numbers game"):
        probe.check_behind("beam", ["Say yes."])


def test_it_is_drawn() -> None:
    found = points(1.0)
    assert probe.chart(found, fit(found)).count("●") > 8
    picture = ElementTree.fromstring(probe.svg(found, fit(found), "<me> & you"))
    assert len(picture.findall("{http://www.w3.org/2000/svg}circle")) == len(found)
    assert Reply(1, 2.0).tokens == 1
