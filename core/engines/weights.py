"""A tuned model for a server that has its base already, all weights changed: vLLM reads them anew, in the place of its own.

Only a server that was started so takes them (`worldline serve --reload-weights`), and says whose it has: every engine asks before its
requests (`openai_api.py`), for whoever is asked after a change, or after the server was started anew, would answer by another
model under the old name. Knows nothing of jobs and of the registry of models.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.engines.adapters import same
from core.engines.base import EngineDown, EngineError
from core.engines.server_info import HELD_S, headers_for, root_of, shown
from core.pretrained import library
from core.scoring.encoding import SEPARATOR

# Waits for the answers that are being written, then reads the weights from a disk.
RELOAD_S = 300.0
# Of a configuration, what does not change what the weights mean.
OF_NO_MATTER = {"_name_or_path", "transformers_version", "dtype", "torch_dtype", "use_cache", "pad_token_id"}


async def served_base(base_url: str, api_key_env: str, bases: Sequence[str]) -> tuple[str, Path] | None:
    """The name and the folder of the model that a server was started with, if it is one of `bases`. Raises EngineError."""
    cards = (await _asked(base_url, api_key_env, "GET", "/v1/models")).get("data", [])
    for card in cards:
        root = str(card.get("root") or card.get("id"))
        if Path(root).is_dir() and any(same(root, base) for base in bases):
            return str(card["id"]), Path(root)
    return None


async def held(base_url: str, api_key_env: str) -> str | None:
    """Whose weights a server has; None where it takes none while it runs. Raises EngineError, EngineDown."""
    found = (await _asked(base_url, api_key_env, "GET", "/weight_info", missing_is_empty=True)).get("weight_version")
    return found if isinstance(found, str) else None


async def reload_weights(base_url: str, api_key_env: str, name: str, folder: Path, root: Path) -> None:
    """Put the weights of `folder` in the place of those of `root`, the model that the server was started with, under the version `name`.
    Answers that are being written end with the weights they began with. Doing it twice is harmless.

    Raises EngineError with a sentence: it takes none while it runs, these do not fit, or it failed.
    """
    now = await held(base_url, api_key_env)
    if now is None:
        raise EngineError(
            f"The server at {shown(base_url)} serves its base, but takes no weights while it runs: start it with `worldline serve "
            "MODEL --reload-weights`."
        )
    if now == name:
        return
    why = await asyncio.to_thread(unlike, root, folder)
    if why:
        raise EngineError(f"The server at {shown(base_url)} cannot take the weights of {name}: {why}.")

    async def post(path: str, body: Any = None) -> None:
        await _asked(base_url, api_key_env, "POST", path, body)

    # Where it fails from here on, nobody takes its answers for anybody's.
    await post("/update_weight_version", {"new_version": f"half of {name}"})
    await asyncio.sleep(HELD_S)  # whoever has not asked since then still means the weights before
    try:
        await post("/pause?mode=wait")
        asked = {"method": "reload_weights", "kwargs": {"weights_path": str(folder.resolve())}, "timeout": RELOAD_S}
        await post("/collective_rpc", asked)
        await post("/reset_prefix_cache")  # keys and values of the weights before
        await post("/update_weight_version", {"new_version": name})
    finally:
        await post("/resume")


def unlike(base: Path, tuned: Path) -> str:
    """Why the weights in `tuned` cannot stand in for those in `base`, as half a sentence; "" where they can."""
    transformers = library()
    try:
        one, two = (transformers.AutoConfig.from_pretrained(f).to_dict() for f in (base, tuned))
        here, there = (transformers.AutoTokenizer.from_pretrained(f) for f in (base, tuned))
    except (OSError, ValueError, KeyError) as error:
        return f"{tuned} or {base} cannot be read ({error})"
    for key in sorted((one.keys() | two.keys()) - OF_NO_MATTER):
        if one.get(key) != two.get(key):
            return f"its {key} is {json.dumps(two.get(key), default=str)[:80]}, the served model's {json.dumps(one.get(key), default=str)[:80]}"
    known, wanted = here.get_vocab(), there.get_vocab()
    # Every tokenizer of a job knows the separator of steps, which reward models read and nobody writes.
    other = sorted(t for t in known.keys() | (wanted.keys() - {SEPARATOR}) if known.get(t) != wanted.get(t))
    if other:
        more = f" and {len(other) - 3} more tokens" if len(other) > 3 else ""
        return (
            f"its tokenizer has {', '.join(other[:3])}{more} elsewhere than the served model's, or only one of them has"
        )
    return "" if here.chat_template == there.chat_template else "its chat template is not the served model's"


async def _asked(
    base_url: str, api_key_env: str, method: str, path: str, body: Any = None, missing_is_empty: bool = False
) -> dict[str, Any]:
    import httpx

    try:
        async with httpx.AsyncClient(timeout=RELOAD_S, headers=headers_for(api_key_env)) as client:
            answer = await client.request(method, root_of(base_url) + path, json=body)
            if missing_is_empty and answer.status_code in (401, 403, 404, 405):
                return {}
            answer.raise_for_status()
            found = answer.json() if answer.content else {}
    except (httpx.HTTPError, ValueError) as error:
        kind = EngineDown if isinstance(error, httpx.TransportError) else EngineError
        raise kind(
            f"The server at {shown(base_url)} did not do {path.partition('?')[0]}: {error or type(error).__name__}"
        ) from error
    return found if isinstance(found, dict) else {}
