"""A workbench in memory: the real application, store and run manager; only the model is a script."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from core.engines.base import Engine
from tests.app.client import Bench
from tests.app.scripted import ScriptedEngine

Opened = Callable[..., AbstractAsyncContextManager[Bench]]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def workbench(tmp_path: Path) -> Opened:
    """`async with workbench(engine) as bench:`; opening it again in one test is a restart on the same data."""

    @asynccontextmanager
    async def opened(engine: Engine | None = None, **options: Any) -> AsyncIterator[Bench]:
        from app.server import create_app

        engine = engine or ScriptedEngine()
        app = create_app(tmp_path / "data", engines={engine.model: engine}, ui=False, **options)
        async with app.router.lifespan_context(app):
            async with Bench(app, engine) as bench:
                yield bench

    return opened
