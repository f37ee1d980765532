"""`worldline evaluate-prm`: every figure of a process reward model, in one command."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from app.commands.common import CannotDo, DataOption, KeyOption, data_folder, failing_softly, progress_bar
from app.commands.scorers import FamilyOption, ServedAsOption, reward_model

PER_CALL = 32  # solutions between two moves of the progress bar


def evaluate_prm(
    model: Annotated[
        Path,
        typer.Argument(
            help="Folder of the reward model (with `judge`: a language model's, or its name at --endpoint)."
        ),
    ],
    on: Annotated[
        list[str], typer.Argument(help="Snapshot ids, or JSONL files: ProcessBench, PRMBench, stepwise rows.")
    ],
    family: FamilyOption = None,
    endpoint: Annotated[
        str | None,
        typer.Option(help="Score through vLLM at this address; MODEL gives the tokenizer.", show_default=False),
    ] = None,
    served_as: ServedAsOption = None,
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
            scorer, title = reward_model(model, family, endpoint, served_as, api_key_env, samples)
            bar, at = progress_bar("solutions", len(found))
            scores: list[list[float]] = []
            with bar, closing(scorer):
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
