"""The data folder from a second process: open it, or, when a running workbench owns it, talk to that workbench.

One process owns the DuckDB file; a command that finds it owned does its work through the owner's HTTP API instead of failing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from core.trace import Trace


class Workbench(Protocol):
    """What the terminal needs of a data folder, whoever owns it."""

    def add_traces(self, traces: Sequence[Trace]) -> None: ...
    def preview(self, spec: dict[str, Any]) -> dict[str, Any]: ...
    def freeze(self, spec: dict[str, Any], name: str) -> dict[str, Any]: ...
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
        return _Remote(url)


def _owner_url(folder: Path) -> str | None:
    """The address of the workbench that says it owns `folder` and answers, None if there is none."""
    import httpx

    try:
        url = json.loads((folder / "owner.json").read_text())["url"]
        httpx.get(f"{url}/api/health", timeout=5).raise_for_status()
    except (OSError, ValueError, KeyError, TypeError, httpx.HTTPError):
        return None
    return url


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

    def preview(self, spec: dict[str, Any]) -> dict[str, Any]:
        from dataclasses import asdict

        from storage.snapshots import preview

        return asdict(preview(self.store, spec))

    def freeze(self, spec: dict[str, Any], name: str) -> dict[str, Any]:
        from storage.snapshots import freeze

        return {
            "snapshot_id": freeze(
                self.store, self.folder / "snapshots", spec, created_by="local", name=name
            ).snapshot_id
        }

    def close(self) -> None:
        self.store.close()


class _Remote(_Closing):
    def __init__(self, url: str) -> None:
        import httpx

        self.client = httpx.Client(base_url=url, timeout=120)

    def _post(self, path: str, body: Any) -> Any:
        answer = self.client.post(path, json=body)
        if answer.is_error:
            try:
                reason = answer.json()["error"]
            except (ValueError, KeyError, TypeError):
                reason = f"HTTP {answer.status_code}"
            raise ValueError(f"the running workbench at {self.client.base_url} refused: {reason}")
        return answer.json()

    def add_traces(self, traces: Sequence[Trace]) -> None:
        for start in range(0, len(traces), 50):
            self._post("/api/traces", [t.to_json() for t in traces[start : start + 50]])

    def preview(self, spec: dict[str, Any]) -> dict[str, Any]:
        return self._post("/api/snapshots/preview", {"spec": spec})

    def freeze(self, spec: dict[str, Any], name: str) -> dict[str, Any]:
        return self._post("/api/snapshots", {"spec": spec, "name": name})

    def close(self) -> None:
        self.client.close()
