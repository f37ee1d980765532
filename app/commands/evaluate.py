"""`worldline evaluate-prm`: every figure of a process reward model, in one command."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from app.commands.common import CannotDo, DataOption, KeyOption, data_folder, failing_softly, progress_bar

FAMILIES = "worldline, trl, qwen, math-shepherd, rlhflow, skywork, judge"
FamilyOption = Annotated[
    str | None, typer.Option(help=f"How it is asked: {FAMILIES} (default: as its folder says).", show_default=False)
]
PER_CALL = 32  # solutions between two moves of the progress bar


def evaluate_prm(
    model: Annotated[Path, typer.Argument(help="Folder of the reward model (with `judge`: a language model's).")],
    on: Annotated[
        list[str], typer.Argument(help="Snapshot ids, or JSONL files: ProcessBench, PRMBench, stepwise rows.")
    ],
    family: FamilyOption = None,
    endpoint: Annotated[
        str | None,
        typer.Option(help="Score through vLLM at this address; MODEL gives the tokenizer.", show_default=False),
    ] = None,
    served_as: Annotated[
        str | None, typer.Option(help="Its name there (default: the folder's name).", show_default=False)
    ] = None,
    api_key_env: KeyOption = "OPENAI_API_KEY",
    split: Annotated[str, typer.Option(help="Of snapshots: test, train or all.")] = "test",
    samples: Annotated[int, typer.Option(min=1, help="With `judge`: critiques a solution.")] = 4,
    seed: Annotated[int, typer.Option(help="Of the resampling of problems.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(help="Also write report.json, report.md and reliability.svg here.", show_default=False),
    ] = None,
    data: DataOption = None,
) -> None:
    """Measure a process reward model: AUC with base rate, calibration, first-error F1, slices, best-of-k, drift.

    Example: worldline evaluate-prm ./my-prm processbench.jsonl --out report
    """
    with failing_softly():
        from core.scoring.prm import ScorerError
        from training.evaluation.report import evaluate, markdown, write
        from training.evaluation.solutions import read_file, read_snapshot

        if split not in ("test", "train", "all"):
            raise CannotDo(f"--split is {split}; it must be test, train or all")
        found = []
        for name in on:
            if Path(name).is_file():
                found += read_file(Path(name))
            else:
                found += read_snapshot(data_folder(data) / "snapshots" / name, split=split)
        if not found:
            raise CannotDo(
                f"there is nothing to measure in {', '.join(on)}; of a snapshot, --split all takes both sides"
            )
        try:
            scorer, title = _scorer(model, family, endpoint, served_as, api_key_env, samples)
            bar, at = progress_bar("solutions", len(found))
            scores: list[list[float]] = []
            with bar:
                for start in range(0, len(found), PER_CALL):
                    part = found[start : start + PER_CALL]
                    scores += scorer.score_many([(s.prompt, s.step_texts) for s in part])
                    at(len(scores))
        except ScorerError as error:
            raise CannotDo(str(error)) from error
        report = evaluate(scores, found, scorer=title, name=", ".join(on), seed=seed)
        typer.echo(markdown(report), nl=False)
        if out is not None:
            for path in write(report, out):
                typer.echo(f"worldline: wrote {path}", err=True)


def _scorer(
    model: Path, family: str | None, endpoint: str | None, served_as: str | None, key_env: str, samples: int
) -> tuple[Any, str]:
    name = served_as or model.resolve().name
    if family == "judge":
        from core.scoring.judge import GenerativeJudge

        if endpoint is None:
            raise CannotDo("a judge is asked through --endpoint: serve it with vLLM, or name a server that has it")
        from core.engines.openai_api import OpenAIEngine

        return GenerativeJudge(OpenAIEngine(endpoint, name, key_env), samples=samples), f"{name} as judge"
    if endpoint is not None:
        from core.scoring.served import ServedPrm

        served = ServedPrm(endpoint, name, model, family=family, key=os.environ.get(key_env))
        return served, f"{name} ({served.family.title}, served)"
    from core.scoring.prm import PrmScorer

    scorer = PrmScorer(model, family=family)
    return scorer, f"{name} ({scorer.family.title})"
