"""What an OpenAI-compatible server is: its kind, version, chat template, and which control it offers.

Asked once a server, by routes that cost it nothing; what cannot be found out stays empty. Knows no request and no trace.
"""

from __future__ import annotations

import hashlib
import json
import os
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cache
from pathlib import Path
from typing import Any

from core.control.bounds import STEP_END
from core.control.thinking import FAMILIES, IM_START, THINK, Markers, countable, family_of, named
from core.control.xargs import PROBE, SIGNATURE
from core.engines.base import EngineDown, EngineError
from core.turns import Message

LOOK_S = 10.0
# Text becomes tokens in the process that serves everybody: among a hundred requests on a busy machine that waits its turn.
TOKENS_S = 300.0
# For so long whose weights a server has is taken as known; who loads others says so that long before (`weights.py`).
HELD_S = 1.0
# `owned_by` in the list of models names the program on these servers.
KINDS = {"vllm": "vllm", "llamacpp": "llama.cpp", "library": "ollama", "sglang": "sglang"}
OWN_WEIGHTS = "default"  # vLLM's version of the weights that it was started with
# A chat template is told from another by what it makes of this conversation.
PROBE_MESSAGES = [{"role": "user", "content": "Reach 24 from 4, 7, 8 and 8."}]


@dataclass(frozen=True)
class ServerInfo:
    """kind: vllm, llama.cpp, ollama, sglang, transformers, or "" for any other. `chat_template` is a SHA-256, "" where unknown.

    For vLLM (and the engine in our process) it is that of the token ids, as JSON, that the template makes of
    `PROBE_MESSAGES`, since vLLM does not show the template; for llama.cpp, Ollama and `transformers serve` that of the template's
    text. `markers` is how the model marks its thinking, None where it does not or nobody can say; `budget` says whether the server
    ends a thinking that has used up its tokens. `renders`: the model's folder, with its chat template, is on this machine.
    """

    kind: str = ""
    version: str = ""
    chat_template: str = ""
    step_control: bool = False
    markers: Markers | None = None
    budget: bool = False
    renders: bool = False
    opens: bool = False  # its chat template ends a prompt in `<think>`, so a response may begin within the thought
    reloads: bool = False  # takes other weights while it runs, and says whose it has

    @property
    def takes_ids(self) -> bool:
        """Whether it goes on from token ids, which makes "Wait" and searches possible."""
        return self.kind == "vllm"

    @property
    def continues(self) -> bool:
        """Whether it can go on from a given text: that needs its chat template, rendered by itself."""
        return self.kind in ("vllm", "llama.cpp", "ollama", "sglang") or self.renders


def rendered_hash(ids: list[int]) -> str:
    """The chat template's fingerprint from what it makes of `PROBE_MESSAGES`."""
    return hashlib.sha256(json.dumps(ids, separators=(",", ":")).encode()).hexdigest()


def opens_thinking(prompt: str) -> bool:
    """Whether a prompt, or its end, leaves the model within a thought."""
    return prompt.rstrip().endswith(THINK.start)


def root_of(base_url: str) -> str:
    """Where a server's routes outside of /v1 are."""
    return base_url.rstrip("/").removesuffix("/v1")


def shown(base_url: str) -> str:
    """An address without user name and password, for traces and screens."""
    scheme, separator, rest = base_url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}"


def headers_for(api_key_env: str) -> dict[str, str]:
    key = os.environ.get(api_key_env)
    return {"authorization": f"Bearer {key}"} if key else {}


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks to be left alone, by its `Retry-After`: seconds, or a date (RFC 9110, 10.2.3)."""
    said = headers.get("retry-after") or ""
    with suppress(ValueError):
        return max(0.0, float(said))
    with suppress(ValueError, TypeError):
        return max(0.0, parsedate_to_datetime(said).timestamp() - time.time())
    return None


@cache
def certificates() -> ssl.SSLContext:
    """Whom to trust. Reading it takes 20 ms, which a client otherwise does each time one is made."""
    import httpx

    return httpx.create_ssl_context()


def list_models(base_url: str, api_key_env: str = "OPENAI_API_KEY") -> list[str]:
    """The models that a server offers. Raises EngineError, EngineDown where nobody answers."""
    import httpx

    try:
        answer = httpx.get(f"{base_url.rstrip('/')}/models", timeout=LOOK_S, headers=headers_for(api_key_env))
        answer.raise_for_status()
        return [str(row["id"]) for row in answer.json()["data"]]
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as error:
        if isinstance(error, httpx.HTTPStatusError) and error.response.status_code == 401:
            raise EngineError(f"The server at {shown(base_url)} answered 401. {key_hint(api_key_env)}", 401) from error
        kind = EngineDown if isinstance(error, httpx.TransportError) else EngineError
        why = str(error).partition("\n")[0]  # the second line of httpx is a link for its authors
        raise kind(
            f"The server at {shown(base_url)} did not list its models ({why}). Is it running, and does the address "
            "end in /v1?"
        ) from error


def key_hint(api_key_env: str) -> str:
    """What to do about a 401."""
    if os.environ.get(api_key_env):
        return f"Is the key in {api_key_env} the right one?"
    return f"It wants a key: put it into {api_key_env}, or name the variable that has it with --api-key-env."


class Server:
    """A server's routes beside generation. `model` is the name that requests carry."""

    def __init__(self, base_url: str, model: str, api_key_env: str) -> None:
        self.base_url, self.model, self._api_key_env = base_url, model, api_key_env
        self._held, self._held_until = OWN_WEIGHTS, 0.0

    async def look(self) -> ServerInfo:
        """Raises EngineDown when nobody answers at all."""
        import httpx

        try:
            card = await self._card()
            kind = KINDS.get(str(card.get("owned_by", "")), "")
            if kind == "vllm":
                return await self._look_at_vllm(str(card.get("root") or ""))
            if kind == "llama.cpp":
                props = await self.json("GET", "/props")
                return self._by_template(kind, props.get("build_info"), props.get("chat_template"))
            if kind == "ollama":
                version = await self.json("GET", "/api/version")
                about = await self.json("POST", "/api/show", {"model": self.model})
                return self._by_template(kind, version.get("version"), about.get("template"))
            if kind == "sglang":
                said = await self.json("GET", "/server_info")
                said = said if "version" in said else await self.json("GET", "/get_server_info")  # its older name
                root = str(said.get("model_path") or card.get("root") or "")
                return ServerInfo(kind, str(said.get("version") or ""), markers=named(self.model) or named(root))
            if "/load_model" in str((await self.json("GET", "/openapi.json")).get("paths")):
                return await self._look_at_transformers()
            return ServerInfo()
        except httpx.TransportError as error:
            raise EngineDown(f"The server at {shown(self.base_url)} does not answer: {_why(error)}") from error

    def _by_template(self, kind: str, version: Any, template: Any) -> ServerInfo:
        text = template if isinstance(template, str) else ""
        return ServerInfo(kind, str(version or ""), _sha(text), markers=family_of(text.__contains__, text, self.model))

    async def _look_at_transformers(self) -> ServerInfo:
        """Of itself it says nothing; of a folder that this machine has too, the template can be read."""
        folder = Path(self.model)
        file = folder / "chat_template.jinja"
        text = file.read_text(encoding="utf-8") if file.is_file() else ""
        vocabulary = folder / "tokenizer.json"
        known = vocabulary.read_text(encoding="utf-8") if vocabulary.is_file() else ""
        markers = family_of(lambda token: json.dumps(token) in known, text, self.model)
        return ServerInfo("transformers", "", _sha(text), markers=markers, renders=bool(text))

    async def prompt_ids(self, messages: list[Message]) -> list[int]:
        """vLLM: a conversation as its chat template renders it. Raises EngineError."""
        return await self._tokens({"messages": messages, "add_generation_prompt": True})

    async def text_ids(self, text: str) -> list[int]:
        """vLLM: a text as token ids, nothing added."""
        return await self._tokens({"prompt": text, "add_special_tokens": False}) if text else []

    async def text_of(self, ids: list[int]) -> str:
        """vLLM: token ids as text."""
        answer = await self.json("POST", "/detokenize", {"model": self.model, "tokens": ids}, TOKENS_S)
        return str(answer.get("prompt", ""))

    async def weights(self) -> str:
        """vLLM: whose weights it has, asked every `HELD_S` seconds. Raises EngineDown."""
        import httpx

        asked = time.monotonic()
        if asked < self._held_until:
            return self._held
        try:
            self._held = str((await self.json("GET", "/weight_info")).get("weight_version", OWN_WEIGHTS))
            self._held_until = asked + HELD_S
            return self._held
        except httpx.TransportError as error:
            raise EngineDown(f"The server at {shown(self.base_url)} does not answer: {_why(error)}") from error

    async def _look_at_vllm(self, root: str) -> ServerInfo:
        version = str((await self.json("GET", "/version")).get("version", ""))
        rendered = await self.json("POST", "/tokenize", {"model": self.model, "messages": PROBE_MESSAGES})
        template = rendered_hash(rendered["tokens"]) if rendered.get("tokens") else ""
        # A marker that is one token belongs to the model's format; one that falls into pieces is unknown to it.
        asked = [STEP_END, IM_START, *dict.fromkeys(token for family in FAMILIES for token in family.tokens)]
        told = await self.json("POST", "/tokenize", {**self._text("".join(asked)), "return_token_strs": True})
        tokens = set(map(str, told.get("token_strs") or ())).intersection(asked)
        markers = family_of(tokens.__contains__)
        if markers is None and rendered.get("tokens"):
            # Marks that are plain text stand in the prompt: opened at its end, or explained to the model.
            prompt = await self.text_of(rendered["tokens"])
            names = (self.model, root)
            markers = next(filter(None, (family_of(tokens.__contains__, prompt or " ", name) for name in names)), None)
        opens = markers is THINK and opens_thinking(await self.text_of(rendered.get("tokens", [])[-8:]))
        body: dict[str, Any] = {"model": self.model, "prompt": "1", "max_tokens": 1}
        refused = json.dumps(await self.json("POST", "/v1/completions", {**body, "vllm_xargs": {PROBE: 1}}))
        within = await self.json("POST", "/v1/completions", {**body, "vllm_xargs": {}, "thinking_token_budget": 1})
        control = STEP_END in tokens and SIGNATURE in refused
        counts = markers is not None and countable(markers, tokens.__contains__) and "choices" in within
        reloads = "weight_version" in await self.json("GET", "/weight_info")
        return ServerInfo("vllm", version, template, control, markers, counts, opens=opens, reloads=reloads)

    def _text(self, text: str) -> dict[str, Any]:
        return {"model": self.model, "prompt": text, "add_special_tokens": False}

    async def _card(self) -> dict[str, Any]:
        """What the list of models says of this one; of the first, where it is not listed."""
        import httpx

        async with self._client() as client:
            answer = await client.get(f"{self.base_url.rstrip('/')}/models")
        try:
            rows = answer.json()["data"]
            found = next((r for r in rows if r.get("id") == self.model), rows[0])
            return found if isinstance(found, dict) else {}
        except (httpx.HTTPError, ValueError, KeyError, TypeError, IndexError, AttributeError):
            return {}

    async def _tokens(self, body: dict[str, Any]) -> list[int]:
        answer = await self.json("POST", "/tokenize", {"model": self.model, **body}, TOKENS_S)
        ids = answer.get("tokens")
        if not isinstance(ids, list):
            told = answer.get("error")
            status = told.get("code") if isinstance(told, dict) else None
            raise EngineError(
                f"The server at {shown(self.base_url)} did not turn the text into tokens: {answer}"[:500],
                status if isinstance(status, int) else None,
            )
        return ids

    async def json(self, method: str, path: str, body: Any = None, wait: float | None = None) -> dict[str, Any]:
        """The reply as an object, errors included; {} when it is none. Transport errors pass."""
        async with self._client(wait) as client:
            answer = await client.request(method, root_of(self.base_url) + path, json=body)
        try:
            found = answer.json()
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def _client(self, wait: float | None = None) -> Any:
        import httpx

        return httpx.AsyncClient(timeout=wait or LOOK_S, headers=headers_for(self._api_key_env), verify=certificates())


def _sha(text: Any) -> str:
    return hashlib.sha256(text.encode()).hexdigest() if isinstance(text, str) and text else ""


def _why(error: Exception) -> str:
    return str(error) or type(error).__name__
