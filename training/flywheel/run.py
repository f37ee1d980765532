"""The loop itself: ask, rate, freeze, train, choose by what was trained, learn from what was rated, and once more.

Every stage goes the way that people's work goes: traces by the local engine, ratings as events through the store's queues,
snapshots, jobs. Simplified: one seed, so that between two runs the figures move by about what their intervals say.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

from core.tasks import countdown as game
from core.trace import Trace
from storage.snapshots import SnapshotSpec, freeze
from storage.store import Store
from training import jobs
from training.flywheel import measure, raters, sampled, scoring
from training.flywheel.plan import Kept, Plan, Tell
from training.run_folder import JobError

ARMS = ("random", "convincing_wrong", "uncertainty")


def weights(plan: Plan) -> dict[str, float]:
    """Every stage and about what it costs, in generated traces (estimates: training on one 0.6, scoring one 0.15)."""
    pool, held = float(plan.questions * plan.per_question), float(plan.held_out * plan.samples)
    costs = {"held-out-0": held, "pool-0": pool, "store-0": pool * 0.05}
    for n in plan.budgets:
        costs |= {f"rate-random-{n}": 0.1 * n, f"prm-random-{n}": _training(n), f"orm-{n}": _training(n)}
        costs |= {f"measure-prm-random-{n}": 0.15 * held, f"measure-orm-{n}": 0.15 * held}
    for arm in ARMS[1:]:
        for n in plan.active:
            costs[f"rate-{arm}-{n}"] = 0.1 * n + (0 if n == plan.active[0] else 0.15 * pool)
            if n != plan.active[0]:
                costs |= {f"prm-{arm}-{n}": _training(n), f"measure-prm-{arm}-{n}": 0.15 * held}
    n = plan.budgets[-1]
    costs |= {"sft-1": _training(2 * n), "held-out-1": held, "pool-1": float(n), "store-1": n * 0.05}
    costs |= {"rate-second": 0.1 * n, "prm-second": _training(2 * n), "sft-2": _training(2 * n)}
    costs |= {"held-out-2": held, "measure-second": 0.15 * held, "measure-before-second": 0.15 * held}
    return costs


def _training(traces: int) -> float:
    return 0.6 * max(traces, 160)  # at least 40 steps of 4 traces


def run(folder: Path, plan: Plan, tell: Tell) -> dict[str, Any]:
    """Run what is not done yet, and return all figures (what results.json holds).

    Raises ValueError for a folder of another plan, JobError when a job failed, KeyboardInterrupt when it was stopped; the same call goes on.
    """
    return _Flywheel(folder, plan, Kept(folder, plan, tell, weights(plan))).all()


class _Flywheel:
    def __init__(self, folder: Path, plan: Plan, kept: Kept) -> None:
        self.folder, self.plan, self.kept, self.data = folder, plan, kept, folder / "data"

    @cached_property
    def held_out(self) -> list[game.Countdown]:
        return game.held_out_set(self.plan.held_out, self.plan.seed)  # seconds: the oracle lists all that there are

    def all(self) -> dict[str, Any]:
        plan = self.plan
        held_out = self.solutions(0, None)
        pool = self.ready(0, None, plan.questions, plan.per_question)
        curve = [self.at_budget(n, held_out) for n in plan.budgets]
        arms = {arm: self.arm(arm, pool, held_out) for arm in ARMS[1:]}
        arms["random"] = [
            {"traces": p["traces"], "labels": p["labels"], "auc": p["prm"]["auc"], "auc_ci": p["prm"]["auc_ci"]}
            for p in curve
            if p["traces"] in plan.active
        ]
        first = measure.pool_figures(held_out)
        return {
            "plan": asdict(plan), "machine": f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}",
            "pool": first, "curve": curve, "active": arms, "equal_auc": _equal_auc(arms),
            "rounds": self.rounds(first, held_out), "seconds": self.kept.seconds,
        }  # fmt: skip

    # ------------------------------------------------------------------------------------------------------ traces

    def solutions(self, round_: int, model: Path | None) -> list[Trace]:
        """Solutions of the held-out questions, which nobody rates and nothing is trained on."""
        plan, name = self.plan, f"held-out-{round_}"
        return self.traces(name, self.held_out, plan.samples, model)

    def ready(self, round_: int, model: Path | None, questions: int, per_question: int) -> list[Trace]:
        """Solutions of questions of training, in the store."""
        asked = sampled.training_questions(questions, sampled.hash_seed(self.plan.seed, "questions", round_))
        made = self.traces(f"pool-{round_}", asked, per_question, model)

        def keep() -> int:
            with Store.open(self.data) as store:
                for future in [store.add_trace(trace, source="flywheel") for trace in made]:
                    future.result()
            return len(made)

        self.kept.once(f"store-{round_}", keep)
        return made

    def traces(self, name: str, questions: Sequence[game.Countdown], samples: int, model: Path | None) -> list[Trace]:
        plan, path = self.plan, self.folder / "traces" / f"{name}.jsonl"
        wanted = sampled.asks(name, questions, samples, plan.seed)

        def make() -> int:
            return len(sampled.generate(path, wanted, model, plan.step_limit, plan.workers, self.kept.at))

        self.kept.once(name, make)
        found = {t.trace_id: t for t in sampled.read(path)}
        return [found[ask.trace_id] for ask in wanted]

    # ------------------------------------------------------------------------------------------- ratings and snapshots

    def rated(self, name: str, queue: str, upto: int, *, queues: Sequence[str] = (), how: tuple[str, str] = ("random", "pocket"),
              first: Sequence[str] = (), scored: tuple[Path, Sequence[Trace]] | None = None) -> dict[str, Any]:  # fmt: skip
        """The queue rated up to so many traces, and a snapshot of it (and of `queues`).

        how: sampling and model of the queue. scored: the reward model by whose scores its ranking goes, and of which traces.
        """

        def make() -> dict[str, Any]:
            plan = self.plan
            values = [] if scored is None else self.scores(scored[0], scored[1])
            # Opened anew each time: a ranking is kept for a while, and would go by the scores before.
            with Store.open(self.data) as store:
                raters.make_queue(store, queue, *how)
                if scored is not None:
                    version = scored[0].parent.name
                    for future in [
                        store.add_scores(t.trace_id, t.segmentation_id, "prm", version, s, "min")
                        for t, s in zip(scored[1], values, strict=True)
                    ]:
                        future.result()
                drawn = raters.rate(store, queue, upto, error=plan.error, seed=plan.seed, first=first)
                # All is trained on: what is measured is held out as questions, not as a share of the snapshot.
                spec = SnapshotSpec(queues=(queue, *queues), test_percent=0)
                info = freeze(store, self.data / "snapshots", spec, raters.name_of(plan.error), name=name)
                chosen = store.query(
                    "select trace_id from assignment where queue_id = ? and status = 'submitted' order by trace_id",
                    [queue],
                )
            labels = sum(info.histogram[k] for k in ("good", "bad"))
            return {
                "snapshot": info.snapshot_id, "traces": info.n_traces, "labels": labels, "drawn": drawn,
                "good": info.histogram["good"], "trace_ids": [row[0] for row in chosen],
            }  # fmt: skip

        return self.kept.once(name, make)

    # ---------------------------------------------------------------------------------------------------------- jobs

    def trained(self, name: str, kind: str, snapshot: str, settings: Sequence[str] = ()) -> Path:
        """The model of a job, which is made, run, or gone on with."""
        note = self.folder / "stages" / f"{name}.job"

        def make() -> str:
            job = self.data / "jobs" / note.read_text() if note.exists() else None
            if job is None or not job.is_dir():
                asked = [f"seed={self.plan.seed}", f"threads={self.plan.workers}", *self.plan.recipe, *settings]
                job = jobs.create_job(self.data, kind, snapshot, asked)
                note.write_text(job.name)
            status = jobs.run_job(job, lambda s: self.kept.at(s.step / s.total_steps if s.total_steps else 0.0))
            if status.state == "stopped":
                raise KeyboardInterrupt
            if status.state != "done":
                note.unlink()  # the next call makes a new one
                raise JobError(f"the {kind} job {job.name} ended as {status.state}: {status.error}")
            return job.name

        return self.data / "jobs" / self.kept.once(name, make) / "model"

    def scores(self, model: Path, traces: Sequence[Trace]) -> list[list[float]]:
        """P(good) of every step."""
        return self._scored(model, [(t.prompt, [t.step_text(s.index) for s in t.steps]) for t in traces])

    def _scored(self, model: Path, texts: Sequence[tuple[str, Sequence[str]]]) -> list[list[float]]:
        return scoring.scores(model, texts, self.plan.workers, self.kept.at)

    def measured(self, name: str, model: Path, traces: Sequence[Trace]) -> dict[str, Any]:
        """A PRM on held-out solutions."""
        return self.kept.once(name, lambda: measure.prm_figures(traces, self.scores(model, traces)))

    # --------------------------------------------------------------------------------------------- the four questions

    def at_budget(self, n: int, held_out: Sequence[Trace]) -> dict[str, Any]:
        """PRM and ORM from n rated traces chosen by chance."""
        rated = self.rated(f"rate-random-{n}", "random", n)
        prm = self.trained(f"prm-random-{n}", "prm", rated["snapshot"])
        # The verdict is what the rater said; whether the answer was checked to be right is not told to the model.
        orm = self.trained(f"orm-{n}", "orm", rated["snapshot"], ["outcome=verdict"])

        def measure_orm() -> dict[str, Any]:
            scored = self._scored(orm, [(t.prompt, [t.response]) for t in held_out])
            return measure.orm_figures(held_out, [one for (one,) in scored])

        return {
            "traces": rated["traces"], "labels": rated["labels"],
            "prm": self.measured(f"measure-prm-random-{n}", prm, held_out),
            "orm": self.kept.once(f"measure-orm-{n}", measure_orm),
        }  # fmt: skip

    def arm(self, arm: str, pool: Sequence[Trace], held_out: Sequence[Trace]) -> list[dict[str, Any]]:
        """Active learning: each budget's traces are chosen by the PRM of the budget before."""
        plan = self.plan
        begun = self.rated(f"rate-random-{plan.active[0]}", "random", plan.active[0])
        model = self.trained(f"prm-random-{plan.active[0]}", "prm", begun["snapshot"])
        points = []
        for n in plan.active:
            name = f"prm-{arm}-{n}"
            if n == plan.active[0]:  # the same traces as by chance, rated by the same rater
                rated = self.rated(f"rate-{arm}-{n}", arm, n, how=(arm, "pocket"), first=begun["trace_ids"])
                name = f"prm-random-{n}"
            else:
                rated = self.rated(f"rate-{arm}-{n}", arm, n, how=(arm, "pocket"), scored=(model, pool))
                model = self.trained(name, "prm", rated["snapshot"])
            figures = self.measured(f"measure-{name}", model, held_out)
            points.append({
                "traces": rated["traces"], "labels": rated["labels"], "drawn": rated["drawn"],
                "auc": figures["auc"], "auc_ci": figures["auc_ci"],
            })  # fmt: skip
        return points

    def rounds(self, first: dict[str, Any], held_out: Sequence[Trace]) -> list[dict[str, Any]]:
        """The model fine-tuned on what was approved; its traces rated; PRM and model trained on; measured on the same questions."""
        plan, n = self.plan, self.plan.budgets[-1]
        rated = self.rated(f"rate-random-{n}", "random", n)
        prm = self.trained(f"prm-random-{n}", "prm", rated["snapshot"])
        sft = self.trained("sft-1", "sft", rated["snapshot"], ["choose=approved"])
        after = self.solutions(1, sft)
        self.ready(1, sft, -(-n // plan.per_question), plan.per_question)
        how = ("random", sft.parent.name)
        again = self.rated("rate-second", "second", n, queues=("random",), how=how)
        prm_2 = self.trained("prm-second", "prm", again["snapshot"])
        sft_2 = self.trained("sft-2", "sft", again["snapshot"], ["choose=approved", f"base={sft}"])
        last = self.solutions(2, sft_2)
        prms = [
            {"name": f"PRM of {rated['traces']} traces", **self.measured("measure-before-second", prm, last)},
            {"name": f"PRM of {again['traces']} traces", **self.measured("measure-second", prm_2, last)},
        ]
        rounds = [
            {"name": "pocket model", **first},
            {"name": "after one round", **measure.pool_figures(after)},
            {"name": "after two rounds", **measure.pool_figures(last), "prms": prms},
        ]
        for one in rounds[1:]:
            one["gain"] = measure.gain(one["single"], first["single"])
        return rounds


def _equal_auc(arms: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """The AUC that chance reaches with its last budget, and the labels that each arm needs for it."""
    goal = arms["random"][-1]["auc"]
    return {"auc": goal} | {
        arm: measure.labels_needed([(p["labels"], p["auc"]) for p in points], goal) if goal is not None else None
        for arm, points in arms.items()
    }
