"""`worldline search`: one question, one strategy, the tree as it grows, and what it cost."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.commands.common import CannotDo, DataOption, KeyOption, data_folder, failing_softly
from app.commands.engines import EndpointOption, ModelOption, engine_of

if TYPE_CHECKING:
    from core.engines.base import Engine
    from core.engines.sampling import Sampler
    from core.search.ledger import Budget
    from core.search.scheduler import Limits
    from core.search.search import Search
    from core.trace import Problem, Trace

# Marks of a model's format between which its words stand.
_MARKS = re.compile(r"<\|[^|<>]*\|>|\s+")
SHOWN = 72  # characters of a node in the terminal


def search(
    question: Annotated[str, typer.Argument(help="The question.", show_default=False)],
    strategy: Annotated[str, typer.Option(help="How to spend: best-of-n, beam, mcts, … (docs/search.md).")] = "beam",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="A parameter of the strategy, as name=value. May be repeated.", show_default=False),
    ] = None,
    scorer: Annotated[
        str | None,
        typer.Option(
            help="What judges: none, reward-model (the one in use in --data, or the id of a job), rollouts, countdown-oracle, tests, "
            '"judge model=NAME", "served-prm endpoint=URL model=NAME" (docs/search.md).',
            show_default=False,
        ),
    ] = None,
    tests: Annotated[
        Path | None,
        typer.Option(
            help="File with public tests of a question whose answer is a program: a JSON list, or an assertion a line.",
            show_default=False,
        ),
    ] = None,
    aggregation: Annotated[
        str, typer.Option(help="One score from those of the steps: prod, min, last or mean.")
    ] = "last",
    model: ModelOption = None,
    executor: Annotated[
        str | None,
        typer.Option(help="Another model, named like --model, that writes what the first planned.", show_default=False),
    ] = None,
    endpoint: EndpointOption = None,
    api_key_env: KeyOption = "OPENAI_API_KEY",
    seed: Annotated[int | None, typer.Option(help="Same seed, same search.", show_default=False)] = None,
    temperature: Annotated[float, typer.Option(help="0 is greedy.")] = 1.0,
    top_p: Annotated[float, typer.Option(help="Nucleus sampling; 1 is off.")] = 1.0,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest response.")] = 3500,
    step_tokens: Annotated[int, typer.Option(min=1, help="Longest step.")] = 512,
    max_steps: Annotated[int, typer.Option(min=1, help="After this many steps a response must end.")] = 60,
    budget_tokens: Annotated[
        int | None, typer.Option(help="Most tokens, written and read by the scorer.", show_default=False)
    ] = None,
    budget_flops: Annotated[float | None, typer.Option(help="Most FLOPs, of both.", show_default=False)] = None,
    budget_seconds: Annotated[
        float | None, typer.Option(help="Then it decides with what it has.", show_default=False)
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result, its ledger and its trace as one JSON line.")
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Also store the chosen trace in the data folder.")] = False,
    data: DataOption = None,
) -> None:
    """Let a strategy search for the answer, and see what it spends.

    Example: worldline search "Reach 24 from 4, 7, 8 and 8." --strategy beam --set width=2 --scorer countdown-oracle
    """
    with failing_softly():
        from app.commands.ask import not_empty
        from app.search_traces import trace_of
        from core.answers.code import tests_of
        from core.search import strategies
        from core.search.ledger import Budget
        from core.search.scheduler import Limits
        from core.search.scorer_choice import ScorerChoice
        from core.trace import Problem, utc_now

        problem = Problem.ask(not_empty(question))
        if tests is not None:
            problem = replace(problem, task="code", meta={"tests": tests_of(tests.read_text(encoding="utf-8"))})
        chosen = strategies.make(strategy, _params(set_ or []))  # before anything is loaded
        if scorer is None and chosen.NEEDS_SCORER:
            raise CannotDo(
                f"{strategy} goes by scores: name what judges with --scorer, such as --scorer countdown-oracle"
            )
        ScorerChoice.of(scorer or "none")  # and what it lacks, too
        budget = Budget(budget_tokens, budget_flops, budget_seconds)
        limits = Limits(temperature, top_p, max_tokens, step_tokens, max_steps)

        def engine(name: str | None) -> Engine:
            return engine_of(name, endpoint, api_key_env, [problem.prompt])

        engines = _Engines(engine, engine(model), engine(executor) if executor else None)
        begun, folder = utc_now(), data_folder(data)
        drawn = secrets.randbelow(2**31) if seed is None else seed
        found, judged_by, error = asyncio.run(
            _run(
                problem,
                chosen,
                drawn,
                aggregation,
                engines,
                scorer or "none",
                api_key_env,
                folder,
                limits,
                budget,
                quiet=as_json,
            )
        )
        about = {
            "model": engines.solver.model,
            "executor": executor or "",
            "scorer": judged_by,
            "limits": vars(limits),
            "created_at": begun,
        }
        node = found.choice.node if found.choice else None
        trace = None if node is None else trace_of(found, node, about)
        _tell(found, about, trace, as_json, error)
        if keep and trace is not None:
            from app.workbench import workbench_at

            with workbench_at(folder) as bench:
                bench.add_traces([trace])
        if error:
            raise CannotDo(error)


def _params(pairs: list[str]) -> dict[str, Any]:
    """name=value, the value as JSON where it is any, else as text."""
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise CannotDo(f"--set {pair} is not name=value, such as --set width=2")
        try:
            found[name] = json.loads(text)
        except ValueError:
            found[name] = text
    return found


@dataclass
class _Engines:
    """The models of a search, each by the name that it was asked for by."""

    make: Callable[[str], Engine]
    solver: Engine
    executor: Engine | None
    judges: dict[str, Engine] = field(default_factory=dict)

    async def judge(self, name: str) -> tuple[Engine, Sampler]:
        """For the scorer: a model that writes critiques."""
        from core.engines.sampling import sampler_of

        if name == self.solver.model:  # it judges itself: loaded once
            return self.solver, sampler_of(self.solver)
        engine = self.judges[name] = await asyncio.to_thread(self.make, name)
        return engine, sampler_of(engine)

    async def close(self) -> None:
        for engine in (self.solver, self.executor, *self.judges.values()):
            if engine is not None:
                await engine.close()


async def _run(
    problem: Problem, strategy: Any, seed: int, aggregation: Any, engines: _Engines, scorer: str, key_env: str, folder: Path,
    limits: Limits, budget: Budget, *, quiet: bool,
) -> tuple[Search, str, str]:  # fmt: skip
    """The search at its end, the name of what judged, and what went wrong."""
    from app.models import Models
    from app.search_scorers import Scorers
    from core.engines.sampling import sampler_of
    from core.scoring.prm import AGGREGATIONS, ScorerError
    from core.search.pricing import check_budget
    from core.search.scheduler import Scheduler, Team
    from core.search.search import Search

    if aggregation not in AGGREGATIONS:
        raise CannotDo(f"--aggregation is {aggregation}; it must be one of {', '.join(AGGREGATIONS)}")
    solver = sampler_of(engines.solver)
    scorers = Scorers(Models(folder, {}), engines.judge, key_env)
    try:
        try:
            if (folder / "jobs" / scorer / "model").is_dir():
                judge = await scorers.named(scorer, problem)
            else:
                judge = await scorers.chosen(scorer, problem, solver)
        except ScorerError as error:
            raise CannotDo(str(error)) from None
        team = Team(solver, judge, sampler_of(engines.executor) if engines.executor else None)
        await check_budget(budget, team, problem)
        found = Search(problem, strategy, seed=seed, marks=await solver.marks(), aggregation=aggregation)
        printer = _Printer(quiet)
        await Scheduler().run(found, team, budget, limits, show=printer)
        return found, judge.name if judge else "", printer.error
    finally:
        await engines.close()


class _Printer:
    """A line a node, as it comes: two blanks a depth, its score, its last words."""

    def __init__(self, quiet: bool) -> None:
        self.quiet, self.error = quiet, ""

    def __call__(self, event: dict[str, Any]) -> None:
        if event["type"] == "error":
            self.error = event["error"]
        elif event["type"] == "node" and not self.quiet:
            words = " ".join(_MARKS.sub(" ", event["text"]).split())
            score = "    " if event["score"] is None else f"{event['score']:.2f}"
            ended = {"eos": {True: "✓ ", False: "✗ ", None: "■ "}[event["right"]], "length": "✂ ", "empty": "∅ "}
            times = f" ×{event['count']}" if event["count"] > 1 else ""
            shown = words if len(words) <= SHOWN else f"{words[: SHOWN // 2 - 1]} … {words[2 - SHOWN // 2 :]}"
            depth = "  " * event["path"].count(".")
            print(f"{event['id']:>4} {score} {depth}{ended.get(event['end'], '')}{shown}{times}", flush=True)


def _tell(found: Search, about: dict[str, Any], trace: Trace | None, as_json: bool, error: str) -> None:
    done, start = found.done_event(), found.start_event()
    if as_json:
        row = {
            "prompt": found.state.problem.prompt, "strategy": start["strategy"], "params": start["params"], "seed": found.seed,
            **about, "reason": done["reason"], "answer": done["answer"], "right": done["right"], "votes": done["votes"],
            "why": done["why"], "nodes": len(found.state.tree), "ledger": done["ledger"], "error": error,
            "trace": trace.to_json() if trace else None,
        }  # fmt: skip
        print(json.dumps(row, ensure_ascii=False), flush=True)
        return
    spent, verdict = found.spent, {True: "right", False: "not right", None: "not checked"}[done["right"]]
    said = "no answer" if trace is None else f"{verdict}: {done['answer'] or '(no answer could be read)'}"
    print(f"\n{said} ({done['reason']}{', ' + done['why'] if done['why'] else ''}; seed {found.seed})")
    print(
        f"{len(found.state.tree)} nodes, {spent.calls} requests, {found.elapsed:.1f} s by the clock, {spent.seconds:.1f} s of waiting for models\n"
        f"tokens: {spent.prompt:,} read ({spent.cached:,} cached), {spent.generated:,} written, {spent.scorer:,} by the scorer; "
        f"charged {spent.tokens:,}\n"
        f"FLOPs: solver {_flops(spent.solver_flops)}, scorer {_flops(spent.scorer_flops)}"
        + (f"\n{spent.uncounted} requests were cut off, and nobody can say what they cost" if spent.uncounted else "")
    )


def _flops(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3g}"
