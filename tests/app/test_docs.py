"""The API's documentation: whole enough to write a script from, and readable without a network."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.api import docs
from tests.app.conftest import Opened

pytestmark = pytest.mark.anyio

PROMISED = {
    "GET /api/health", "POST /api/login", "POST /api/logout", "POST /api/join", "GET /api/me", "POST /api/me/password",
    "GET /api/users", "POST /api/users", "PATCH /api/users/{name}",
    "POST /api/users/{name}/password", "DELETE /api/users/{name}/logins",
    "GET /api/invites", "POST /api/invites", "DELETE /api/invites/{invite_id}",
    "GET /api/models", "GET /api/problems/random", "GET /api/problems/examples",
    "POST /api/runs", "GET /api/runs", "GET /api/runs/{run_id}", "GET /api/runs/{run_id}/events",
    "POST /api/runs/{run_id}/stop",
    "GET /api/evals", "POST /api/evals", "GET /api/evals/problems", "POST /api/evals/problems", "DELETE /api/evals/problems/{name}", "POST /api/evals/check",
    "GET /api/evals/{eval_id}", "GET /api/evals/{eval_id}/figures", "GET /api/evals/{eval_id}/problems",
    "GET /api/evals/{eval_id}/comparable", "GET /api/evals/{eval_id}/comparison", "GET /api/evals/{eval_id}/files/{file}", "POST /api/evals/{eval_id}/stop",
    "POST /api/evals/{eval_id}/resume",
    "GET /api/probes", "POST /api/probes", "DELETE /api/probes/{probe_id}", "DELETE /api/evals/{eval_id}", "GET /api/probes/{probe_id}", "POST /api/probes/{probe_id}/stop",
    "GET /api/strategies", "POST /api/searches", "GET /api/searches", "GET /api/searches/{search_id}",
    "GET /api/searches/{search_id}/events", "POST /api/searches/{search_id}/stop",
    "GET /api/searches/{search_id}/nodes.parquet", "GET /api/searches/{search_id}/nodes/{node}", "POST /api/searches/{search_id}/nodes/{node}/keep",
    "POST /api/imports", "POST /api/imports/ratings", "POST /api/imports/references",
    "GET /api/traces", "POST /api/traces", "GET /api/traces/{trace_id}", "GET /api/traces/{trace_id}/graph",
    "POST /api/traces/{trace_id}/forks", "GET /api/traces/{trace_id}/family",
    "GET /api/traces/{trace_id}/earlier",
    "GET /api/traces/{trace_id}/refinements", "POST /api/traces/{trace_id}/refinements",
    "POST /api/traces/{trace_id}/refinements/{refinement_id}/stop",
    "GET /api/traces/{trace_id}/scores", "POST /api/traces/{trace_id}/scores",
    "GET /api/queues", "POST /api/queues", "PATCH /api/queues/{queue_id}", "GET /api/queues/{queue_id}/mine",
    "GET /api/queues/{queue_id}/progress", "GET /api/queues/{queue_id}/guidelines",
    "POST /api/queues/{queue_id}/guidelines", "GET /api/queues/{queue_id}/guidelines/versions", "GET /api/sampling",
    "PUT /api/problems/{problem_id}/reference", "GET /api/assignments",
    "POST /api/assignments/{assignment_id}/begin", "POST /api/assignments/{assignment_id}/release",
    "POST /api/assignments/next", "POST /api/assignments", "GET /api/assignments/{assignment_id}",
    "GET /api/pairs", "POST /api/pairs", "GET /api/pairs/queues", "POST /api/pairs/next",
    "GET /api/pairs/assignments/{assignment_id}", "POST /api/pairs/assignments/{assignment_id}/begin", "GET /api/pairs/position-bias",
    "POST /api/ratings", "GET /api/stats",
    "GET /api/quality/agreement", "GET /api/quality/raters", "GET /api/quality/competence",
    "GET /api/quality/disagreements", "GET /api/quality/disagreement", "GET /api/quality/history",
    "GET /api/quality/adjudications", "POST /api/quality/adjudications", "GET /api/quality/gold", "POST /api/quality/gold",
    "POST /api/quality/standing", "GET /api/assignments/{assignment_id}/feedback",
    "GET /api/ratings/{assignment_id}/events", "GET /api/ratings/{assignment_id}/prelabels", "GET /api/ratings/changes-of-mind",
    "GET /api/snapshots", "POST /api/snapshots", "POST /api/snapshots/preview", "GET /api/snapshots/{snapshot_id}",
    "POST /api/snapshots/{snapshot_id}/sql", "GET /api/lineage/{id}", "GET /api/export-formats", "POST /api/snapshots/{snapshot_id}/exports",
    "POST /api/snapshots/{snapshot_id}/exports/preview",
    "GET /api/snapshots/{snapshot_id}/exports/{format}/{file}",
    "GET /api/backup", "GET /api/doctor", "POST /api/doctor/rebuild",
    "GET /api/checkpoints", "GET /api/jobs/kinds", "POST /api/jobs/recipe", "POST /api/jobs/rows", "GET /api/jobs", "POST /api/jobs", "GET /api/jobs/{job_id}", "GET /api/jobs/{job_id}/metrics",
    "GET /api/jobs/{job_id}/log",
    "POST /api/jobs/{job_id}/stop", "POST /api/jobs/{job_id}/resume", "POST /api/jobs/{job_id}/use",
}  # fmt: skip


async def test_every_route_is_listed_and_described(workbench: Opened) -> None:
    async with workbench() as bench:
        api = (await bench.get("/api/openapi.json")).json()
    found = {
        f"{method.upper()} {path}": route for path, methods in api["paths"].items() for method, route in methods.items()
    }
    assert set(found) == PROMISED
    for name, route in found.items():
        assert route["summary"], name
        assert len(route["description"]) > 10, name
        assert route["tags"], name
        for parameter in route.get("parameters", []):
            assert parameter["in"] == "path" or parameter.get("description") or parameter["name"] == "limit", name
        code, good = next((status, r) for status, r in route["responses"].items() if status.startswith("2"))
        if code != "204":
            (content,) = good["content"].values()
            assert content.get("schema") or content == {}, name
        for status, response in route["responses"].items():
            if status.startswith(("4", "5")):
                assert response["content"]["application/json"]["schema"]["$ref"].endswith("/Problem"), (name, status)
    assert "HTTPValidationError" not in api["components"]["schemas"]


async def test_every_field_that_can_be_sent_is_described_or_has_an_example(workbench: Opened) -> None:
    async with workbench() as bench:
        schemas = (await bench.get("/api/openapi.json")).json()["components"]["schemas"]
    for name in ("RunIn", "RatingsIn", "FreezeIn", "ExportIn", "JobIn", "NextIn", "ScoreIn", "RefineIn", "SearchIn"):
        assert schemas[name]["additionalProperties"] is False
        for field, schema in schemas[name]["properties"].items():
            assert schema.get("description") or schema.get("examples") or "default" in schema, (name, field)


async def test_the_page_needs_nobody_else(workbench: Opened) -> None:
    async with workbench() as bench:
        page = await bench.get("/api/docs")
        assert page.headers["content-type"].startswith("text/html")
        for path in re.findall(r'(?:src|href)="(/[^"]+)"', page.text):
            assert (await bench.get(path)).status_code == 200, path
    for path in (docs.PAGE, *(Path(docs.PAGE).parent / f"api-docs.{kind}" for kind in ("js", "css"))):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"https?://|innerHTML|//cdn", text), path
