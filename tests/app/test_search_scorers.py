"""Scorers that have to be told something: a judge's model, a served reward model's address, a program's tests; chosen over the API, in
evaluations and in the terminal, paid for, and made again after a restart."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from app.cli import app as cli
from app.server import create_app
from core.engines.base import Chunk, GenerateRequest
from tests.app.client import Bench
from tests.app.people import door
from tests.app.test_searches import Writer, timeless, tree_of
from tests.core import scoring_models
from tests.core.served import Script, serving

pytestmark = pytest.mark.anyio

ASK = "Write add(a, b)."
TESTS = ["assert add(1, 2) == 3", "assert add(2, 2) == 4"]
RIGHT = "```python\ndef add(a, b):\n    return a + b\n```"
HALF = "```python\ndef add(a, b):\n    return a * 2 if a == b else 0\n```"


class Answerer:
    """A served model that can only answer: the i-th of its answers for the seed i, a token a word, after a question of 9 tokens."""

    def __init__(self, model: str, answers: Sequence[str]) -> None:
        self.model, self.answers = model, answers
        self.spent = 0

    async def stream(self, request: GenerateRequest) -> AsyncIterator[Chunk]:
        words = self.answers[(request.sampling.seed or 0) % len(self.answers)].split(" ")
        self.spent += 9 + len(words)
        for i, word in enumerate(words):
            await asyncio.sleep(0)
            yield Chunk((" " if i else "") + word, 1, prompt_tokens=9)
        yield Chunk("", 0, finish_reason="stop")

    async def close(self) -> None:
        return None


def critic() -> Answerer:
    verdicts = [f"Step 1: so \\boxed{{{word}}}" for word in ("correct", "correct", "incorrect")]
    return Answerer("critic", verdicts)


@asynccontextmanager
async def opened(folder: Path, *engines: Any) -> AsyncIterator[Bench]:
    app = create_app(folder, engines={engine.model: engine for engine in engines}, ui=False)
    async with app.router.lifespan_context(app), Bench(app, engines[0]) as bench:
        yield bench


async def searched(bench: Bench, **fields: Any) -> tuple[str, list[dict[str, Any]]]:
    answer = await bench.post("/api/searches", json={"model": bench.engine.model, "seed": 3, **fields})
    assert answer.status_code == 201, answer.text
    search_id = answer.json()["search_id"]
    return search_id, await bench.events(search_id, noun="searches")


JUDGED = {
    "prompt": "Which of three?", "strategy": "best-of-n", "params": {"n": 6, "early_stop": True, "wave": 2, "vote": "best"}, "scorer": "judge",
    "scorer_params": {"model": "critic", "samples": 3},
}  # fmt: skip


async def test_a_judge_scores_is_paid_for_and_is_the_same_after_a_kill(tmp_path: Path) -> None:
    judge = critic()
    async with opened(tmp_path / "data", Writer(answers=50), judge) as bench:
        search_id, whole = await searched(bench, **JUDGED)
        assert whole[0]["scorer"] == "judge model=critic samples=3"
        assert whole[0]["scorer_version"] == "critic judging, mean of 3"
        scores = [n["score"] for i, n in tree_of(whole).items() if i]
        assert len(scores) > 1 and all(score is not None and (score * 3) % 1 == pytest.approx(0) for score in scores)
        ledger = whole[-1]["ledger"]
        assert ledger["scorer"] == judge.spent > 0 and ledger["scorer_flops"] is None  # nobody knows how large it is
        assert (await bench.get(f"/api/searches/{search_id}")).json()["scorer"] == "judge model=critic samples=3"
    log = (tmp_path / "data" / "searches" / f"{search_id}.jsonl").read_bytes().splitlines(keepends=True)
    again = tmp_path / "again"
    (again / "searches").mkdir(parents=True)
    (again / "searches" / f"{search_id}.jsonl").write_bytes(b"".join(log[:2]))
    async with opened(again, Writer(answers=50), critic()) as bench:
        assert timeless(await bench.events(search_id, noun="searches")) == timeless(whole)
    gone = tmp_path / "gone"
    (gone / "searches").mkdir(parents=True)
    (gone / "searches" / f"{search_id}.jsonl").write_bytes(b"".join(log[:2]))
    async with opened(gone, Writer(answers=50)) as bench:
        done = (await bench.events(search_id, noun="searches"))[-1]
        assert done["reason"] == "error" and 'no model "critic"' in done["error"]


async def test_a_budget_binds_the_judge_too(tmp_path: Path) -> None:
    judge = critic()
    async with opened(tmp_path / "data", Writer(answers=50), judge) as bench:
        told = {**JUDGED, "params": {"n": 60}, "scorer_params": {"model": "critic", "max_tokens": 10}}
        _, events = await searched(bench, **told, budget_tokens=2500, max_tokens=20)
        done = events[-1]
        assert 0 < done["ledger"]["tokens"] <= 2500 and done["reason"] == "budget"


async def test_public_tests_come_with_the_question_and_go_with_its_log(tmp_path: Path) -> None:
    wanted = {
        "prompt": ASK, "strategy": "best-of-n", "params": {"n": 4, "vote": "best"}, "scorer": "tests", "tests": "\n".join(TESTS),
    }  # fmt: skip
    async with opened(tmp_path / "data", Answerer("coder", [HALF, RIGHT])) as bench:
        search_id, whole = await searched(bench, **wanted)
        nodes = tree_of(whole)
        assert sorted(n["score"] for i, n in nodes.items() if i) == [0.5, 1.0]
        done = whole[-1]
        assert done["right"] is True and nodes[done["node"]]["text"] == RIGHT
        assert done["ledger"]["scorer"] == 0
        told = await bench.post("/api/searches", json={**wanted, "model": "coder", "tests": []})
        assert told.status_code == 422 and 'this problem has none: give them as "tests"' in told.json()["error"]
        told = await bench.post("/api/searches", json={**wanted, "model": "coder", "tests": [{"input": 3}]})
        assert told.status_code == 422 and '"meta.tests[0]" must be' in told.json()["error"]
        told = await bench.post("/api/searches", json={**wanted, "model": "coder", "tests": "[1,"})
        assert told.status_code == 422 and '"tests" is not JSON' in told.json()["error"]
    log = (tmp_path / "data" / "searches" / f"{search_id}.jsonl").read_bytes().splitlines(keepends=True)
    again = tmp_path / "again"
    (again / "searches").mkdir(parents=True)
    (again / "searches" / f"{search_id}.jsonl").write_bytes(log[0])
    async with opened(again, Answerer("coder", [HALF, RIGHT])) as bench:
        assert timeless(await bench.events(search_id, noun="searches")) == timeless(whole)


@pytest.mark.parametrize(
    ("scorer", "params", "status", "words"),
    [
        ("judge", {}, 422, 'Scorer judge: "model" is missing. The model that judges.'),
        ("judge", {"model": "nobody"}, 422, 'There is no model "nobody"'),
        ("judge", {"model": "pocket"}, 422, "plays the numbers game only; name a model that can write critiques"),
        ("judge", {"model": "chance", "samples": 0}, 422, '"samples" is 0; it must lie between 1 and 64'),
        ("judge", {"modl": "chance"}, 422, 'Scorer judge has no setting "modl"; it takes model, samples, max_tokens'),
        ("rollouts", {"k": "many"}, 422, "\"k\" is 'many'; it must be a whole number"),
        ("served-prm", {"model": "prm"}, 422, '"endpoint" is missing. Address of the server'),
        ("served-prm", {"endpoint": "ftp://there", "model": "prm"}, 422, "it must be an address such as http://"),
        ("served-prm", {"endpoint": "http://127.0.0.1:9/v1", "model": "prm"}, 422, "neither the id of a finished job nor"),
        ("tests", {"model": "chance"}, 422, 'Scorer tests has no setting "model"; it takes none'),
    ],
)  # fmt: skip
async def test_what_a_scorer_lacks_is_said_before_anything_is_spent(
    tmp_path: Path, scorer: str, params: dict[str, Any], status: int, words: str
) -> None:
    writer, pocket = Writer(), Writer()
    pocket.model = "pocket"
    async with opened(tmp_path, writer, pocket) as bench:
        asked = {"prompt": "Which?", "model": "chance", "strategy": "linear", "scorer": scorer, "scorer_params": params}
        answer = await bench.post("/api/searches", json=asked)
        assert (answer.status_code, words in answer.json()["error"]) == (status, True), answer.text
        assert writer.requests == [] and (await bench.get("/api/searches")).json() == []


async def test_a_budget_that_allows_no_judged_text_is_refused_before_anything_is_spent(tmp_path: Path) -> None:
    writer, judge = Writer(), critic()
    async with opened(tmp_path, writer, judge) as bench:
        asked = {
            "model": "chance",
            "scorer": "rollouts",
            "budget_tokens": 20_000,
            "prompt": "Which?",
            "strategy": "linear",
        }
        answer = await bench.post("/api/searches", json=asked)
        assert answer.status_code == 422
        assert "The budget of tokens is 20,000; judging one text by rollouts may cost 56," in answer.json()["error"]
        plan = {
            "models": ["critic"],
            "strategies": ["linear"],
            "scorers": ["judge model=critic"],
            "budgets": [{"tokens": 500}],
        }
        told = await evaluated(bench, plan, {"question": "Is it?", "answer": "7"})
        assert "judging one text by judge model=critic may cost" in told["error"]
        _, events = await searched(bench, **{**asked, "scorer_params": {"k": 2, "max_tokens": 20}})
        assert events[-1]["reason"] == "finished" and events[-1]["ledger"]["scorer"] > 0
        assert judge.spent == 0


async def test_the_list_says_what_each_scorer_has_to_be_told(tmp_path: Path) -> None:
    pocket = Writer()
    pocket.model = "pocket"
    async with opened(tmp_path / "a", pocket, critic()) as bench:
        found = {s["name"]: s for s in (await bench.get("/api/strategies")).json()["scorers"]}
        model = found["judge"]["parameters"][0]
        assert (model["name"], model["kind"], model["one_of"], model["needed"]) == ("model", "choice", ["critic"], True)
        assert [p["name"] for p in found["served-prm"]["parameters"]] == ["endpoint", "model", "folder"]
        assert (found["tests"]["judges"], found["judge"]["judges"], found["none"]["judges"]) == ("answers", "steps", "")
    async with opened(tmp_path / "b", pocket) as bench:
        found = {s["name"]: s for s in (await bench.get("/api/strategies")).json()["scorers"]}
        assert found["judge"]["ready"] is False and "--endpoint" in found["judge"]["help"]


async def test_every_reward_model_that_was_trained_here_can_be_chosen_and_judges(tmp_path: Path) -> None:
    for job, maker in (("prm-01a", scoring_models.token_classifier), ("orm-01b", scoring_models.token_classifier)):
        maker(tmp_path / "jobs" / job / "model")
        (tmp_path / "jobs" / job / "checkpoint.json").write_text("{}")
    (tmp_path / "jobs" / "prm-01c").mkdir()  # one that is not finished
    async with opened(tmp_path, Writer()) as bench:
        found = (await bench.get("/api/strategies")).json()["scorers"]
        trained = {s["name"]: (s["judges"], s["ready"]) for s in found if s["title"].startswith("reward model ")}
        assert trained == {"orm-01b": ("answers", True), "prm-01a": ("steps", True)}
        asked = {
            "prompt": "Which?",
            "model": "chance",
            "strategy": "best-of-n",
            "params": {"n": 2},
            "scorer": "prm-01a",
        }
        search_id = (await bench.post("/api/searches", json=asked)).json()["search_id"]
        done = (await bench.events(search_id, noun="searches"))[-1]
        assert done["reason"] == "finished" and done["ledger"]["scorer"] > 0
        assert (await bench.get(f"/api/searches/{search_id}")).json()["scorer"] == "prm-01a"
        refused = await bench.post("/api/searches", json={**asked, "scorer": "prm-01c"})
        assert refused.status_code == 422 and "prm-01a" in refused.json()["error"]


def jsonl(*rows: dict[str, Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


async def evaluated(bench: Bench, plan: dict[str, Any], *rows: dict[str, Any]) -> dict[str, Any]:
    kept = await bench.post("/api/evals/problems?name=some.jsonl", content=jsonl(*rows))
    answer = await bench.post("/api/evals", json={"plan": {**plan, "problems": kept.json()["name"]}})
    assert answer.status_code in (201, 422), answer.text
    if answer.status_code == 422:
        return dict(answer.json())
    for _ in range(600):
        row = (await bench.get(f"/api/evals/{answer.json()['eval_id']}")).json()
        if row["state"] not in ("running", "waiting"):
            return dict(row)
        await asyncio.sleep(0.05)
    raise AssertionError(f"it is {row}")


async def test_evaluations_take_judges_rollouts_and_tests(tmp_path: Path) -> None:
    judge, coder = critic(), Answerer("coder", [HALF, RIGHT])
    async with opened(tmp_path, coder, judge) as bench:
        plan = {
            "models": ["coder"], "strategies": ["best-of-n n=2 vote=best"], "n": 0,
            "scorers": ["tests", {"name": "judge", "params": {"model": "critic", "samples": 1}}],
        }  # fmt: skip
        row = await evaluated(bench, plan, {"question": ASK, "tests": TESTS})
        assert (row["state"], row["done"], row["error"]) == ("done", 2, "")
        assert [c["label"] for c in row["cells"]] == [
            "coder · best-of-n n=2 vote=best · tests", "coder · best-of-n n=2 vote=best · judge model=critic samples=1",
        ]  # fmt: skip
        cells = (await bench.get(f"/api/evals/{row['eval_id']}/figures")).json()["cells"]
        assert cells[0]["accuracy"] == 1.0
        assert (cells[0]["scorer_tokens"], cells[1]["scorer_tokens"]) == (0, judge.spent)
        without = await evaluated(bench, plan, {"question": ASK, "tests": TESTS}, {"question": "Why?", "answer": "7"})
        assert 'Problem 2: The scorer "tests" runs the public tests of a program' in without["error"]
        lacking = await evaluated(bench, {**plan, "scorers": ["judge"]}, {"question": ASK, "tests": TESTS})
        assert 'Scorer judge: "model" is missing' in lacking["error"]
        rolled = await evaluated(
            bench, {**plan, "models": ["critic"], "scorers": ["rollouts k=2"]}, {"question": "Is it?", "answer": "7"}
        )
        assert (rolled["state"], rolled["done"]) == ("done", 1)


def test_only_who_owns_the_machine_names_a_server_or_a_path_of_it(tmp_path: Path) -> None:
    asked = {"prompt": "Which?", "model": "scripted", "strategy": "linear", "scorer": "served-prm"}
    params = {"endpoint": "http://10.0.0.1:8000/v1", "model": "prm", "folder": "/etc"}
    with door(tmp_path) as at:
        answer = at.ask("POST", "/api/searches", "researcher", json={**asked, "scorer_params": params})
        assert answer.status_code == 422 and "which an admin alone may name" in answer.json()["error"]
        plan = {
            "problems": "countdown:2",
            "models": ["scripted"],
            "scorers": [{"name": "served-prm", "params": params}],
        }
        answer = at.ask("POST", "/api/evals", "researcher", json={"plan": plan})
        assert answer.status_code == 422 and "which an admin alone may name" in answer.json()["error"]
        answer = at.ask("POST", "/api/searches", "admin", json={**asked, "scorer_params": params})
        assert answer.status_code == 422 and "/etc is neither the id of a finished job" in answer.json()["error"]


@pytest.mark.slow
async def test_a_served_reward_model_scores_as_it_does_here_and_its_size_is_known(tmp_path: Path) -> None:
    """The server is a small one that pools as vLLM does, with the model itself behind it."""
    import torch

    from core.engines.sampling import size_of
    from core.scoring.prm import PrmScorer
    from tests.core import scoring_models as tiny

    folder = tmp_path / "tiny-prm"
    tiny.token_classifier(folder)
    here = PrmScorer(folder)
    read: list[int] = []

    def pool(body: dict[str, Any]) -> dict[str, Any]:
        read.append(len(body["input"]))
        with torch.inference_mode():
            logits = here.model(torch.tensor([body["input"]])).logits[0]
        return {"data": [{"data": logits.float().softmax(-1).tolist()}]}

    with serving(Script(models=("tiny-prm",), replies={"/pooling": pool})) as url:
        async with opened(tmp_path / "data", Writer()) as bench:
            params = {"endpoint": url, "model": "tiny-prm", "folder": str(folder)}
            _, events = await searched(
                bench, prompt="Which?", strategy="beam", params={"width": 2, "branch": 2}, scorer="served-prm", scorer_params=params
            )  # fmt: skip
    scored = {i: n for i, n in tree_of(events).items() if i and n["score"] is not None}
    assert len(scored) > 3 and events[-1]["reason"] == "finished"
    first = next(n for n in scored.values() if n["parent"] == 0)
    assert first["score"] == pytest.approx(here.score("Which?", [first["text"]])[0], abs=1e-6)
    ledger = events[-1]["ledger"]
    assert ledger["scorer"] == sum(read)
    size = size_of(here.model.config, folder)
    assert ledger["scorer_flops"] == pytest.approx(sum(size.flops(n, 0) for n in read))


# ---- in the terminal


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def answers(body: dict[str, Any]) -> str:
    if body["model"] == "critic":
        return "Step 1: so \\boxed{correct}"
    return RIGHT if body.get("seed", 0) % 2 else HALF


@pytest.mark.slow
def test_the_terminal_searches_with_tests_and_with_a_judge(tmp_path: Path) -> None:
    tests = tmp_path / "tests.txt"
    tests.write_text("\n".join(TESTS))
    with serving(Script(models=("coder", "critic"), answer=answers)) as url:
        asked = (
            "search", ASK, "--endpoint", url, "--model", "coder", "--strategy", "best-of-n", "--set", "n=2", "--set", "vote=best", "--seed", "1",
            "--json", "--data", str(tmp_path),
        )  # fmt: skip
        tested = run(*asked, "--scorer", "tests", "--tests", str(tests))
        judged = run(*asked, "--scorer", "judge model=critic samples=2")
        nobody = run(*asked, "--scorer", "judge model=nobody")
    row = json.loads(tested.stdout)
    assert (row["scorer"], row["right"], row["ledger"]["scorer"]) == ("tests", True, 0)
    row = json.loads(judged.stdout)
    assert row["scorer"] == "judge model=critic samples=2" and row["ledger"]["scorer"] == 2 * 2 * 37
    assert nobody.exit_code == 1 and "nobody is not offered there" in nobody.stderr


@pytest.mark.slow
def test_the_terminal_evaluates_with_tests_and_with_a_judge(tmp_path: Path) -> None:
    problems = tmp_path / "problems.jsonl"
    problems.write_bytes(jsonl({"question": ASK, "tests": TESTS}))
    with serving(Script(models=("coder", "critic"), answer=answers)) as url:
        asked = (
            "eval", "--problems", str(problems), "--endpoint", url, "--model", "coder", "--strategy", "best-of-n n=2 vote=best", "--json",
            "--data", str(tmp_path),
        )  # fmt: skip
        found = run(
            *asked, "--scorer", "tests", "--scorer", "judge samples=1 model=critic", "--out", str(tmp_path / "out")
        )
        again = run(
            *asked, "--scorer", "tests", "--scorer", "judge model=critic samples=1", "--out", str(tmp_path / "out")
        )
        nobody = run(*asked, "--scorer", "nobody")
    assert found.exit_code == 0, found.output
    row = json.loads(found.stdout)
    assert [c["scorer_tokens"] for c in row["cells"]] == [0, 37 * 2]
    assert json.loads(again.stdout)["eval_id"] == row["eval_id"]  # the same plan, however it was written
    assert nobody.exit_code == 1 and "there is no scorer nobody: it is none, reward-model" in nobody.stderr
