"""The commands end to end: made, labelled, chosen, measured; and a sentence for each thing that cannot be done."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import app
from tests.core import scoring_models as tiny


def run(*words: object, fails: bool = False) -> tuple[str, str]:
    done = CliRunner().invoke(app, [str(w) for w in words])
    assert (done.exit_code != 0) == fails, done.output
    return done.stdout, done.stderr


def test_from_synthesis_over_labels_to_a_report(tmp_path: Path) -> None:
    made = json.loads(
        run("synthesize", "countdown", tmp_path / "p.jsonl", "--dags", 6, "--paths", 3, "--workers", 1)[0]
    )
    assert made["paths"] == len((tmp_path / "p.jsonl").read_text().splitlines()) > 8
    paths = json.loads(run("synthesize", "dag", tmp_path / "d.jsonl", "--from", tmp_path / "p.jsonl")[0])
    assert paths["questions"] == 6 and paths["lengths"]["kept"] > 0
    graphs = [json.loads(line) for line in (tmp_path / "d.dag.jsonl").read_text().splitlines()]
    assert sum(len(g["edges"]) for g in graphs) == paths["edges"]
    nodes_of = {g["problem_id"]: {n["id"] for n in g["nodes"]} for g in graphs}
    sampled = [json.loads(line) for line in (tmp_path / "d.jsonl").read_text().splitlines()]
    assert all(set(path["nodes"]) <= nodes_of[path["problem_id"]] for path in sampled)
    snapshot, said = run("label", "oracle", tmp_path / "p.jsonl", "--data", tmp_path)
    assert "kept apart from people's ratings" in said
    tiny.token_classifier(tmp_path / "jobs" / "prm-a" / "model")
    on = (snapshot.strip(), "--data", tmp_path, "--split", "all")
    text, _ = run("evaluate-prm", tmp_path / "jobs" / "prm-a" / "model", *on, "--out", tmp_path / "report")
    assert "prm-a (" in text.splitlines()[0]  # every job's folder is called "model"
    assert "| AUC (95 % over problems) |" in text and "## Best of k" in text
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["solutions"] == made["paths"] and 0 < report["base_rate"] < 1
    assert (tmp_path / "report" / "reliability.svg").is_file()


def test_binary_search_says_what_it_takes_for_granted(tmp_path: Path) -> None:
    run("synthesize", "countdown", tmp_path / "p.jsonl", "--dags", 2, "--paths", 1, "--workers", 1)
    words = (tmp_path / "p.jsonl", "--rollouts", 1, "--max-tokens", 40, "--data", tmp_path)
    for method, warned in (("binary-search", True), ("rollouts", False)):
        snapshot, said = run("label", method, *words)
        folder = tmp_path / "snapshots" / snapshot.strip()
        manifest = json.loads((folder / "manifest.json").read_text())
        caveat = "takes for granted that what is lost stays lost"
        for text in (said, " ".join(manifest["warnings"]), (folder / "README.md").read_text()):
            assert (caveat in text) is warned
        assert manifest["source"] == f"{method}:pocket@1"


def test_a_graph_of_answers_that_only_their_reference_judges(tmp_path: Path) -> None:
    """Outside the numbers game nothing but "reference" says which ends are right; without any there is no path."""
    from core.pocket import model_dir

    thought = (
        "First the legs of the cats are counted. Each has four legs and there are three of them, so 3 × 4 = 12 legs."
    )
    rows = [
        {"trace_id": name, "prompt": "How many legs have 3 cats and 1 hen?", "finish_reason": "stop",
         "response": f"<think>\n{thought}\n</think>\n\n\\boxed{{{said}}}", "reference": "14"}
        for name, said in (("right", 14), ("wrong", 12))
    ]  # fmt: skip
    for kept, given in ((1, rows), (0, [{**row, "reference": None} for row in rows])):
        (tmp_path / "r.jsonl").write_text("".join(json.dumps(row) + "\n" for row in given))
        words = ("dag", tmp_path / "d.jsonl", "--from", tmp_path / "r.jsonl", "--model", model_dir())
        made = json.loads(run("synthesize", *words)[0])
        assert (made["lengths"]["kept"], made["without_a_right_end"]) == (kept, 1 - kept)


def test_a_supervisors_scores_become_the_labels(tmp_path: Path) -> None:
    import polars as pl

    from core.scoring.prm import PrmScorer

    tiny.token_classifier(tmp_path / "prm")
    run("synthesize", "countdown", tmp_path / "p.jsonl", "--dags", 2, "--paths", 1, "--workers", 1)
    snapshot, _ = run("label", "prm", tmp_path / "p.jsonl", "--model", tmp_path / "prm", "--data", tmp_path)
    scorer = PrmScorer(tmp_path / "prm")
    for row in pl.read_parquet(tmp_path / "snapshots" / snapshot.strip() / "data.parquet").iter_rows(named=True):
        assert row["soft"] == pytest.approx(scorer.score(row["prompt"], row["step_text"]), abs=1e-5)
        assert row["rater_id"] == f"prm:prm@{scorer.version}"


def test_a_served_supervisor_is_asked_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import polars as pl

    from core.scoring import served

    class Served:
        version = "big at http://there"

        def __init__(self, url: str, model: str, folder: Path, **more: object) -> None:
            self.family, self.asked = served.families.named("trl"), (url, model, folder, more)
            made.append(self)

        def score_many(self, traces):  # type: ignore[no-untyped-def]
            return [[0.25] * len(texts) for _, texts in traces]

        def close(self) -> None:
            made.append(None)

    made: list[Served | None] = []
    monkeypatch.setattr(served, "ServedPrm", Served)
    run("synthesize", "countdown", tmp_path / "p.jsonl", "--dags", 2, "--paths", 1, "--workers", 1)
    snapshot, _ = run("label", "prm", tmp_path / "p.jsonl", "--model", "tok", "--endpoint", "http://there/v1",
                      "--served-as", "big", "--family", "trl", "--data", tmp_path)  # fmt: skip
    (row, *_) = pl.read_parquet(tmp_path / "snapshots" / snapshot.strip() / "data.parquet").iter_rows(named=True)
    assert set(row["soft"]) == {0.25} and row["rater_id"] == "prm:big@big at http://there"
    assert made[0] is not None and made[0].asked[:3] == ("http://there/v1", "big", Path("tok"))
    assert made[0].asked[3]["family"] == "trl" and made[1] is None


def test_a_model_of_this_process_can_be_the_judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import app.commands.label as command
    from tests.core.test_scoring_families import Critic

    tiny.language_model(tmp_path / "lm")
    (tmp_path / "rows.jsonl").write_text(
        "".join(
            json.dumps({"prompt": f"p{i}", "completions": ["a", "b"], "labels": [1, i % 2]}) + "\n" for i in range(40)
        )
    )
    on = ("evaluate-prm", tmp_path / "lm", tmp_path / "rows.jsonl", "--family", "judge", "--samples", 1)
    assert "gave no verdict" in run(*on, fails=True)[1]  # the tiny one was asked, in process, and writes noise
    monkeypatch.setattr(command, "an_engine", lambda *_: Critic("Step 1: \\boxed{correct}\nStep 2: \\boxed{incorrect}"))
    assert "lm as judge" in run(*on)[0]


def test_selection_by_stages(tmp_path: Path) -> None:
    rows = [
        {"question": f"q{i}", "domain": "ab"[i % 2], "tokens": i + 1, "solved_by": ["7B"] * (i < 4)} for i in range(12)
    ]
    (tmp_path / "pool.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    report = json.loads(run("select", "s1k", tmp_path / "pool.jsonl", tmp_path / "out.jsonl", "--size", 5)[0])
    assert report["stages"] == {
        "raw": 12,
        "without API errors": 12,
        "quality": 12,
        "difficulty": 8,
        "reserved": 0,
        "diversity": 5,
    }
    chosen = [json.loads(x) for x in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert len(chosen) == 5 and all(r in rows[4:] for r in chosen)


def test_any_traces_can_be_selected_from(tmp_path: Path) -> None:
    """No domain, no count of tokens, nobody asked how hard: the first is said, the second counted, the third noted."""
    rows = [{"prompt": f"What is {i}?", "response": "x" * (i + 1)} for i in range(8)]
    (tmp_path / "pool.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    on = ("select", "s1k", tmp_path / "pool.jsonl", tmp_path / "out.jsonl", "--size", 3)
    report = json.loads(run(*on, "--domain", "arithmetic")[0])
    assert report["stages"]["difficulty"] == 8 and report["stages"]["diversity"] == 3
    assert report["counted_by"] == "characters / 4" and "solved-by" in report["note"]
    assert all(json.loads(x) in rows for x in (tmp_path / "out.jsonl").read_text().splitlines())
    tiny.language_model(tmp_path / "lm")
    report = json.loads(run(*on, "--domain", "arithmetic", "--tokenizer", tmp_path / "lm")[0])
    assert report["counted_by"] == "the tokenizer of lm"


def test_the_benchmarks_say_which_domains_come_last(tmp_path: Path) -> None:
    rows = [{"prompt": f"{i}?", "response": "x", "subject": "ab"[i % 2]} for i in range(40)]
    (tmp_path / "pool.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    (tmp_path / "bench.jsonl").write_text(json.dumps({"source": "GPQA", "domain": "b"}) + "\n")
    run("select", "s1k", tmp_path / "pool.jsonl", tmp_path / "out.jsonl", "--size", 20, "--mode", "notebook",
        "--domain", "subject", "--benchmarks", tmp_path / "bench.jsonl")  # fmt: skip
    chosen = [json.loads(x) for x in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert {r["subject"] for r in chosen[14:]} == {"b"} and {r["subject"] for r in chosen} == {"a", "b"}


def test_weak_models_say_how_hard_a_question_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The small one adds, the large one multiplies as well; the answer is judged by what it is worth, not by its letters."""
    import app.commands.select as command
    from core.engines.base import Chunk, EngineError

    class Weak:
        def __init__(self, model: str) -> None:
            self.model, self.asked = model, 0

        async def stream(self, request):  # type: ignore[no-untyped-def]
            self.asked += 1
            if "gone" in request.prompt:
                raise EngineError("The server is gone.")
            right = "+" in request.prompt or self.model == "large"
            yield Chunk("The answer is 0.5." if right else "The answer is 7.", 3)
            yield Chunk("", 0, finish_reason="stop")

        async def close(self) -> None:
            return None

    engines: list[Weak] = []

    def made(name: str, endpoint: str | None, key: str) -> Weak:
        engines.append(Weak(name))
        return engines[-1]

    monkeypatch.setattr(command, "an_engine", made)
    rows = [{"question": q, "reference": "1/2", "tokens": 9, "domain": "a"} for q in ("1/4+1/4", "2*1/4", "gone")]
    (tmp_path / "pool.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    asked, again = tmp_path / "asked.jsonl", tmp_path / "again.jsonl"
    out, said = run("select", "solved-by", tmp_path / "pool.jsonl", asked, "--weak", "small", "--weak", "large")
    assert json.loads(out) == {"questions": 3, "solved": {"small": 1, "large": 2}, "could_not_be_asked": 1}
    assert "1 questions could not be asked: The server is gone." in said
    found = {r["question"]: r for r in map(json.loads, asked.read_text().splitlines())}
    assert found["1/4+1/4"]["solved_by"] == ["large", "small"] and found["2*1/4"]["solved_by"] == ["large"]
    assert "asked" not in found["gone"]
    run("select", "solved-by", asked, again, "--weak", "small")
    assert engines[-1].asked == 1  # only what it was not asked before
    report = json.loads(run("select", "s1k", again, tmp_path / "out.jsonl")[0])
    assert report["dropped"] == {"solved by a weak model": 2} and "note" not in report


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("label", "magic", "x.jsonl"), "magic is not a method; there are: oracle"),
        (("label", "oracle", "nothing.jsonl"), "nothing.jsonl is not a file"),
        (("label", "oracle", "bad.jsonl"), "bad.jsonl:1: not JSON"),
        (("label", "oracle", "faust.jsonl"), "There is no exact oracle"),
        (("synthesize", "magic", "out.jsonl"), "magic is not a way to synthesize"),
        (("synthesize", "dag", "out.jsonl"), "give them with --from"),
        (("select", "magic", "x", "y"), "magic is not a way to select"),
        (("select", "s1k", "faust.jsonl", "y"), 'row 1 has no "domain": name the column that has it, or one for all rows, with --domain'),
        (("select", "s1k", "stepwise.jsonl", "y", "--domain", "math"), 'row 1 has neither "tokens" nor a "response" to count'),
        (("select", "solved-by", "faust.jsonl", "y", "--weak", "pocket"), "row 1 has no \"reference\""),
        (("select", "solved-by", "faust.jsonl", "y"), "name the weak models with --weak"),
        (("select", "s1k", "empty.jsonl", "y", "--mode", "notebook"), "domains of the benchmarks"),
        (("evaluate-prm", "nowhere", "stepwise.jsonl"), "nowhere holds no model"),
        (("evaluate-prm", "nowhere", "no-snapshot", "--data", "."), 'There is no snapshot "no-snapshot"'),
        (("evaluate-prm", "nowhere", "x", "--split", "dev"), "--split is dev"),
        (("evaluate-prm", "nowhere", "stepwise.jsonl", "--family", "judge"), "nowhere is not the folder of a model"),
        (("label", "prm", "faust.jsonl", "--model", ".", "--endpoint", "http://127.0.0.1:9/v1"), "does not answer as a reward model's server"),
        (("checkpoints", "--import", "nowhere", "--data", "."), "nowhere holds no model"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny.token_classifier(Path())
    Path("bad.jsonl").write_text("{\n")
    Path("empty.jsonl").write_text("")
    Path("faust.jsonl").write_text(json.dumps({"prompt": "Who wrote Faust?", "response": "Goethe."}) + "\n")
    Path("stepwise.jsonl").write_text(json.dumps({"prompt": "p", "completions": ["a"], "labels": [1]}) + "\n")
    _, said = run(*words, fails=True)
    assert sentence in said
    assert "Traceback" not in said
