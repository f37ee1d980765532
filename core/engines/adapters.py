"""A tuned model for a server that has its base already: vLLM takes the low-rank pairs of a job while it runs.

It loads them from a folder that it must see itself, under a name of their own, if it was started so (`worldline serve
--lora-rank`). Knows nothing of jobs and of the registry of models.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

from core.engines.base import Chunk, EngineDown, EngineError, GenerateRequest
from core.engines.openai_api import OpenAIEngine
from core.engines.sampling import Sampled, SampleRequest
from core.engines.server_info import ServerInfo, headers_for, shown

FORGOTTEN = 404  # vLLM's answer to a request for a model that it does not have
LOAD_S = 120.0  # reads the pairs from a disk, and waits for the step that is being computed


class AdapterEngine(OpenAIEngine):
    """The model `name` on a server that was given its pairs. A server that was started anew has forgotten them, and gets them again."""

    def __init__(self, base_url: str, name: str, api_key_env: str, folder: Path) -> None:
        super().__init__(base_url, name, api_key_env)
        self._folder = folder
        # Many questions find it forgotten at once, and a server takes the same pairs once only.
        self._loading = asyncio.Lock()

    async def look(self) -> ServerInfo:
        async with self._loading:
            if self._info is None and not await load_adapter(self.base_url, self.api_key_env, self.model, self._folder):
                raise EngineError(
                    f"The server at {shown(self.base_url)} does not serve the base of {self.model} any more."
                )
            return await super().look()

    async def stream(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        for last in (False, True):
            written = False
            try:
                async with aclosing(super().stream(request)) as chunks:
                    async for chunk in chunks:
                        written = written or bool(chunk.text)
                        yield chunk
                return
            except EngineError as error:
                if last or written or error.status != FORGOTTEN:
                    raise
                self._info = None

    async def sample(self, request: SampleRequest) -> Sampled:
        try:
            return await super().sample(request)
        except EngineError as error:
            if error.status != FORGOTTEN:
                raise
            self._info = None
            return await super().sample(request)


async def load_adapter(base_url: str, api_key_env: str, name: str, folder: Path) -> bool:
    """Have a server offer the pairs in `folder` as the model `name`. False: it does not serve their base. Doing it twice is harmless.

    Raises EngineError with a sentence: it takes none while it runs, or did not take these.
    """
    import httpx

    where = base_url.rstrip("/")
    base = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))["base_model_name_or_path"]
    try:
        async with httpx.AsyncClient(timeout=LOAD_S, headers=headers_for(api_key_env)) as client:
            cards: list[dict[str, Any]] = (await client.get(f"{where}/models")).raise_for_status().json()["data"]
            if any(card.get("id") == name for card in cards):
                return True
            if not any(same(str(card.get("root") or card.get("id")), base) for card in cards):
                return False
            asked = {"lora_name": name, "lora_path": str(folder.resolve())}
            answer = await client.post(f"{where}/load_lora_adapter", json=asked)
    except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError) as error:
        kind = EngineDown if isinstance(error, httpx.TransportError) else EngineError
        raise kind(f"The server at {shown(base_url)} could not be asked to load {name}: {error}") from error
    if answer.is_success:
        return True
    if answer.status_code in (404, 405):
        raise EngineError(
            f"The server at {shown(base_url)} serves its base, but takes no adapters while it runs: start it with "
            "`worldline serve MODEL --lora-rank 8`."
        )
    raise EngineError(f"The server at {shown(base_url)} did not take the adapter in {folder}: {answer.text[:300]}")


def same(root: str, base: str) -> bool:
    """Whether a server's model is this base: a name on a hub, or the same folder."""
    return root == base or (Path(root).is_dir() and Path(root).resolve() == Path(base).resolve())
