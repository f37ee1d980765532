"""Does compute at inference time buy answers? Measured on the pocket model, with a reward model that this project trained.

    python -m benchmarks.scaling DIR [--serve]

Makes the reward model (traces of training questions, labelled by the exact oracle, a `prm` job), then runs evaluations as
`worldline eval` does, two at a time, and says of each claim whether it holds, with intervals over problems. What is done is kept
in DIR: the same call goes on. With --serve two vLLMs write, on a core each, which the reward model shares: several times as fast. 4 numbers, questions that nothing was trained on, fixed seeds. The policy of compute-optimal is learned on
other questions than those it is measured on; the one that ships is measured beside it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import against

if TYPE_CHECKING:
    from core.evaluation.estimate import Drawn
    from core.evaluation.figures import CellFigures, Figures
    from core.evaluation.folder import Evaluation

SEED = 1
# The reward model: enough traces that its AUC no longer grows (training/recipes/prm.toml has the figures).
QUESTIONS, PER_QUESTION = 150, 2
TRACE_STEPS = 40  # of the traces that the reward model learns from
# Of a response in every search but the linear ones: a tight limit, which leaves something to be gained. With 40 steps and 16 answers, some
# answer is right nearly always.
STEPS = 24
LINEAR = (5, 10, 20, 40, 60)
# From this step on a simulation of MCTS writes its text to the end. So few simulations reach no end by single steps, and what they choose
# is one line that is then written to its end: as good with 8 of them as with 32.
MCTS_DEPTH = 3
POOL, PROBES = 16, 2
SERVERS = 2
CALIBRATION, BINS = 18, 3
WIDTHS = (2, 4, 8)
# What compute-optimal may choose from beside best-of-N: the same, given up as soon as an answer is good enough, and a sparing beam.
ENOUGH = 0.95
SPARING: dict[str, Any] = {"early_stop": True, "wave": 2, "enough": ENOUGH}
BEAM: dict[str, Any] = {"width": 4, "branch": 2, "tries": 2, **SPARING}
OPTIMAL = {"optimal": "learned here", "shipped": "that it comes with"}  # evaluations of compute-optimal
# Scores of people's and oracles' steps say "good so far"; a search that turns back holds bad steps and may still be right.
AGGREGATION = "last"


def strategies(width: int) -> list[str]:
    """Every strategy that grows with a width, at about `width` texts at once."""
    return [
        f"beam width={max(1, width // 2)} branch=2",
        f"dvts subtrees={max(1, width // 2)} branch=2",
        f"lookahead width={max(1, width // 2)} branch=2",
        f"rebase n={width}",
        f"mcts simulations={4 * width} branch=4 max_depth={MCTS_DEPTH}",
        f"particles n={width}",
        f"best-of-n n={width} vote=weighted",
    ]


def plans(problems: int, prm: Path) -> dict[str, dict[str, Any]]:
    """Evaluations by name, the longest first."""
    common = {"problems": f"countdown:{problems}:4", "limits": {"max_steps": STEPS}, "aggregation": AGGREGATION}
    judged = {**common, "scorers": [str(prm)]}
    return {
        "pool": {**judged, "strategies": [], "n": POOL},
        **{
            f"width-{w}": {**judged, "problems": f"countdown:{problems // 2}:4", "strategies": strategies(w)}
            for w in sorted(WIDTHS, reverse=True)
        },
        "linear": {
            "problems": f"countdown:{problems}:4", "limits": {"max_steps": max(LINEAR)},
            "strategies": [f"linear max_steps={n}" for n in LINEAR], "scorers": ["none"],
        },
    }  # fmt: skip


def calibration(folder: Path, prm: Path) -> dict[str, Any]:
    """What the policy is learned from: questions of training."""
    from core.tasks import countdown as game
    from core.tasks.countdown_text import ask

    chance = random.Random(SEED)
    questions = [ask(game.sample(chance, 4, held_out=False)) for _ in range(CALIBRATION)]
    path = folder / "calibration.jsonl"
    path.write_text("".join(json.dumps({"question": q, "task": "countdown"}) + "\n" for q in questions))
    return {
        "problems": str(path.resolve()), "limits": {"max_steps": STEPS}, "aggregation": AGGREGATION, "scorers": [str(prm)],
        "strategies": [{"name": "beam", "params": BEAM}], "n": POOL,
    }  # fmt: skip


def policy(folder: Path) -> str:
    """The table that the calibration teaches: in each bin of predicted difficulty the cheapest that is as good as the best."""
    from core.evaluation.figures import by_cell
    from core.search.policy import Measured, policy_from, predicted_difficulty, written
    from core.search.voting import Candidate

    evaluation, _ = figures_of(folder)
    pool, beam = evaluation.plan.cells
    results = by_cell(evaluation.results())
    beams = {r.problem: r for r in results[beam.cell_id]}
    rows = []
    for r in results[pool.cell_id]:
        probes = [Candidate(i, d.answer, d.score) for i, d in enumerate(r.pool[:PROBES]) if d.finished]
        hard = predicted_difficulty(probes, PROBES)
        for k, sparing in itertools.product((PROBES, 4, 8, POOL), (False, True)):
            drawn, right = best_of(r.pool, k, PROBES, sparing)
            params = {"n": k, "vote": "best", **(SPARING if sparing else {})}
            rows.append(Measured(r.problem, hard, "best-of-n", params, right, r.spent.tokens * drawn // POOL))
        other = beams[r.problem]
        tokens = other.spent.tokens + r.spent.tokens * PROBES // POOL  # the probes were drawn before it
        rows.append(Measured(r.problem, hard, "beam", BEAM, bool(other.right), tokens))
    return written(policy_from(rows, BINS))


def best_of(pool: Sequence[Drawn], n: int, first: int, sparing: bool) -> tuple[int, bool]:
    """How many answers of a pool best-of-n draws, `first` of them at once, and whether the best-scored is right. sparing: it stops when
    one is good enough."""
    drawn = first
    while drawn < n and not (sparing and any(_good(d) for d in pool[:drawn])):
        drawn = min(n, drawn + (SPARING["wave"] if sparing else n))
    chosen = max((d for d in pool[:drawn] if d.answer and d.finished), key=lambda d: d.score or 0.0, default=None)
    return drawn, chosen is not None and chosen.right


def _good(answer: Drawn) -> bool:
    return answer.finished and bool(answer.answer) and (answer.score or 0.0) >= ENOUGH


# ------------------------------------------------------------------------------------------------------- reward model


def reward_model(folder: Path) -> Path:
    """The folder of the trained model, made if it is not there."""
    from training import jobs
    from training.flywheel import sampled
    from training.labels import label_set, oracle
    from training.labels.label_set import Labelled

    note, data = folder / "prm.txt", folder / "data"
    if note.exists():
        return data / "jobs" / note.read_text() / "model"
    questions = sampled.training_questions(QUESTIONS, SEED)
    wanted = sampled.asks("scaling", questions, PER_QUESTION, SEED)
    traces = sampled.generate(
        folder / "traces.jsonl", wanted, None, TRACE_STEPS, 2, lambda share: _say("traces", share)
    )
    labelled = [Labelled(t, oracle.label(t)) for t in traces if t.steps]
    settings = {"questions": QUESTIONS, "samples": PER_QUESTION, "steps": TRACE_STEPS, "seed": SEED}
    made = label_set.write(data / "snapshots", labelled, source="oracle:countdown", settings=settings)
    job = jobs.create_job(data, "prm", made.name, [f"seed={SEED}"])
    status = jobs.run_job(job, lambda s: _say("reward model", s.step / s.total_steps if s.total_steps else 0.0))
    if status.state != "done":
        raise RuntimeError(f"the job ended as {status.state}: {status.error}")
    note.write_text(job.name)
    return job / "model"


# -------------------------------------------------------------------------------------------------------- evaluations


def evaluate(folder: Path, wanted: dict[str, dict[str, Any]], where: Sequence[str]) -> None:
    """Run what is not done, two processes at a time, of one thread each: its engine, or the server beside it, has the core too. where:
    options on who writes."""
    env = {"OMP_NUM_THREADS": "1", **os.environ}
    waiting = list(wanted)
    running: dict[str, subprocess.Popen[bytes]] = {}
    while waiting or running:
        while waiting and len(running) < 2:
            name = waiting.pop(0)
            plan = folder / f"{name}.json"
            plan.write_text(json.dumps(wanted[name], indent=1))
            running[name] = subprocess.Popen(
                [sys.executable, "-m", "app.cli", "eval", "--plan", str(plan), "--out", str(folder / name), "--data", str(folder / "data"), *where],
                stdout=subprocess.DEVNULL, stderr=(folder / f"{name}.log").open("wb"), env=env,
            )  # fmt: skip
        for name, process in list(running.items()):
            if process.poll() is not None:
                del running[name]
                if process.returncode:
                    raise RuntimeError(f"{name} failed; {folder / f'{name}.log'} says why")
                print(f"{name} done", file=sys.stderr, flush=True)
        time.sleep(0.5)


def servers(stack: ExitStack, count: int) -> list[against.Server]:
    """So many vLLMs, each on a core of its own, started side by side."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    made = [against.served(cores[i % len(cores)]) for i in range(count)]
    with ThreadPoolExecutor(max(1, count)) as threads:
        return list(threads.map(stack.enter_context, made))


def figures_of(folder: Path) -> tuple[Evaluation, Figures]:
    from core.evaluation.figures import figures
    from core.evaluation.folder import read

    evaluation = read(folder)
    return evaluation, figures(evaluation)


# ------------------------------------------------------------------------------------------------------------- report


def report(folder: Path, names: Sequence[str]) -> str:
    """The tables and what follows of them, as Markdown."""
    lines: list[str] = []
    found = {name: figures_of(folder / name) for name in names}
    lines += ["| search | solved | 95 % | tokens | of them scorer | GFLOPs |", "|---|---|---|---|---|---|"]
    for name in ("linear", *(f"width-{w}" for w in WIDTHS), *OPTIMAL):
        lines += [_row(cell) for cell in found[name][1].cells]
    (curves,) = found["pool"][1].curves
    lines += ["", "| answers | " + " | ".join(curves.methods) + " | tokens |", "|---" * (len(curves.methods) + 2) + "|"]
    ks = [point.k for point in next(iter(curves.methods.values()))]
    for i, k in enumerate(ks):
        points = [method[i] for method in curves.methods.values()]
        lines.append(f"| {k} | " + " | ".join(_share(p.value, p.ci) for p in points) + f" | {points[-1].tokens:,.0f} |")
    return "\n".join([*lines, "", *_claims(found)])


def _claims(found: dict[str, tuple[Evaluation, Figures]]) -> Iterator[str]:
    """Each claim with what was measured of it."""
    linear = [cell.accuracy or 0.0 for cell in found["linear"][1].cells]
    yield f"* linear, {LINEAR[0]} to {LINEAR[-1]} steps: " + " → ".join(f"{a:.0%}" for a in linear) + _rises(linear)
    for i, words in enumerate(strategies(WIDTHS[0])):
        at = [found[f"width-{w}"][1].cells[i].accuracy or 0.0 for w in WIDTHS]
        yield (
            f"* {words.split()[0]}, widths {', '.join(map(str, WIDTHS))}: "
            + " → ".join(f"{a:.0%}" for a in at)
            + _rises(at)
        )
    (curves,) = found["pool"][1].curves
    last = {name: points[-1] for name, points in curves.methods.items()}
    one = curves.methods["pass"][0]
    yield (
        f"* one answer {one.value:.0%}; of {last['best'].k}: majority {last['majority'].value:.0%}, weighted {last['weighted'].value:.0%}, "
        f"best score {last['best'].value:.0%}, any right {last['pass'].value:.0%}"
    )
    claimed = [d for r in found["pool"][0].results() for d in r.pool if d.answer]
    yield f"* of {len(claimed)} answers in the pool that name a solution, {sum(not d.right for d in claimed)} are wrong"
    each = [(r, *best_of(r.pool, POOL, SPARING["wave"], True)) for r in found["pool"][0].results() if r.pool]
    solved, cost = (
        sum(right for *_, right in each) / len(each),
        sum(r.spent.tokens * n / POOL for r, n, _ in each) / len(each),
    )
    yield f"* best-of-{POOL} in waves of {SPARING['wave']} that ends at a score of {ENOUGH}, of the same pool: {solved:.1%} at {cost:,.0f} tokens"
    for name, words in OPTIMAL.items():
        (optimal,) = found[name][1].cells
        wanted = optimal.accuracy or 0.0
        said = f"* compute-optimal by the policy {words}: {wanted:.1%} at {optimal.tokens:,.0f} tokens; best-of-N "
        n = equal_n(found["pool"][0], wanted)
        if n is None:
            yield said + f"is nowhere as good up to N = {POOL}"
        else:
            tokens = n * last["best"].tokens / POOL
            yield said + f"is as good at N = {n:.1f}, {tokens:,.0f} tokens: {optimal.tokens / tokens:.2f} of them"


def equal_n(pool: Evaluation, accuracy: float) -> float | None:
    """The N at which best-of-N is as good, between whole numbers by a straight line; None: at none of the pool's."""
    from core.evaluation.estimate import best_at_k

    answers = [r.pool for r in pool.results() if r.right is not None and r.pool]
    at = [sum(best_at_k(each, k) or 0.0 for each in answers) / len(answers) for k in range(1, POOL + 1)]
    above = next((i for i, value in enumerate(at) if value >= accuracy), None)
    if above is None or above == 0:
        return None if above is None else 1.0
    return above + (accuracy - at[above - 1]) / (at[above] - at[above - 1])


def _rises(values: Sequence[float]) -> str:
    return (
        " (rises)"
        if all(b >= a for a, b in itertools.pairwise(values)) and values[-1] > values[0]
        else " (does not rise at every step)"
    )


def _row(cell: CellFigures) -> str:
    flops = "–" if cell.flops is None else f"{cell.flops / 1e9:,.1f}"
    return f"| {cell.strategy} | {_share(cell.accuracy, cell.ci)} | {cell.tokens:,.0f} | {cell.scorer_tokens:,.0f} | {flops} |".replace(
        " (", " | ", 1
    ).replace(")", "", 1)


def _share(value: float | None, ci: tuple[float, float] | None) -> str:
    if value is None:
        return "–"
    return f"{value:.1%}" + ("" if ci is None else f" ({ci[0]:.0%}–{ci[1]:.0%})")


def _say(what: str, share: float) -> None:
    if sys.stderr.isatty():
        print(f"\r{what} {share:.0%}  ", end="" if share < 1 else "\n", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scaling", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="where everything is kept; the same call goes on")
    parser.add_argument(
        "--problems", type=int, default=24, help="of the pool and of linear; the other strategies get half (default 24)"
    )
    parser.add_argument("--serve", action="store_true", help="let vLLM write (`.ci/vllm-env` makes its environment)")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    prm = reward_model(asked.folder).resolve()
    wanted = plans(asked.problems, prm)
    with ExitStack() as stack:
        where = [
            word for server in servers(stack, SERVERS if asked.serve else 0) for word in ("--endpoint", server.endpoint)
        ]
        evaluate(asked.folder, {"calibration": calibration(asked.folder, prm), **wanted}, where)
        learned = policy(asked.folder / "calibration")
        chosen = {"name": "compute-optimal", "params": {"probes": PROBES, "policy": learned}}
        optimal = {
            name: {**wanted["pool"], "strategies": [strategy], "n": 0}
            for name, strategy in zip(OPTIMAL, (chosen, "compute-optimal"), strict=True)
        }
        evaluate(asked.folder, optimal, where)
    text = f"Policy learned: {learned}\n\n" + report(asked.folder, list(wanted | optimal))
    (asked.folder / "scaling.md").write_text(text + "\n", encoding="utf-8")
    print(text)
    print(f"\n{(time.monotonic() - began) / 60:.1f} minutes in this call", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
