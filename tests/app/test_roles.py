"""The walk over all routes as everybody: what a role may do is written out here, so a new route without a line fails."""

from __future__ import annotations

import itertools
import json
import re
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from app.pages import PAGES, address
from app.people import ROLES
from tests.app.people import Door, door
from tests.app.scripted import WALK

# The least role of each route; nobody: no login is needed.
LEAST = {
    "nobody": {"POST /api/login", "POST /api/join"},
    "rater": {
        "GET /api/health", "GET /api/me", "POST /api/me/password", "POST /api/logout",
        "POST /api/assignments", "POST /api/assignments/next", "GET /api/assignments/{assignment_id}",
        "GET /api/assignments", "POST /api/assignments/{assignment_id}/begin",
        "POST /api/ratings", "GET /api/ratings/{assignment_id}/events", "GET /api/ratings/{assignment_id}/prelabels",
        "GET /api/queues", "GET /api/queues/{queue_id}/guidelines", "GET /api/queues/{queue_id}/mine",
        "GET /api/pairs/queues", "POST /api/pairs/next", "POST /api/pairs/assignments/{assignment_id}/begin",
        "GET /api/pairs/assignments/{assignment_id}", "GET /api/assignments/{assignment_id}/feedback",
    },
    "adjudicator": {
        "GET /api/traces", "GET /api/traces/{trace_id}", "GET /api/traces/{trace_id}/graph",
        "GET /api/traces/{trace_id}/family", "GET /api/traces/{trace_id}/earlier",
        "GET /api/traces/{trace_id}/refinements", "GET /api/traces/{trace_id}/scores", "GET /api/stats",
        "GET /api/pairs", "GET /api/pairs/position-bias",
        "GET /api/quality/disagreements", "GET /api/quality/disagreement", "GET /api/quality/history",
        "GET /api/quality/adjudications", "POST /api/quality/adjudications",
    },
    "researcher": {
        "GET /api/sampling", "POST /api/queues", "PATCH /api/queues/{queue_id}", "GET /api/queues/{queue_id}/progress",
        "POST /api/queues/{queue_id}/guidelines", "GET /api/queues/{queue_id}/guidelines/versions",
        "PUT /api/problems/{problem_id}/reference", "POST /api/imports/ratings", "POST /api/imports/references", "GET /api/ratings/changes-of-mind",
        "POST /api/pairs", "GET /api/lineage/{id}", "POST /api/snapshots/{snapshot_id}/sql",
        "GET /api/quality/agreement", "GET /api/quality/raters", "GET /api/quality/competence",
        "GET /api/quality/gold", "POST /api/quality/gold",
        "GET /api/models", "GET /api/problems/random", "GET /api/problems/examples",
        "POST /api/runs", "GET /api/runs", "GET /api/runs/{run_id}", "GET /api/runs/{run_id}/events",
        "GET /api/strategies", "POST /api/searches", "GET /api/searches", "GET /api/searches/{search_id}",
        "GET /api/searches/{search_id}/events", "POST /api/searches/{search_id}/stop",
        "GET /api/searches/{search_id}/nodes.parquet", "GET /api/evals/{eval_id}/comparable",
        "GET /api/searches/{search_id}/nodes/{node}", "POST /api/searches/{search_id}/nodes/{node}/keep",
        "POST /api/runs/{run_id}/stop", "POST /api/imports", "POST /api/traces", "POST /api/traces/{trace_id}/forks",
        "POST /api/traces/{trace_id}/refinements", "POST /api/traces/{trace_id}/refinements/{refinement_id}/stop",
        "POST /api/traces/{trace_id}/scores",
        "GET /api/snapshots", "POST /api/snapshots", "POST /api/snapshots/preview", "GET /api/snapshots/{snapshot_id}",
        "GET /api/export-formats", "POST /api/snapshots/{snapshot_id}/exports",
        "POST /api/snapshots/{snapshot_id}/exports/preview",
        "GET /api/snapshots/{snapshot_id}/exports/{format}/{file}",
        "GET /api/evals", "POST /api/evals", "GET /api/evals/problems", "POST /api/evals/problems", "DELETE /api/evals/problems/{name}", "POST /api/evals/check",
        "GET /api/evals/{eval_id}", "GET /api/evals/{eval_id}/figures", "GET /api/evals/{eval_id}/problems",
        "GET /api/evals/{eval_id}/comparison", "GET /api/evals/{eval_id}/files/{file}", "POST /api/evals/{eval_id}/stop",
        "POST /api/evals/{eval_id}/resume", "DELETE /api/evals/{eval_id}", "GET /api/probes", "DELETE /api/probes/{probe_id}",
        "POST /api/probes", "GET /api/probes/{probe_id}", "POST /api/probes/{probe_id}/stop",
        "GET /api/checkpoints", "GET /api/jobs/kinds", "POST /api/jobs/recipe", "POST /api/jobs/rows", "GET /api/jobs", "POST /api/jobs", "GET /api/jobs/{job_id}", "GET /api/jobs/{job_id}/metrics",
        "GET /api/jobs/{job_id}/log", "POST /api/jobs/{job_id}/stop", "POST /api/jobs/{job_id}/resume",
        "POST /api/jobs/{job_id}/use",
    },
    "admin": {
        "POST /api/assignments/{assignment_id}/release",
        "POST /api/quality/standing", "GET /api/backup", "GET /api/doctor", "POST /api/doctor/rebuild",
        "GET /api/users", "POST /api/users", "PATCH /api/users/{name}",
        "POST /api/users/{name}/password", "DELETE /api/users/{name}/logins",
        "GET /api/invites", "POST /api/invites", "DELETE /api/invites/{invite_id}",
    },
}  # fmt: skip
TABLE = {route: role for role, routes in LEAST.items() for route in routes}
NASTY = (
    "../../../../etc/passwd", "..\\..\\owner.token", "/etc/passwd", "' or '1'='1", "1; drop table rater; --", '"; select 1 --',
    "read_text('/etc/passwd')", "\x00", "%", "\ufffd\u202e<script>alert(1)</script>", "a" * 4000,
)  # fmt: skip


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with door(tmp_path_factory.mktemp("roles") / "data") as opened:
        yield opened


@pytest.fixture(scope="module")
def api(bench: Door) -> dict[str, Any]:
    described: dict[str, Any] = bench.ask("GET", "/api/openapi.json", "admin").json()
    return described


def walk(api: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(m.upper(), path, route) for path, methods in api["paths"].items() for m, route in methods.items()]


@pytest.mark.slow
def test_every_route_as_every_role_and_as_nobody(bench: Door, api: dict[str, Any]) -> None:
    assert {f"{method} {path}" for method, path, _ in walk(api)} == set(TABLE)
    for method, path, _ in walk(api):
        route, least = f"{method} {path}", TABLE[f"{method} {path}"]
        there = re.sub(r"\{\w+\}", "nothing", path)
        nobody = bench.ask(method, there)
        if least == "nobody":
            assert nobody.status_code == 422, route  # it got as far as its missing body
            continue
        assert nobody.status_code == 401, route
        assert set(nobody.json()) == {"error"}
        for role in ROLES:
            if role == least == "rater" and route == "POST /api/logout":
                continue  # would end the login that walks
            answer = bench.ask(method, there, role if route != "POST /api/logout" else None, bench.logged_in(role))
            if ROLES.index(role) < ROLES.index(least):
                assert answer.status_code == 403, (route, role)
                assert f"needs the role {least}" in answer.json()["error"], (route, role)
            else:
                assert answer.status_code not in (401, 500), (route, role, answer.text)
                assert "needs the role" not in answer.text, (route, role)


@pytest.mark.parametrize(
    "path", ["/api/docs", "/api/openapi.json", "/ui/", "/ui/config", "/ui/gradio_api/info", "/", "/nothing"]
)
def test_what_is_no_route_of_ours_takes_a_login_too(bench: Door, path: str) -> None:
    assert bench.ask("GET", path).status_code == 401
    page = bench.ask("GET", f"{path}?a=1", headers={"accept": "text/html"})
    if path.startswith("/api/"):
        assert page.status_code == 401
    else:
        assert page.headers["location"] == f"/login?next={quote(path + '?a=1', safe='')}"
    for open_path in ("/login", "/join", "/static/door.js", "/static/theme.css", "/favicon.ico"):
        assert bench.ask("GET", open_path).status_code == 200, open_path


def test_where_the_data_lies_is_told_to_admins_alone(bench: Door) -> None:
    for role in ROLES:
        told = bench.ask("GET", "/api/health", role).json()
        assert told["ok"] and ((told["data_dir"], told["pid"]) == (None, None)) == (role != "admin"), role


def test_a_page_beyond_ones_role_leads_to_one_that_is_not(bench: Door) -> None:
    assert {page.NAME: page.ROLE for page in PAGES if page.ROLE == "rater"}.keys() == {"rate", "compare"}
    for page in PAGES:
        for role in ROLES:
            answer = bench.ask("GET", address(page), role, headers={"accept": "text/html"})
            if ROLES.index(role) < ROLES.index(page.ROLE):
                mine = "/ui/" if role == "researcher" else "/ui/rate"
                assert answer.headers["location"] == mine, (page.NAME, role)
            else:
                assert answer.status_code == 404, (page.NAME, role)  # let through; there is no Gradio in this test
    assert bench.ask("POST", "/ui/gradio_api/upload", "admin").status_code == 403
    assert bench.ask("GET", "/api/me", "rater").json()["pages"] == ["/ui/rate", "/ui/compare"]


def test_a_rater_reaches_only_what_was_given_to_them_and_rates_as_nobody_else(bench: Door, api: dict[str, Any]) -> None:
    row = {"prompt": WALK.prompt, "response": WALK.response}
    kept = bench.ask("POST", "/api/traces", "researcher", json=[row, {**row, "prompt": f"{WALK.prompt} Again."}])
    first, second = kept.json()["trace_ids"]
    work = bench.ask("POST", "/api/assignments", "adjudicator", json={"trace_id": first}).json()
    theirs = work["assignment"]["assignment_id"]

    assert bench.ask("POST", "/api/assignments", "rater", json={"trace_id": second}).status_code == 403
    for method, path, _ in walk(api):  # whatever route there is to an assignment: not to another's
        if "{assignment_id}" in path:
            answer = bench.ask(method, path.replace("{assignment_id}", theirs), "rater")
            assert answer.status_code in (403, 404), f"{method} {path} gave {answer.status_code}"
            assert WALK.prompt not in answer.text
    assert bench.ask("GET", f"/api/assignments/{theirs}", "researcher").status_code == 200

    mine = bench.ask("POST", "/api/assignments/next", "rater").json()["assignment"]
    assert mine["rater_id"] == "rater"
    assert bench.ask("POST", "/api/assignments", "rater", json={"trace_id": mine["trace_id"]}).status_code == 200
    assert bench.ask("POST", "/api/assignments/next", "rater", json={"rater": "adjudicator"}).status_code == 403

    event = {
        "event_id": "7d444840-9dc0-11d1-b245-5ffdce74fad2", "assignment_id": theirs, "rater_id": "adjudicator", "seq": 0,
        "action": "set", "target": "step", "step_idx": 0, "dimension": "correctness", "value": 1, "value_text": None,
        "ts_client": "2026-11-20T12:00:00Z", "input_method": "key", "dwell_ms": 1, "prelabel_visible": False, "ui_build": "",
    }  # fmt: skip
    as_another = bench.ask("POST", "/api/ratings", "rater", json={"events": [event]})
    assert as_another.status_code == 403
    in_anothers_work = bench.ask("POST", "/api/ratings", "rater", json={"events": [{**event, "rater_id": "rater"}]})
    assert in_anothers_work.json()["committed"] == []
    assert bench.store.events(theirs) == []


@pytest.mark.slow
def test_paths_and_sql_in_every_parameter_do_nothing(bench: Door, api: dict[str, Any]) -> None:
    tables = "select table_name, estimated_size from duckdb_tables() order by all"
    before = bench.store.query(tables)
    secret = (bench.client.app.state.services.data_dir / "owner.token").read_text()  # type: ignore[attr-defined]
    for method, path, route in walk(api):
        parameters = [p for p in route.get("parameters", []) if p["in"] in ("path", "query")]
        for value in NASTY if parameters else ():
            there = re.sub(r"\{\w+\}", quote(value, safe=""), path)
            query = {p["name"]: value for p in parameters if p["in"] == "query"}
            answer = bench.ask(method, there, "admin", params=query)
            assert answer.status_code < 500, (method, there, query, answer.text)
            assert "root:" not in answer.text and secret not in answer.text, (method, there)
    assert bench.store.query(tables) == before


def filled(schema: dict[str, Any], schemas: dict[str, Any], value: str) -> Any:
    """What fits a schema, with `value` in every place that takes a text, however deep; None where there is none."""
    if "$ref" in schema:
        return filled(schemas[schema["$ref"].rsplit("/", 1)[-1]], schemas, value)
    if "anyOf" in schema:
        found = [filled(one, schemas, value) for one in schema["anyOf"]]
        return next(
            (one for one in (*[f for f in found if isinstance(f, dict | list)], *found) if one is not None), None
        )
    if schema.get("type") == "array":
        items = schema.get("prefixItems", [schema.get("items", {})])
        return [filled(one, schemas, value) for one in items]
    if schema.get("type") == "object":
        if "properties" not in schema:
            return {value: value, "key": value, "nested": {"key": [value]}}
        inside = {name: filled(one, schemas, value) for name, one in schema["properties"].items()}
        return {name: one for name, one in inside.items() if one is not None}
    return value if schema.get("type", "string") == "string" else None


@pytest.mark.slow
def test_sql_and_markup_in_every_text_that_can_be_sent_is_text(bench: Door, api: dict[str, Any]) -> None:
    schemas = api["components"]["schemas"]
    for method, path, route in walk(api):
        body = route.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
        for value in NASTY if body and "/login" not in path and "/join" not in path else ():
            sent = filled(body, schemas, value)
            # All at once, and the plain ones alone: the first that is refused hides the rest.
            plain = {k: v for k, v in sent.items() if isinstance(v, str)} if isinstance(sent, dict) else sent
            for one in (sent, plain):
                answer = bench.ask(method, re.sub(r"\{\w+\}", "nothing", path), "admin", json=one)
                assert answer.status_code < 500, (method, path, value, answer.text)
                assert "text/html" not in answer.headers.get("content-type", ""), (method, path)
    assert len(bench.ask("GET", "/api/users", "admin").json()) == len(ROLES)


def leaves(body: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value that is no object and no list."""
    if isinstance(body, dict | list):
        for key, inside in body.items() if isinstance(body, dict) else enumerate(body):
            yield from leaves(inside, (*at, key))
    else:
        yield at


@pytest.mark.slow
def test_sql_and_markup_deep_in_what_is_otherwise_right_is_text(bench: Door) -> None:
    """One place after the other, so that nothing else is refused before it is looked at."""
    row = {"prompt": "Deep in it.", "response": WALK.response}
    again = {**row, "response": WALK.response + " Again."}
    traces = bench.ask("POST", "/api/traces", "researcher", json=[row, again]).json()["trace_ids"]
    work = bench.ask("POST", "/api/assignments", "admin", json={"trace_id": traces[0]}).json()["assignment"]
    queue = bench.ask("POST", "/api/queues", "admin", json={"title": "deep"}).json()["queue_id"]
    event = {
        "event_id": "7d444840-9dc0-11d1-b245-5ffdce74fad2", "assignment_id": work["assignment_id"], "rater_id": "admin", "seq": 1,
        "action": "set", "target": "step", "step_idx": 0, "dimension": "rationale", "value": None, "value_text": "why",
        "ts_client": "2026-11-20T12:00:00Z", "input_method": "key", "dwell_ms": 1, "ui_build": "1",
    }  # fmt: skip
    theirs = bench.ask("POST", "/api/assignments", "researcher", json={"trace_id": traces[1]}).json()["assignment"]
    whose = {"assignment_id": theirs["assignment_id"], "rater_id": "researcher"}
    done = [
        {**event, **whose, "event_id": str(uuid.uuid4()), "dimension": "correctness", "value": 1, "value_text": None},
        {**event, **whose, "event_id": str(uuid.uuid4()), "seq": 2, "action": "submit", "target": "trace", "step_idx": None, "dimension": "", "value_text": None},
    ]  # fmt: skip
    assert not bench.ask("POST", "/api/ratings", "researcher", json={"events": done}).json()["rejected"]
    snapshot = bench.ask("POST", "/api/snapshots", "admin", json={"name": "deep"}).json()["snapshot_id"]
    problem = bench.ask("GET", f"/api/traces/{traces[0]}", "admin").json()["problem_id"]
    right: dict[str, dict[str, Any]] = {
        "POST /api/ratings": {"events": [event]},
        "POST /api/queues": {
            "title": "q", "guidelines": "g", "sampling": "stratified",
            "config": {"text": "t", "source": "run", "model": "m", "solved": "any", "strata": ["length"], "reference": "shown"},
        },
        f"POST /api/queues/{queue}/guidelines": {
            "guidelines": "g", "error_types": ["e"], "tags": ["t"], "criteria": [{"name": "n", "words": "w"}],
        },
        "POST /api/quality/gold": {
            "item": traces[1], "feedback": "f", "kind": "gold",
            "answers": [{"target": "step", "step_idx": 0, "dimension": "correctness", "value": 1, "value_text": None}],
        },
        "POST /api/quality/adjudications": {
            "item": traces[0], "step": 0, "dimension": "correctness", "value": 1, "reason": "r",
        },
        "POST /api/snapshots/preview": {"spec": {"raters": ["r"], "models": ["m"], "queues": ["q"], "trace_ids": ["t"]}},
        f"POST /api/snapshots/{snapshot}/exports/preview": {
            "format": "stepwise", "options": {"raters": "majority", "neutral_as": "drop", "ties": "drop", "split": "all", "min_raters": 1},
        },
        "POST /api/pairs": {"policy": "by_hand", "pairs": [traces], "dry_run": True},
        "POST /api/imports/references": {"references": {problem: "answer"}},
    }  # fmt: skip
    seq = itertools.count(2)
    names = "select table_name from duckdb_tables() order by all"
    before = bench.store.query(names)
    for route, body in right.items():
        method, path = route.split()
        taken = bench.ask(method, path, "admin", json=body)
        assert taken.status_code < 300 and not taken.json().get("rejected"), (route, taken.text)
        for way in leaves(body):
            for value in NASTY:
                sent = json.loads(json.dumps(body))
                for one in sent.get("events", ()):  # the same one twice changes nothing
                    one.update(event_id=str(uuid.uuid4()), seq=next(seq))
                inside = sent
                for key in way[:-1]:
                    inside = inside[key]
                inside[way[-1]] = value
                answer = bench.ask(method, path, "admin", json=sent)
                assert answer.status_code < 500, (route, way, value, answer.text)
                assert "root:" not in answer.text, (route, way, value)
    assert bench.store.query(names) == before
    assert len(bench.ask("GET", "/api/users", "admin").json()) == len(ROLES)
    kept = bench.ask("GET", f"/api/ratings/{work['assignment_id']}/events", "admin").json()
    assert {e["value_text"] for e in kept} >= {v for v in NASTY if v.isprintable()}, "what was taken was kept as it is"


def test_a_trace_of_one_queue_is_not_opened_in_another_that_tells_more(bench: Door) -> None:
    row = {"prompt": "Only in the blind queue.", "response": WALK.response, "model": "whose it is"}
    (trace,) = bench.ask("POST", "/api/traces", "researcher", json=row).json()["trace_ids"]
    queues = []
    for title, blind in (("blind", True), ("tells", False)):
        made = {"title": title, "blind": blind, "verify_mode": not blind, "config": {"text": "Only in the blind"}}
        queues.append(bench.ask("POST", "/api/queues", "admin", json=made).json()["queue_id"])
    given = bench.ask("POST", "/api/assignments/next", "rater", json={"queue": queues[0]}).json()
    assert (given["assignment"]["trace_id"], given["trace"]["model"]) == (trace, "")
    for queue, status in ((queues[0], 200), (queues[1], 403)):
        asked = {"trace_id": trace, "queue": queue}
        answer = bench.ask("POST", "/api/assignments", "rater", json=asked)
        assert (answer.status_code, "whose it is" in answer.text) == (status, False)
    assert bench.ask("POST", "/api/assignments", "rater", json={"trace_id": trace}).status_code == 403


def test_no_route_changes_anything_for_another_sites_page(bench: Door, api: dict[str, Any]) -> None:
    """Its form or script comes with the cookie, and with the origin that no page can hide."""
    for method, path, _ in walk(api):
        if method == "GET":
            continue
        for headers in ({"origin": "http://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}):
            answer = bench.ask(method, re.sub(r"\{\w+\}", "nothing", path), "admin", headers=headers, json={})
            assert answer.status_code == 403, (method, path, headers)
            assert "another address" in answer.json()["error"], (method, path)
