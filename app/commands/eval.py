"""`worldline eval`: accuracy against what it cost, for problems × models × strategies × budgets; the same command goes on."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.commands.common import CannotDo, DataOption, KeyOption, data_folder, failing_softly, progress_bar
from app.commands.engines import EndpointOption, local, served

if TYPE_CHECKING:
    from core.engines.base import Engine
    from core.engines.sampling import Sampler
    from core.evaluation.compare import Comparison
    from core.evaluation.figures import Figures
    from core.evaluation.folder import Evaluation, Status
    from core.evaluation.plan import Cell, Plan
    from core.evaluation.problems import Asked
    from core.search.scheduler import Team
    from core.search.scorers import Scorer

app = typer.Typer(
    help="Measure what inference-time compute is worth: accuracy against tokens and FLOPs, curves over k, bins of difficulty.\n\n"
    'Example: worldline eval --problems countdown:20 --strategy linear --strategy "beam width=4 branch=4" --scorer countdown-oracle --n 8\n\n'
    "The same command again goes on with what is missing. An evaluation is a folder; `worldline eval delete` or the Evaluate page deletes it.",
    rich_markup_mode=None,
)  # fmt: skip
BY = "terminal"
OUTCOME = "orm:"


@app.callback(invoke_without_command=True)
def evaluate(
    context: typer.Context,
    problems: Annotated[
        str | None,
        typer.Option(
            help="countdown:N[:3|4][:SEED], or a JSONL file with question and answer a line.", show_default=False
        ),
    ] = None,
    plan: Annotated[
        Path | None, typer.Option(help="A TOML or JSON file instead of the options below.", show_default=False)
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="pocket, the id of a job, a model's folder, vllm:NAME (run by vLLM in this process); with --endpoint a model served there. May be repeated "
            "(default: pocket, or the only one served).",
            show_default=False,
        ),
    ] = None,
    executor: Annotated[
        str, typer.Option(help="Another model, which writes what a planner planned.", show_default=False)
    ] = "",
    endpoint: EndpointOption = None,
    api_key_env: KeyOption = "OPENAI_API_KEY",
    strategy: Annotated[
        list[str] | None,
        typer.Option(
            help='A strategy with its parameters, such as "beam width=4 branch=4". May be repeated (default: linear, or none with --n).',
            show_default=False,
        ),
    ] = None,
    scorer: Annotated[
        list[str] | None,
        typer.Option(
            help="none, countdown-oracle, reward-model (the one in use), tests (of code), rollouts, the id of a job, a reward model's "
            'folder, orm:FOLDER, "judge model=NAME", "served-prm endpoint=URL model=NAME" (docs/search.md). May be repeated.',
            show_default=False,
        ),
    ] = None,
    budget_tokens: Annotated[
        list[int] | None,
        typer.Option(
            help="Most tokens of a search, the scorer's included. May be repeated: each is a budget of its own.",
            show_default=False,
        ),
    ] = None,
    budget_flops: Annotated[
        list[float] | None, typer.Option(help="The same in FLOPs. May be repeated.", show_default=False)
    ] = None,
    budget_seconds: Annotated[
        list[float] | None,
        typer.Option(help="The same in seconds; searches then run one at a time. May be repeated.", show_default=False),
    ] = None,
    seeds: Annotated[str, typer.Option(help="Tries of each problem, such as 0,1,2.")] = "0",
    n: Annotated[
        int, typer.Option(help="Answers a problem for the curves over k and the bins of difficulty; 0: none.")
    ] = 0,
    temperature: Annotated[float, typer.Option(help="Of every draw.")] = 1.0,
    top_p: Annotated[float, typer.Option(help="Nucleus sampling; 1 is off.")] = 1.0,
    max_tokens: Annotated[int, typer.Option(help="Of one answer.")] = 3500,
    step_tokens: Annotated[int, typer.Option(help="Of one step.")] = 512,
    max_steps: Annotated[int, typer.Option(help="Of one answer, where the model marks its steps.")] = 60,
    aggregation: Annotated[
        str, typer.Option(help="From the scores of steps to one: prod, min, last or mean.")
    ] = "last",
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the evaluation (default: one in the data folder's evals).", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print every figure as JSON.")] = False,
    data: DataOption = None,
) -> None:
    """Measure models and strategies over problems. The same command again goes on where it was stopped.

    Example: worldline eval --problems countdown:20 --strategy linear --n 8
    """
    if context.invoked_subcommand is not None:
        return
    with failing_softly():
        from dataclasses import replace

        from core.evaluation import problems as sets
        from core.evaluation.plan import Plan

        if plan is not None:
            wanted = Plan.read(plan)
        elif problems is None:
            raise CannotDo(
                "name the problems with --problems (such as countdown:20 or a JSONL file), or a file with --plan"
            )
        else:
            only = served(endpoint, None, api_key_env).model if endpoint and not model else "pocket"
            wanted = Plan.from_json({
                "problems": problems, "models": model or [only], "scorers": scorer or ["none"],
                "strategies": strategy or ([] if n else ["linear"]), "n": n, "seeds": _whole(seeds, "--seeds"),
                "budgets": [
                    *({"tokens": t} for t in budget_tokens or []), *({"flops": f} for f in budget_flops or []),
                    *({"seconds": s} for s in budget_seconds or []),
                ] or [{}],
                "limits": {
                    "temperature": temperature, "top_p": top_p, "max_tokens": max_tokens, "step_tokens": step_tokens, "max_steps": max_steps,
                },
                "aggregation": aggregation, "executor": executor,
            })  # fmt: skip
        asked = sets.load(wanted.problems)
        folder = data_folder(data)
        teams = _Teams(folder, asked, endpoint or [], api_key_env)
        wanted = replace(wanted, scorers=tuple(map(teams.named.settled, wanted.scorers)))
        made = _folder(wanted, asked, out, folder)
        status = _run(made, teams)
        _tell(made, status, as_json)


def _whole(text: str, option: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise CannotDo(
            f"{option} is {text}; it must be whole numbers with commas between them, such as 0,1,2"
        ) from None


def _folder(plan: Plan, asked: list[Asked], out: Path | None, data: Path) -> Evaluation:
    """The evaluation of this plan: the one that is there, or a new one."""
    from core.evaluation import folder
    from core.evaluation.problems import sha256_of
    from core.trace import new_id

    if out is None:
        known = folder.same(data / "evals", plan, asked)
        return known or folder.create(data / "evals" / new_id(), plan, asked, created_by=BY)
    if not (out / folder.PLAN).exists():
        return folder.create(out, plan, asked, created_by=BY)
    known = folder.read(out)
    different = known.plan.difference(plan)
    if not different and sha256_of(known.problems) != sha256_of(asked):
        different = f"the problems in {plan.problems} are not those it began with"
    if different:
        raise CannotDo(f"{out} holds another evaluation: {different}; name another folder with --out")
    return known


def _run(made: Evaluation, teams: _Teams) -> Status:
    from core.evaluation import run
    from core.search.scheduler import Scheduler

    status = made.status()
    if status.state == "done":
        return status
    bar, at = progress_bar("searches", len(made.tasks))

    def tell(now: Status) -> None:
        failed = f" ({now.failed} failed)" if now.failed else ""
        at(now.done, f"searches{failed}")

    async def all_of_it() -> Status:
        try:
            return await run.run(made, teams, Scheduler(), tell=tell, by=BY)
        finally:
            await teams.close()

    try:
        with bar:
            return asyncio.run(all_of_it())
    except KeyboardInterrupt:
        typer.echo(f"worldline: {made.path} keeps what is done; the same command goes on", err=True)
        raise


class _Teams:
    """Models and scorers by the names that the command takes; each is loaded once."""

    def __init__(self, data: Path, asked: list[Asked], endpoints: list[str], key_env: str) -> None:
        from app.models import Models
        from app.search_scorers import Scorers

        self.data, self.asked, self.endpoints, self.key_env = data, asked, endpoints, key_env
        self.models: dict[str, tuple[Engine, Sampler]] = {}
        self.known = Models(data, {})
        self.named = Scorers(self.known, self.model, key_env)
        self.loaded: dict[str, Scorer] = {}  # reward models from folders

    async def __call__(self, model: str, scorer: str) -> Team:
        from core.search.scheduler import Team

        _, sampler = await self.model(model)
        return Team(sampler, await self.scorer(scorer, sampler))

    async def model(self, name: str) -> tuple[Engine, Sampler]:
        """Also for a scorer that asks one."""
        from core.engines.sampling import sampler_of

        if name not in self.models:
            engine = await asyncio.to_thread(self._engine, name)
            self.models[name] = engine, sampler_of(engine)
        return self.models[name]

    async def scorer(self, name: str, solver: Sampler) -> Scorer | None:
        from core.search.scorer_choice import ScorerChoice

        names = [entry.name for entry in self.named.all()]
        if ScorerChoice.of(name).name not in names:
            if name not in self.loaded:
                self.loaded[name] = await asyncio.to_thread(self._reward_model, name, names)
            return self.loaded[name]
        for asked in self.asked:
            try:
                self.named.check(name, asked.problem)
            except ValueError as error:
                raise CannotDo(f"problem {asked.index + 1}: {error}") from error
        return await self.named.chosen(name, self.asked[0].problem, solver)

    def _reward_model(self, name: str, names: list[str]) -> Scorer:
        from core.scoring.prm import PrmScorer
        from core.search.scorers import PrmSearch
        from core.search.verifiers import OrmSearch

        try:
            folder = self.known.folder_of(name.removeprefix(OUTCOME))
        except FileNotFoundError:
            raise CannotDo(
                f"there is no scorer {name}: it is {', '.join(names)}, the id of a finished job, or a reward model's folder "
                f"({OUTCOME}FOLDER for an outcome reward model)"
            ) from None
        outcome = name.startswith((OUTCOME, "orm-"))  # the id of a job begins with its kind
        return OrmSearch(PrmScorer(folder), name) if outcome else PrmSearch(PrmScorer(folder), name)

    def _engine(self, model: str) -> Engine:
        if self.endpoints:
            return served(self.endpoints, model, self.key_env)
        return local(model, [asked.problem.prompt for asked in self.asked], self.data)

    async def close(self) -> None:
        for engine, _ in self.models.values():
            await engine.close()


def _tell(made: Evaluation, status: Status, as_json: bool) -> None:
    from core.evaluation import report
    from core.evaluation.figures import figures

    results = made.results()
    found = figures(made, results)
    paths = report.write(made, found, results)
    if as_json:
        from dataclasses import asdict

        typer.echo(json.dumps({
            "eval_id": made.eval_id, "folder": str(made.path.resolve()), "plan": made.plan.to_json(), "status": asdict(status), **found.to_json(),
        }))  # fmt: skip
    else:
        _print(made, found)
        typer.echo(f"worldline: wrote {', '.join(p.name for p in paths)} in {made.path}", err=True)
    if status.state != "done":
        raise CannotDo(f"{status.error or 'it was stopped'} The same command goes on.")


def _print(made: Evaluation, found: Figures) -> None:
    """The tables, as wide as the terminal."""
    from rich.console import Console
    from rich.table import Table

    from core.evaluation.plots import short
    from core.evaluation.report import METHOD_WORDS, percent

    console = Console(highlight=False, markup=False)
    many = len(made.plan.models) > 1
    table = Table("cell", "what", "solved", "95 %", "tokens", "FLOPs", "s", box=None, pad_edge=False)
    for column in table.columns[2:]:
        column.justify = "right"
    scored = any(c.scorer_tokens for c in found.cells)
    if scored:
        table.add_column("scorer's tokens", justify="right")
    for c in found.cells:
        label = c.label if many else c.label.removeprefix(f"{c.model} · ")
        between = "" if c.ci is None else f"{100 * c.ci[0]:.0f} to {100 * c.ci[1]:.0f}"
        row = [
            c.cell_id, label, percent(c.accuracy), between, f"{c.tokens:,.0f}", "–" if c.flops is None else short(c.flops), f"{c.seconds:.1f}",
        ]  # fmt: skip
        table.add_row(*row, *([f"{c.scorer_tokens:,.0f}"] if scored else []))
    console.print(f"{len(made.problems)} problems of {made.plan.problems}; costs are means a search")
    console.print(table)
    for curves in found.curves:
        shown = {m: points for m, points in curves.methods.items() if points}
        if not shown:
            continue
        costs = curves.costs()
        ks = Table("k", *costs, *(METHOD_WORDS[m] for m in shown), box=None, pad_edge=False)
        for column in ks.columns:
            column.justify = "right"
        for i, point in enumerate(next(iter(shown.values()))):
            values = [percent(p[i].value) for p in shown.values()]
            ks.add_row(str(point.k), *(f"{c[i]:,.0f}" for c in costs.values()), *values)
        console.print(f"\nfrom one pool of {curves.n} answers: {curves.label}")
        console.print(ks)
    for note in found.notes:
        console.print(f"* {note}")


@app.command("compare")
def compare(
    a: Annotated[
        str, typer.Argument(metavar="A", help="EVALUATION:CELL: the id or folder of an evaluation, and a cell of it.")
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="The same; B alone is a cell of A's evaluation.")],
    problems: Annotated[
        bool, typer.Option("--problems", help="Also list the problems that one side alone solved.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    data: DataOption = None,
) -> None:
    """Compare two cells problem by problem: both, one alone, neither; is it chance?

    Example: worldline eval compare ./evaluation:f55e9c2b ./evaluation:7084286d
    """
    with failing_softly():
        from core.evaluation.compare import compare as compared

        first, cell_a = _cell(a, data_folder(data), None)
        second, cell_b = _cell(b, data_folder(data), first)
        found = compared(first, cell_a, second, cell_b)
        if as_json:
            typer.echo(json.dumps(found.to_json()))
        else:
            _print_comparison(found, problems)


@app.command("delete")
def delete(
    evaluation: Annotated[str, typer.Argument(metavar="EVALUATION", help="The id or folder of an evaluation.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    data: DataOption = None,
) -> None:
    """Delete an evaluation with its results and the searches behind them, for good. Traces that were kept from it stay.

    Example: worldline eval delete ./evaluation
    """
    with failing_softly():
        from core.evaluation import folder

        there = data_folder(data)
        path = _place(evaluation, there)
        if path is None:
            raise CannotDo(f"there is no evaluation {evaluation}: name its folder, or its id in {there / 'evals'}")
        made = folder.read(path)
        what = f"{made.name} ({len(made.results())} searches, in {path})"
        if not yes:
            if not sys.stdin.isatty():
                raise CannotDo(f"{what} is deleted for good; say so with --yes")
            if not typer.confirm(f"Delete {what} for good?"):
                return
        folder.remove(made)
        typer.echo(f"worldline: deleted {what}", err=True)


def _cell(said: str, data: Path, before: Evaluation | None) -> tuple[Evaluation, Cell]:
    from core.evaluation import folder

    place, colon, name = said.rpartition(":")
    if not colon:
        place, name = (said, "") if before is None or _place(said, data) is not None else ("", said)
    path = _place(place, data) if place else None
    if path is None and (place or before is None):
        raise CannotDo(f"there is no evaluation {place or said}: name its folder, or its id in {data / 'evals'}")
    made = folder.read(path) if path is not None else before
    assert made is not None
    if not name and len(made.plan.cells) == 1:
        return made, made.plan.cells[0]
    return made, made.cell(name)


def _place(said: str, data: Path) -> Path | None:
    return next((p for p in (Path(said), data / "evals" / said) if (p / "plan.json").is_file()), None)


def _print_comparison(found: Comparison, problems: bool) -> None:
    ci = "" if found.ci is None else f" (95 %: {100 * found.ci[0]:+.1f} to {100 * found.ci[1]:+.1f})"
    chance = "" if found.p is None else f", p = {found.p:.3g} (McNemar, exact)"
    lines = [
        f"A  {found.a}", f"B  {found.b}",
        f"{found.problems} problems: both solved {found.both}, only A {found.only_a}, only B {found.only_b}, neither {found.neither}",
        f"B less A: {100 * found.difference:+.1f} points{ci}{chance}", *(f"* {note}" for note in found.notes),
    ]  # fmt: skip
    if problems:
        for pair in found.pairs:
            if (pair.a > 0.5) != (pair.b > 0.5):
                side, searches = ("A", pair.a_searches) if pair.a > pair.b else ("B", pair.b_searches)
                lines.append(f"only {side}: {' '.join(pair.prompt.split())[:100]}  ({', '.join(searches)})")
    typer.echo("\n".join(lines))
