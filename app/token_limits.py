"""How much a model may write where nobody has said: much for a served one, whose thinking is long, as far as its context goes."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from core.engines.base import Engine, EngineError, Sampling
from core.engines.openai_api import OpenAIEngine
from core.engines.pool import EnginePool
from core.engines.server_info import Server, certificates, headers_for
from core.turns import Message

log = logging.getLogger("worldline.models")

SERVED = 32_768  # what makers of reasoning models advise for most questions
SPARE = 16  # tokens that a server may put around a conversation
TEMPLATE = 4096  # more than any chat template writes of its own
BYTES_A_TOKEN = 3
PATIENCE_S = 3.0  # a server that does not say how long its context is must not keep a question waiting
AGAIN_S = 30.0
_contexts: dict[tuple[str, str], tuple[float, int | None]] = {}  # by address and model: when it was asked, what it said


async def default_tokens(engine: Engine) -> int:
    """For a question of a few words."""
    return min([SERVED, *(await _contexts_of(engine)).values()]) if _servers(engine) else Sampling().max_tokens


async def most_tokens(engine: Engine, messages: Sequence[Message], prefix: str = "") -> int:
    """So many tokens as the model may write after this conversation and the beginning of its answer, at least 1."""
    if not _servers(engine):
        return Sampling().max_tokens
    contexts = await _contexts_of(engine)
    if not contexts:
        return SERVED
    tightest = min(contexts, key=lambda server: contexts[server])
    if contexts[tightest] - _bytes(messages, prefix) - TEMPLATE >= SERVED:  # no text has more tokens than bytes
        return SERVED
    return max(1, min(SERVED, contexts[tightest] - await _used(tightest, messages, prefix)))


def _servers(engine: Engine) -> list[OpenAIEngine]:
    members = engine.members.values() if isinstance(engine, EnginePool) else [engine]
    return [member for member in members if isinstance(member, OpenAIEngine)]


async def _contexts_of(engine: Engine) -> dict[OpenAIEngine, int]:
    """The context length of each server that says it."""
    found = {server: await _context(server) for server in _servers(engine)}
    return {server: length for server, length in found.items() if length}


async def _context(server: OpenAIEngine) -> int | None:
    """`max_model_len` in the list of models, as vLLM has it; of low-rank pairs it says that of their base alone. Asked once;
    again where nobody answered.
    """
    import httpx

    key, now = (server.base_url, server.served_as), time.monotonic()
    asked, length = _contexts.get(key, (-AGAIN_S, None))
    if length is None and now - asked >= AGAIN_S:
        try:
            async with httpx.AsyncClient(
                timeout=PATIENCE_S, headers=headers_for(server.api_key_env), verify=certificates()
            ) as client:
                rows = (await client.get(f"{server.base_url.rstrip('/')}/models")).json()["data"]
            listed = {row.get("id"): row for row in rows}
            row = listed.get(server.served_as) or {}
            said = row.get("max_model_len") or (listed.get(row.get("parent")) or {}).get("max_model_len")
            length = said if type(said) is int and said > 0 else None
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError, AttributeError) as error:
            log.info("%s did not say how long its context is: %s", server.base_url.rpartition("@")[2], error)
        _contexts[key] = now, length
    return length


async def _used(server: OpenAIEngine, messages: Sequence[Message], prefix: str) -> int:
    """Tokens of what the model is given, by the server's tokenizer; where it cannot be asked, by a guess."""
    import httpx

    tokens = Server(server.base_url, server.served_as, server.api_key_env)
    try:
        return len(await tokens.prompt_ids(list(messages))) + len(await tokens.text_ids(prefix)) + SPARE
    except (EngineError, httpx.HTTPError):
        return _bytes(messages, prefix) // BYTES_A_TOKEN + SPARE


def _bytes(messages: Sequence[Message], prefix: str) -> int:
    return len("".join([*(m["content"] for m in messages), prefix]).encode())
