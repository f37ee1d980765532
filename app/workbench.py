"""The data folder from a second process: open it, or, when a running workbench owns it, talk to that workbench.

One process owns the DuckDB file; a command that finds it owned does its work through the owner's HTTP API instead of failing.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

from core.trace import Trace

if TYPE_CHECKING:
    from app.people import People
    from storage.imports.keeping import Wanted
    from storage.people import Account, Invite
    from storage.traces import Held


class Workbench(Protocol):
    """What the terminal needs of a data folder, whoever owns it."""

    def add_traces(self, traces: Sequence[Trace]) -> None: ...
    def add_said(self, ratings: Sequence[Wanted], references: Mapping[str, str], name: str) -> list[str]: ...
    def held(self, traces: Sequence[Trace]) -> Held: ...
    def trace(self, trace_id: str) -> Trace | None: ...
    def lineage(self, what: str, after: int = 0) -> dict[str, Any]: ...
    def preview(self, spec: dict[str, Any]) -> dict[str, Any]: ...
    def freeze(self, spec: dict[str, Any], name: str) -> dict[str, Any]: ...
    def backup(self) -> Iterator[bytes]: ...
    def doctor(self, *, rebuild: bool) -> dict[str, Any]: ...
    def queues(self) -> list[dict[str, Any]]: ...
    def add_queue(self, settings: dict[str, Any]) -> dict[str, Any]: ...
    def users(self) -> list[dict[str, Any]]: ...
    def add_user(self, name: str, role: str, password: str) -> dict[str, Any]: ...
    def change_user(self, name: str, **changes: Any) -> dict[str, Any]: ...
    def invites(self) -> list[dict[str, Any]]: ...
    def invite(self, role: str, days: int) -> str: ...
    def close(self) -> None: ...
    def __enter__(self) -> Workbench: ...
    def __exit__(self, *_: object) -> None: ...


def workbench_at(folder: Path) -> Workbench:
    """Own the folder, or speak to who does. Raises StoreError when neither is possible."""
    from storage.errors import FolderInUse
    from storage.store import Store

    try:
        return _Owned(folder, Store.open(folder))
    except FolderInUse:
        url = _owner_url(folder)
        if url is None:
            raise
        return _Remote(url, _owner_token(folder))


def _owner_url(folder: Path) -> str | None:
    """The address of the workbench that says it owns `folder` and answers, None if there is none."""
    import httpx

    try:
        url = json.loads((folder / "owner.json").read_text())["url"]
        httpx.get(f"{url}/api/health", timeout=5, headers=_owner_token(folder)).raise_for_status()
    except (OSError, ValueError, KeyError, TypeError, httpx.HTTPError):
        return None
    return url


def _owner_token(folder: Path) -> dict[str, str]:
    """What shows the workbench that this command is of the folder's owner; it asks for that where there are accounts."""
    try:
        return {"authorization": f"Bearer {(folder / 'owner.token').read_text()}"}
    except OSError:
        return {}


def _portions(traces: Sequence[Trace]) -> Iterator[list[Trace]]:
    """Few enough for one request: below its limit of 64 MB (a text is in it twice, and escaped) and of errors listed.

    No id twice in one: what is answered about it must be about what is stored, not about its neighbour.
    """
    some, chars = dict[str, Trace](), 0
    for trace in traces:
        if some and (len(some) == 50 or chars + len(trace.response) > 2_000_000 or trace.trace_id in some):
            yield list(some.values())
            some, chars = {}, 0
        some[trace.trace_id] = trace
        chars += len(trace.response)
    if some:
        yield list(some.values())


class _Closing:
    def close(self) -> None:
        raise NotImplementedError

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Owned(_Closing):
    def __init__(self, folder: Path, store: Any) -> None:
        self.folder, self.store = folder, store

    def add_traces(self, traces: Sequence[Trace]) -> None:
        for waiting in [self.store.add_trace(t, source="import") for t in traces]:
            waiting.result()

    def add_said(self, ratings: Sequence[Wanted], references: Mapping[str, str], name: str) -> list[str]:
        from app.outcomes import judge_anew
        from storage.imports.keeping import keep
        from storage.references import add_references

        if self.store.write(add_references, references).result():
            judge_anew(self.store, references, undecided=True)
        return keep(self.store, ratings, name).problems or []

    def held(self, traces: Sequence[Trace]) -> Held:
        held: Held = self.store.held(traces)
        return held

    def trace(self, trace_id: str) -> Trace | None:
        found: Trace | None = self.store.trace(trace_id)
        return found

    def lineage(self, what: str, after: int = 0) -> dict[str, Any]:
        from storage.lineage import lineage

        return lineage(self.store, self.folder, what, after).to_json()

    def preview(self, spec: dict[str, Any]) -> dict[str, Any]:
        from dataclasses import asdict

        from storage.snapshots import preview

        return asdict(self.store.read(lambda con: preview(con, spec)))

    def freeze(self, spec: dict[str, Any], name: str) -> dict[str, Any]:
        from storage.snapshots import freeze

        return {
            "snapshot_id": freeze(
                self.store, self.folder / "snapshots", spec, created_by="local", name=name
            ).snapshot_id
        }

    def backup(self) -> Iterator[bytes]:
        from storage.backup import stream

        return stream(self.store)

    def doctor(self, *, rebuild: bool) -> dict[str, Any]:
        from storage import doctor

        rebuilt = doctor.rebuild(self.store) if rebuild else []
        return {**doctor.examine(self.store).to_json(), "rebuilt": rebuilt}

    def queues(self) -> list[dict[str, Any]]:
        from storage.queues.settings import read_queues

        return [queue.to_json() for queue in self.store.read(lambda con: read_queues(con, archived=True))]

    def add_queue(self, settings: dict[str, Any]) -> dict[str, Any]:
        from core.trace import new_id
        from storage.queues.making import NewQueue, make_queues
        from storage.queues.settings import Queue

        guidelines = settings.pop("guidelines", None)
        made = self.store.write(make_queues, NewQueue(Queue(new_id(), **settings), guidelines, "local"))
        return made.result().to_json()

    def users(self) -> list[dict[str, Any]]:
        from storage.people import accounts

        return [_user(account) for account in self.store.read(accounts)]

    def add_user(self, name: str, role: str, password: str) -> dict[str, Any]:
        return _user(asyncio.run(self._people().add(name, role, password)))

    def change_user(self, name: str, **changes: Any) -> dict[str, Any]:
        return _user(asyncio.run(self._people().change(name, **changes)))

    def invites(self) -> list[dict[str, Any]]:
        from storage.people import invites

        return [_invite(one) for one in self.store.read(invites) if one.open]

    def invite(self, role: str, days: int) -> str:
        _, token = asyncio.run(self._people().invite(role, "local", timedelta(days=days)))
        return f"http://127.0.0.1:7860/join#{token}"

    def _people(self) -> People:
        from app.people import People

        return People(self.store)

    def close(self) -> None:
        self.store.close()


def _user(account: Account) -> dict[str, Any]:
    at = account.created_at.isoformat()
    return {"name": account.rater_id, "role": account.role, "active": account.active, "created_at": at}


def _invite(one: Invite) -> dict[str, Any]:
    return {"invite_id": one.invite_id, "role": one.role, "expires_at": one.expires_at.isoformat()}


class _Remote(_Closing):
    def __init__(self, url: str, headers: dict[str, str]) -> None:
        import httpx

        self.client = httpx.Client(base_url=url, timeout=120, headers=headers)

    def _get(self, path: str) -> Any:
        answer = self.client.get(path)
        if answer.is_error:
            raise ValueError(self._refusal(answer))
        return answer.json()

    def _post(self, path: str, body: Any, method: str = "POST") -> Any:
        return self._send(path, json.dumps(body).encode(), "application/json", method)

    def _send(self, path: str, body: bytes, kind: str = "application/octet-stream", method: str = "POST") -> Any:
        answer = self.client.request(method, path, content=body, headers={"content-type": kind})
        if answer.is_error:
            raise ValueError(self._refusal(answer))
        return answer.json()

    def _refusal(self, answer: Any) -> str:
        try:
            reason = answer.json()["error"]
        except (ValueError, KeyError, TypeError):
            reason = f"HTTP {answer.status_code}"
        return f"the running workbench at {self.client.base_url} refused: {reason}"

    def add_traces(self, traces: Sequence[Trace]) -> None:
        for some in _portions(traces):
            self._post("/api/traces", [t.to_json() for t in some])

    def add_said(self, ratings: Sequence[Wanted], references: Mapping[str, str], name: str) -> list[str]:
        """Judgements and reference answers that came with traces. What could not be kept, in sentences."""
        problems = []
        answers = list(references.items())
        for at in range(0, len(answers), 200):
            self._post("/api/imports/references", {"references": dict(answers[at : at + 200])})
        for at in range(
            0, len(ratings), 200
        ):  # notes and better steps can be long: a request must stay below its limit
            some = [one.to_json() for one in ratings[at : at + 200]]
            problems += self._post("/api/imports/ratings", {"name": name, "ratings": some})["problems"]
        return problems

    def held(self, traces: Sequence[Trace]) -> Held:
        """Asked by a dry run of our own rows: what it does not call new, the workbench has, or has another text for."""
        from storage.traces import Held, content_hash

        once = {content_hash(t.prompt, t.response): t for t in reversed(traces)}
        hashes = {id(trace): content for content, trace in once.items()}
        contents, ids = set[str](), set[str]()
        for some in _portions(list(once.values())):
            rows = "\n".join(json.dumps(t.to_json()) for t in some)
            report = self._send("/api/imports?name=rows.jsonl&dry_run=true&family=worldline", rows.encode())
            new = set(report["trace_ids"])
            taken = {int(e.split(":")[1]) - 1 for e in report["errors"]}
            for i, trace in enumerate(some):
                if i in taken:
                    ids.add(trace.trace_id)
                elif trace.trace_id not in new:
                    contents.add(hashes[id(trace)])
        return Held(frozenset(contents), frozenset(ids))

    def trace(self, trace_id: str) -> Trace | None:
        answer = self.client.get(f"/api/traces/{quote(trace_id, safe='')}")
        if answer.status_code == 404:
            return None
        if answer.is_error:
            raise ValueError(self._refusal(answer))
        return Trace.from_json(answer.json())

    def lineage(self, what: str, after: int = 0) -> dict[str, Any]:
        from storage.lineage import name_in

        found: dict[str, Any] = self._get(f"/api/lineage/{quote(name_in(what) or what[:100], safe='')}?after={after}")
        return found

    def preview(self, spec: dict[str, Any]) -> dict[str, Any]:
        return self._post("/api/snapshots/preview", {"spec": spec})

    def backup(self) -> Iterator[bytes]:
        with self.client.stream("GET", "/api/backup") as answer:
            if answer.is_error:
                answer.read()
                raise ValueError(self._refusal(answer))
            yield from answer.iter_raw()

    def doctor(self, *, rebuild: bool) -> dict[str, Any]:
        found: dict[str, Any] = self._post("/api/doctor/rebuild", {}) if rebuild else self._get("/api/doctor")
        return found

    def freeze(self, spec: dict[str, Any], name: str) -> dict[str, Any]:
        return self._post("/api/snapshots", {"spec": spec, "name": name})

    def queues(self) -> list[dict[str, Any]]:
        queues: list[dict[str, Any]] = self._get("/api/queues?archived=true")
        return queues

    def add_queue(self, settings: dict[str, Any]) -> dict[str, Any]:
        return self._post("/api/queues", settings)

    def users(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._get("/api/users")
        return found

    def add_user(self, name: str, role: str, password: str) -> dict[str, Any]:
        return self._post("/api/users", {"name": name, "role": role, "password": password})

    def change_user(self, name: str, **changes: Any) -> dict[str, Any]:
        return self._post(f"/api/users/{quote(name, safe='')}", changes, "PATCH")

    def invites(self) -> list[dict[str, Any]]:
        return [one for one in self._get("/api/invites") if one["open"]]

    def invite(self, role: str, days: int) -> str:
        return str(self._post("/api/invites", {"role": role, "days": days})["link"])

    def close(self) -> None:
        self.client.close()
