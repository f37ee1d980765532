"""A model whose writing is a table, a scorer that reads what the table says, and a tree as a few lines of text.

The table says which pieces may follow a piece ("" is the beginning): `{"": ["left@.9", "right@.4"], "left@.9": ["= 7"]}`. A piece that begins
with "=" is an answer and ends the text; every other is a step, a line. The scorer reads the number after "@" in each step. A token is a
character, and the end is one more.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from random import Random

from core.engines.sampling import Marks, ModelSize, PieceEnd, Sample, Sampled, SampleRequest
from core.search import strategies
from core.search.ledger import Budget
from core.search.scheduler import Limits, Scheduler, Team
from core.search.scorers import Item, Scored, Scorer
from core.search.search import Event, Search
from core.trace import Problem
from tests.core.search.chance import cut_off

MARKS = Marks(step_end="\n", thinking_end="</think>\n", wait="Wait\n")
END = 0  # the id of the end token; every other id is a character

# What may follow what was written in answer to a prompt.
Says = Callable[[str, str], Sequence[str]]


def follows(table: Mapping[str, Sequence[str]]) -> Says:
    """By the last line alone; after a line that the table does not have comes the answer "= ?"."""

    def says(prompt: str, written: str) -> Sequence[str]:
        return table.get(written.rstrip("\n").rpartition("\n")[2], ("= ?",))

    return says


def chance(number: int, ways: int = 4, ends: float = 0.3) -> Says:
    """A model by its number. Some pieces are blank, some too long, some alike; at the tenth line it comes to an end."""

    def says(prompt: str, written: str) -> Sequence[str]:
        draw = Random(f"{number} {prompt} {written}")
        if written.count("\n") >= 9:
            return ("= 0",)
        kinds = {"=": ends, "": 0.08, "long": 0.08, "step": 1 - ends - 0.16}

        def piece() -> str:
            kind = draw.choices(list(kinds), list(kinds.values()))[0]
            if kind == "=":
                return f"= {draw.randrange(4)}"
            if kind == "":
                return ""
            return f"{'a' * 60 if kind == 'long' else draw.choice('abcdefgh')}@.{draw.randrange(10)}"

        return [piece() for _ in range(draw.randint(1, ways))]

    return says


class Scripted:
    """Continuation i takes the i-th of the pieces that may follow, round and round; with `drawn`, its seed draws one. At temperature 0
    it is always the first. `late`: how long an answer takes, in turns of the loop, is drawn from it.
    """

    model = "scripted"

    def __init__(
        self, says: Says | Mapping[str, Sequence[str]], *, drawn: bool = False, late: Random | None = None
    ) -> None:
        self.says = says if callable(says) else follows(says)
        self.drawn, self.late = drawn, late
        self.requests: list[SampleRequest] = []
        self.wrote = 0  # tokens

    async def sample(self, request: SampleRequest) -> Sampled:
        self.requests.append(request)
        samples = tuple(self._write(request, i) for i in range(request.n))
        read = len(request.prompt) + len(request.written) + len(request.insert)
        try:
            for _ in range(self.late.randrange(12) if self.late else 0):
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            samples = tuple(cut_off(sample, (self.late or Random(0)).random()) for sample in samples)
            request.report.sampled = Sampled(samples, read)
            raise
        finally:
            self.wrote += sum(s.tokens for s in samples)
        return Sampled(samples, read)

    async def marks(self) -> Marks:
        return MARKS

    async def size(self) -> ModelSize:
        return ModelSize(100, 1, 4)

    def _write(self, request: SampleRequest, turn: int) -> Sample:
        before = "".join(map(chr, request.written)) + request.insert
        draw = Random((request.sampling.seed or 0) + turn)
        made, most, end = "", request.sampling.max_tokens, "length"
        while len(made) < most:
            pieces = self.says(request.prompt, before + made)
            at = draw.randrange(len(pieces)) if self.drawn else turn % len(pieces)
            turn //= len(pieces)
            piece = pieces[at if request.sampling.temperature else 0]
            if piece.startswith("="):
                made, end = made + piece, "eos"
                break
            made += piece + MARKS.step_end
            if stop := next((s for s in request.stop if made.endswith(s)), ""):
                end = "step"
                break
        tokens = len(made) + (end == "eos")
        if tokens > most:
            made, end, tokens = made[:most], "length", most
        elif end == "step" and not request.keep_stop:
            made = made.removesuffix(stop)
        ids = (*map(ord, request.insert + made), *([END] if end == "eos" else ()))
        return Sample(request.insert + made, ids, _end(end), tokens)


def _end(end: str) -> PieceEnd:
    assert end in ("step", "eos", "length")
    return end  # type: ignore[return-value]


class AtSigns:
    """Each step is as good as it says; one that says nothing is good. It reads what it is given: a token a character."""

    name, version = "at-signs", "1"

    def __init__(self) -> None:
        self.items: list[Item] = []

    async def score(self, items: Sequence[Item]) -> list[Scored]:
        self.items += items
        return [Scored(tuple(map(self._of, item.steps)), sum(map(len, item.steps))) for item in items]

    def _of(self, step: str) -> float:
        said = re.search(r"@(\.\d+)", step)
        return float(said.group(1)) if said else 1.0

    async def size(self) -> ModelSize:
        return ModelSize(50, 1, 4)


def search(
    name: str, *, seed: int = 0, prompt: str = "Which way?", answer: str | None = None, **params: object
) -> Search:
    # prod: an answer, which has no number of its own, is as good as the steps before it.
    made = strategies.make(name, params)
    return Search(Problem.ask(prompt, "text", answer), made, seed=seed, marks=MARKS, aggregation="prod")


def run(
    one: Search, model: Scripted, scorer: Scorer | None = None, *, budget: Budget = Budget(),
    log: Callable[[Event], None] = lambda event: None, step_tokens: int = 40, max_tokens: int = 400, turns: int | None = None,
) -> Search:  # fmt: skip
    """Drive a search to its end, or until it is stopped after so many turns of the loop."""
    limits = Limits(max_tokens=max_tokens, step_tokens=step_tokens)
    team = Team(model, scorer if scorer is not None else AtSigns())

    async def drive() -> Search:
        stop = asyncio.Event()
        running = asyncio.ensure_future(Scheduler().run(one, team, budget, limits, log=log, stop=stop))
        for _ in range(turns or 0):
            await asyncio.sleep(0)
        if turns is not None:
            stop.set()
        return await asyncio.wait_for(running, 30)

    return asyncio.run(drive())


def drawing(one: Search) -> str:
    """A line a node: "*" chosen, "x" pruned; the piece; its score, its value where it has one, visits, and how often it was drawn."""
    tree, lines = one.state.tree, []

    def line(node: int, depth: int) -> None:
        n = tree[node]
        said = [n.text.replace("\n", " ").strip() or ("?" if n.parent is None else "·")]
        said += [f"{n.score:.2f}"] if n.score is not None else []
        said += [f"v{n.value:.2f}"] if n.value is not None else []
        said += [f"n{n.visits}"] if n.visits else []
        said += [f"×{n.count}"] if n.count > 1 else []
        said += [f"({n.end})"] if n.end in ("length", "empty") else []
        said += [f"[{n.label}]"] if n.label else []
        lines.append("  " * depth + ("*" if n.chosen else "x" if n.pruned else "-") + " " + " ".join(said))
        for child in n.children:
            line(child, depth + 1)

    line(0, 0)
    return "\n".join(lines)
