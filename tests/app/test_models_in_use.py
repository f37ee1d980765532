"""From a finished job to a model in use: scores appear on old and new traces, tuned models can be asked."""

from __future__ import annotations

import asyncio
import json
import math
import shutil
from pathlib import Path

import pytest

from core.engines.local import LocalEngine
from core.engines.openai_api import OpenAIEngine
from core.trace import utc_now
from tests.app.client import Bench, check_whole
from tests.app.conftest import Opened
from tests.app.scripted import WALK, ScriptedEngine

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`lm/` and `prm/`: tiny models with random weights and the pocket model's tokenizer."""
    import torch
    from transformers import LlamaForTokenClassification

    from core.scoring.encoding import SEPARATOR
    from training.pocket import PocketRecipe, new_model, save
    from training.synthesis.pocket_tokenizer import build

    torch.set_num_threads(1)
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("models")
    tokenizer = build()
    language_model = new_model(PocketRecipe(layers=2, width=64, heads=2, mlp=96, seed=5), tokenizer)
    save(language_model, tokenizer, folder / "lm")
    tokenizer.add_special_tokens({"additional_special_tokens": [SEPARATOR]}, replace_extra_special_tokens=False)
    config = language_model.config
    config.num_labels = 2
    scorer = LlamaForTokenClassification(config)
    scorer.resize_token_embeddings(len(tokenizer))
    scorer.save_pretrained(folder / "prm")
    tokenizer.save_pretrained(folder / "prm")
    return folder


def job(data: Path, job_id: str, model: Path | None, state: str = "done") -> None:
    """The folder that a job leaves behind."""
    folder = data / "jobs" / job_id
    folder.mkdir(parents=True)
    kind = job_id.split("-")[0]
    status = {"job_id": job_id, "kind": kind, "state": state, "snapshot_id": "s", "step": 7, "total_steps": 7,
              "seconds": 1.5,
              "created_at": utc_now(), "figures": {"auc": float("nan")}}  # fmt: skip
    (folder / "status.json").write_text(json.dumps(status))
    (folder / "job.json").write_text(
        json.dumps({"job_id": job_id, "kind": kind, "snapshot_id": "s", "snapshot_sha256": "0"})
    )
    (folder / "metrics.jsonl").write_text('{"step": 1, "loss": 0.7}\n{"step": 2, "loss": NaN}\n{"step": 3, "lo')
    (folder / "log.txt").write_text("began\nended\n")
    if model is not None:
        shutil.copytree(model, folder / "model")


async def scores(bench: Bench, trace_id: str) -> list[dict]:
    """The scores of a trace, once the background has come to it."""
    for _ in range(400):
        found = (await bench.get(f"/api/traces/{trace_id}/scores")).json()
        if found:
            return found
        await asyncio.sleep(0.05)
    raise AssertionError("no scores came")


async def test_a_reward_model_in_use_scores_old_traces_new_ones_and_survives_a_restart(
    workbench: Opened, models: Path, tmp_path: Path
) -> None:
    async with workbench() as bench:
        old = await bench.finished()
        refused = await bench.post(f"/api/traces/{old}/scores", json={})
        assert refused.status_code == 409
        assert "No reward model is in use" in refused.json()["error"]
        assert (await bench.get(f"/api/traces/{old}/scores")).json() == []
        job(tmp_path / "data", "prm-a", models / "prm")
        assert (await bench.post("/api/jobs/prm-a/use")).json() == {
            "job_id": "prm-a", "kind": "prm", "model": None, "scorer": "prm-a", "note": ""
        }  # fmt: skip
        (found,) = await scores(bench, old)
        assert found["scorer"] == "prm-a"
        assert found["active"] is True
        assert len(found["values"]) == len(WALK.steps)
        assert all(0 <= v <= 1 for v in found["values"])
        assert found["aggregate"] == pytest.approx(math.prod(found["values"]))
        least = (await bench.get(f"/api/traces/{old}/scores?aggregation=min")).json()[0]
        assert least["aggregate"] == min(found["values"])
        new = await bench.finished()
        assert (await scores(bench, new))[0]["values"] == found["values"]
        assert (await bench.get("/api/jobs")).json()[0]["in_use"] is True
    async with workbench() as bench:
        third = await bench.finished()
        assert (await scores(bench, third))[0]["scorer"] == "prm-a"
        again = (await bench.post(f"/api/traces/{third}/scores")).json()
        assert len(again) == 1


async def test_a_tuned_model_can_be_asked_and_survives_a_restart(
    workbench: Opened, models: Path, tmp_path: Path
) -> None:
    async with workbench() as bench:
        job(tmp_path / "data", "sft-a", models / "lm")
        assert (await bench.post("/api/jobs/sft-a/use")).json()["model"] == "sft-a"
    async with workbench() as bench:
        listed = {m["id"]: m for m in (await bench.get("/api/models")).json()}
        assert listed["sft-a"]["ready"] is True
        out_of_range = await bench.post("/api/runs", json={"prompt": "Reach 500 from 1, 2 and 3.", "model": "sft-a"})
        assert out_of_range.status_code == 422
        answer = await bench.post(
            "/api/runs", json={"prompt": WALK.prompt, "model": "sft-a", "max_tokens": 80, "seed": 1}
        )
        run_id = answer.json()["run_id"]
        events = await bench.events(run_id)
        trace = (await bench.get(f"/api/traces/{run_id}")).json()
        assert trace["model"] == "sft-a"
        assert trace["stats"]["generated_tokens"] >= 1
        check_whole(events, trace)


async def test_where_there_are_servers_a_tuned_model_can_be_put_to_use_again(
    workbench: Opened, models: Path, tmp_path: Path
) -> None:
    """A server that was started anew has its own weights again. Without servers, and of a reward model, once is enough."""
    offered = {}
    for job_id, engine in (("sft-a", OpenAIEngine("http://127.0.0.1:9/v1", "served")), ("sft-b", None)):
        job(tmp_path / "data", job_id, models / "lm")
        async with workbench(engine) as bench:
            before = (await bench.get(f"/api/jobs/{job_id}")).json()
            await bench.post(f"/api/jobs/{job_id}/use")
            after = (await bench.get(f"/api/jobs/{job_id}")).json()
            offered[job_id] = before["again"], after["in_use"], after["again"]
    assert offered == {"sft-a": (False, True, True), "sft-b": (False, True, False)}


async def test_a_model_that_was_tuned_from_another_takes_the_questions_that_one_takes(
    workbench: Opened, models: Path, tmp_path: Path
) -> None:
    """A chain of jobs ends at the pocket model, which plays one game, or at a folder, which may be any model."""
    data = tmp_path / "data"
    async with workbench() as bench:
        for job_id, base in (
            ("sft-a", "pocket"),
            ("sft-b", str(data / "jobs/sft-a/model")),
            ("sft-c", "/models/Qwen3-0.6B"),
        ):
            job(data, job_id, models / "lm")
            (data / "jobs" / job_id / "recipe.toml").write_text(f'base = "{base}"\n')
            used = (await bench.post(f"/api/jobs/{job_id}/use")).json()
            assert used["note"] == "It runs in this process."
            asked = await bench.post(
                "/api/runs", json={"prompt": "Reach 500 from 1.", "model": job_id, "max_tokens": 4}
            )
            assert asked.status_code == (201 if job_id == "sft-c" else 422)
        named = {m["id"]: m["name"] for m in (await bench.get("/api/models")).json()}
        assert named["sft-b"] == "pocket, fine-tuned (sft-b)"
        assert named["sft-c"] == "Qwen3-0.6B, fine-tuned (sft-c)"


async def test_only_the_model_of_a_job_that_is_done_can_be_used(workbench: Opened, tmp_path: Path) -> None:
    async with workbench() as bench:
        job(tmp_path / "data", "prm-b", None, state="stopped")
        answer = await bench.post("/api/jobs/prm-b/use")
        assert answer.status_code == 409
        assert "prm-b is stopped" in answer.json()["error"]


async def test_a_model_that_is_gone_does_not_keep_the_workbench_shut(
    workbench: Opened, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with workbench():
        pass
    active = tmp_path / "data" / "active.json"
    for text in ('{"scorer": "prm-gone", "models": ["sft-gone"]}', "{torn", "[]", '{"models": 5}'):
        active.write_text(text)
        async with workbench() as bench:
            assert [m["id"] for m in (await bench.get("/api/models")).json()] == ["scripted"]
    assert "prm-gone" in caplog.text


async def test_jobs_are_watched_by_step_and_by_byte(workbench: Opened, tmp_path: Path) -> None:
    async with workbench() as bench:
        job(tmp_path / "data", "prm-c", None, state="stopped")
        found = (await bench.get("/api/jobs/prm-c")).json()
        assert (found["state"], found["resumable"], found["figures"]) == ("stopped", True, {"auc": None})
        metrics = (await bench.get("/api/jobs/prm-c/metrics")).json()
        assert metrics["rows"] == [{"step": 1, "loss": 0.7}, {"step": 2, "loss": None}]
        assert (await bench.get("/api/jobs/prm-c/metrics?after=1")).json()["rows"] == [{"step": 2, "loss": None}]
        log = (await bench.get("/api/jobs/prm-c/log")).json()
        assert log == {"text": "began\nended\n", "next": 12}
        assert (await bench.get("/api/jobs/prm-c/log?after=6")).json()["text"] == "ended\n"
        answer = await bench.post("/api/jobs/prm-c/resume")  # its snapshot never existed
        assert answer.status_code == 422


async def test_the_real_engine_runs_and_stops_behind_the_api(workbench: Opened, models: Path) -> None:
    engine = LocalEngine(models / "lm", name="tiny")
    async with workbench(engine) as bench:
        run_id = await bench.ask(seed=4, max_tokens=120, min_steps=1)
        twin = await bench.ask(seed=5, max_tokens=120)
        for one in (run_id, twin):
            events = await bench.events(one)
            trace = (await bench.get(f"/api/traces/{one}")).json()
            check_whole(events, trace)
            assert 1 <= trace["stats"]["generated_tokens"] <= 120
            assert trace["stats"]["prompt_tokens"] > 5
        endless = await bench.ask(max_tokens=100_000, min_steps=9_000, max_steps=9_000)
        async with bench.watch(endless) as stream:
            async for event in stream:
                if event["type"] != "start":
                    break
        assert (await bench.post(f"/api/runs/{endless}/stop")).json() == {"state": "done"}


async def test_the_loop_from_run_to_export(workbench: Opened) -> None:
    import uuid

    async with workbench(ScriptedEngine()) as bench:
        await bench.finished()
        work = (await bench.post("/api/assignments/next")).json()
        base = {"assignment_id": work["assignment"]["assignment_id"], "rater_id": "local"}
        events = [
            {**base, "event_id": str(uuid.uuid4()), "seq": i, "action": "set", "target": "step", "step_idx": i,
             "dimension": "correctness", "value": 1 - 2 * (i % 2)}
            for i in range(len(work["trace"]["steps"]))
        ]  # fmt: skip
        events.append({**base, "event_id": str(uuid.uuid4()), "seq": 999, "action": "submit", "target": "trace"})
        assert not (await bench.post("/api/ratings", json={"events": events})).json()["rejected"]
        shown = (await bench.post("/api/snapshots/preview", json={"spec": {}})).json()
        assert shown["n_rows"] == 1
        frozen = await bench.post("/api/snapshots", json={"spec": {}, "name": "first"})
        assert frozen.status_code == 201
        snapshot_id = frozen.json()["snapshot_id"]
        assert (await bench.get("/api/snapshots")).json()[0]["name"] == "first"
        assert (await bench.get(f"/api/snapshots/{snapshot_id}")).json()["manifest"]["counts"]["rows"] == 1
        path = f"/api/snapshots/{snapshot_id}/exports"
        planned = (await bench.post(f"{path}/preview", json={"format": "stepwise"})).json()
        assert planned["rows"] == 1
        written = (await bench.post(path, json={"format": "stepwise"})).json()
        assert written["rows"] == 1
        line = json.loads((await bench.get(f"{path}/stepwise/data.jsonl")).text)
        assert line["prompt"] == WALK.prompt
        assert (await bench.get(f"{path}/stepwise/..%2Fmanifest.json")).status_code == 404
        assert (await bench.post(path, json={"format": "csv"})).status_code == 422
        assert (await bench.post(path, json={"format": "stepwise", "options": {"colour": 1}})).status_code == 422


async def test_a_reward_model_from_elsewhere_can_be_the_one_in_use(workbench: Opened, tmp_path: Path) -> None:
    """Its family is known by its folder's name, which the copy has no more."""
    from tests.core import scoring_models as tiny
    from training.imported import import_prm

    tiny.language_model(tmp_path / "a-math-shepherd")
    async with workbench() as bench:
        job_id = await asyncio.to_thread(import_prm, tmp_path / "data", tmp_path / "a-math-shepherd")
        (listed,) = (await bench.get("/api/checkpoints")).json()
        assert (listed["job_id"], listed["used_as"], listed["figures"]["family"]) == (job_id, "scorer", "math-shepherd")
        assert (await bench.get(f"/api/jobs/{job_id}")).json()["state"] == "done"
        assert (await bench.post(f"/api/jobs/{job_id}/use")).json()["scorer"] == job_id
        (found,) = await scores(bench, await bench.finished())
        assert found["scorer"] == job_id and all(0 < value < 1 for value in found["values"])
    assert (tmp_path / "a-math-shepherd" / "config.json").read_text().count("worldline_family") == 0


async def test_an_outcome_model_is_not_put_to_use_and_the_refusal_says_where_it_is_of_use(
    workbench: Opened, models: Path, tmp_path: Path
) -> None:
    async with workbench() as bench:
        job(tmp_path / "data", "orm-a", models / "prm")
        answer = await bench.post("/api/jobs/orm-a/use")
        assert answer.status_code == 409
        said = answer.json()["error"]
        assert said.startswith("The model of orm-a judges whole responses, not steps")
        assert f"orm:{tmp_path / 'data' / 'jobs' / 'orm-a' / 'model'}" in said
