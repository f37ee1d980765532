"""The figures by hand: shares, costs, bins, comparisons; what is written down and what it says of itself."""

from __future__ import annotations

import itertools
from pathlib import Path
from xml.etree import ElementTree

import pytest

from core.evaluation import report
from core.evaluation.compare import compare, mcnemar
from core.evaluation.estimate import Drawn
from core.evaluation.figures import figures
from core.evaluation.folder import Evaluation, EvaluationError, Result
from core.search.ledger import Spent
from tests.core.evaluation.scripted import evaluation


def made(folder: Path, **plan: object) -> Evaluation:
    return evaluation(folder, strategies=["linear", "best-of-n n=2"], n=4, **plan)


def result(e: Evaluation, cell: int, index: int, right: bool | None, **more: object) -> Result:
    given = {
        "seed": 0,
        "spent": Spent(5, 0, 100 * (index + 1), 10, 1e6, 2e5, 1.0, 1),
        "pool": (),
        "reason": "finished",
    } | more
    pool = given["pool"]
    assert isinstance(pool, tuple)
    return Result(
        f"s{cell}{index}{given['seed']}", e.plan.cells[cell].cell_id, index, e.problems[index].key, given["seed"], given["reason"],  # type: ignore[arg-type]
        "a", right, 0.5, 3, given["spent"], pool,  # type: ignore[arg-type]
    )  # fmt: skip


def test_a_problem_counts_once_however_often_it_was_tried_and_the_verifier_is_in_the_cost(tmp_path: Path) -> None:
    e = made(tmp_path / "e", seeds=[0, 1])
    tries = [(0, True), (0, True), (1, True), (1, False), (2, False), (2, False), (3, None), (3, None)]
    found = figures(
        e,
        [
            result(e, 1, i, right, seed=n % 2, reason="budget" if i == 2 else "finished")
            for n, (i, right) in enumerate(tries)
        ],
    )
    cell = found.cells[1]
    assert cell.accuracy == pytest.approx((1 + 0.5 + 0) / 3) and (
        cell.searches,
        cell.problems,
        cell.judged,
        cell.expected,
    ) == (8, 4, 3, 12)
    assert (cell.tokens, cell.generated, cell.scorer_tokens) == (260, 250, 10)
    assert (cell.flops, cell.solver_flops, cell.scorer_flops) == (1.2e6, 1e6, 2e5)
    assert cell.over_budget == 0.25 and cell.ci is not None and cell.ci[0] <= 0.5 <= cell.ci[1]
    assert (
        "Of 1 problems nobody knows the answer" in " ".join(found.notes)
        and "22 of 30 searches are not finished" in found.notes[0]
    )
    unknown = figures(e, [result(e, 1, 0, True, spent=Spent(solver_flops=None))])
    assert unknown.cells[1].flops is None and any("FLOPs are missing" in n for n in unknown.notes)


def pool(right: int, score: float) -> tuple[Drawn, ...]:
    return tuple(Drawn("yes" if i < right else "no", i < right, score + (0.1 if i < right else 0.0)) for i in range(4))


def test_curves_and_bins_are_of_the_pool_and_the_easiest_problems_come_first(tmp_path: Path) -> None:
    e = made(tmp_path / "e")
    rights = [4, 3, 2, 1, 0, 0]
    results = [result(e, 0, i, r > 2, pool=pool(r, 0.5 - i / 20)) for i, r in enumerate(rights)]
    results += [result(e, 1, i, i < 3) for i in range(6)]
    found = figures(e, results)
    (curves,) = found.curves
    assert [p.k for p in curves.methods["pass"]] == [1, 2, 4]
    assert [p.value for p in curves.methods["pass"]][::2] == pytest.approx([10 / 24, 4 / 6])
    assert curves.methods["majority"][-1].value == pytest.approx((1 + 1 + 0.5) / 6)
    assert curves.methods["best"][-1].value == pytest.approx(4 / 6)
    written = [sum(100 * (i + 1) for i in range(6)) / 6 * k / 4 for k in (1, 2, 4)]
    read = [k * 10 / 4 for k in (1, 2, 4)]
    for method, scored in {"pass": 0, "majority": 0, "weighted": 1, "best": 1}.items():
        expected = [w + scored * r for w, r in zip(written, read, strict=True)]
        assert [p.tokens for p in curves.methods[method]] == pytest.approx(expected)
        assert curves.methods[method][-1].flops == pytest.approx(1e6 + scored * 2e5)
    assert curves.costs() == {
        "tokens": pytest.approx(written),
        "with scores": pytest.approx([w + r for w, r in zip(written, read, strict=True)]),
    }
    assert "| k | tokens | with scores | pass@k |" in report.markdown(e, found)
    oracle, predicted = found.difficulty
    assert (oracle.by, predicted.by) == ("oracle", "predicted")
    assert [b.problems for b in oracle.bins] == [1, 1, 1, 1, 2]
    assert [b.accuracy[e.plan.cells[1].cell_id][0] for b in oracle.bins] == [1, 1, 1, 0, 0]
    assert [b.high for b in oracle.bins] == [1, 0.75, 0.5, 0.25, 0]


def test_two_cells_are_compared_over_the_problems_that_both_have(tmp_path: Path) -> None:
    e = made(tmp_path / "e")
    a = [True, True, False, False, True]
    b = [True, False, True, True, True]
    results = [result(e, 1, i, right) for i, right in enumerate(a)] + [
        result(e, 2, i, right) for i, right in enumerate(b)
    ]
    results.append(result(e, 2, 5, True))
    (e.path / "results.jsonl").write_text("".join(f"{_json(r)}\n" for r in results))
    found = compare(e, e.plan.cells[1], e, e.plan.cells[2])
    assert (found.both, found.only_a, found.only_b, found.neither, found.problems) == (2, 1, 2, 0, 5)
    assert found.difference == pytest.approx(0.2) and found.p == pytest.approx(1.0)
    assert found.pairs[1].a_searches == ["s110"] and "1 problems are finished on one side alone" in found.notes[0]
    with pytest.raises(EvaluationError, match="no finished problem in common"):
        compare(e, e.plan.cells[0], e, e.plan.cells[1])
    with pytest.raises(EvaluationError, match='no cell "zzz"'):
        e.cell("zzz")
    several = made(tmp_path / "several", seeds=[0, 1])
    rows = [
        result(several, cell, i, i == seed, seed=seed) for cell, i, seed in itertools.product((1, 2), range(3), (0, 1))
    ]
    (several.path / "results.jsonl").write_text("".join(f"{_json(r)}\n" for r in rows))
    assert compare(several, several.plan.cells[1], several, several.plan.cells[2]).p is None


def _json(r: Result) -> str:
    import json

    return json.dumps(r.to_json())


def test_mcnemar_is_the_two_sided_binomial_test() -> None:
    from math import comb

    for a, b in itertools.product(range(7), repeat=2):
        n = a + b
        p = sum(comb(n, i) for i in range(n + 1) if comb(n, i) <= comb(n, a)) / 2**n
        assert mcnemar(a, b) == pytest.approx(p)


def test_the_report_is_whole_and_names_of_others_do_not_break_its_tables(tmp_path: Path) -> None:
    import polars as pl

    e = evaluation(tmp_path / "e", strategies=["linear"], models=["<b>|evil\nname"], n=4)
    results = [result(e, 0, i, i < 3, pool=pool(i % 5, 0.3)) for i in range(6)] + [
        result(e, 1, i, None) for i in range(6)
    ]
    found = figures(e, results)
    paths = report.write(e, found, results)
    assert {p.name for p in paths} == {
        "report.md",
        "tokens.svg",
        "flops.svg",
        f"k-{e.plan.cells[0].cell_id}.svg",
        "results.parquet",
    }
    text = (e.path / "report.md").read_text()
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert "<b>" not in text.replace("\\<b\\>", "") and all("evil name" in line for line in tables if "evil" in line)
    for path in paths:
        if path.suffix == ".svg":
            ElementTree.fromstring(path.read_text())
    table = pl.read_parquet(e.path / "results.parquet")
    assert table.height == 12 and table["right"].null_count() == 6 and table["spent_tokens"].sum() == 2 * (2100 + 60)
    assert table["pool_scores"].list.len().to_list()[:6] == [4] * 6
    nothing = report.write(e, figures(e, []), [])
    assert "12 of 12 searches are not finished" in nothing[0].read_text()
