"""What an OpenAI-compatible server is: its kind, version, chat template, and which control it offers.

Asked once a server, by routes that cost it nothing; what cannot be found out stays empty. Knows no request and no trace.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from typing import Any

from core.control.bounds import STEP_END
from core.control.thinking import STEINER, THINK, Markers
from core.control.xargs import PROBE, SIGNATURE
from core.engines.base import EngineDown, EngineError
from core.turns import Message

LOOK_S = 10.0
# Text becomes tokens in the process that serves everybody: among a hundred requests on a busy machine that waits its turn.
TOKENS_S = 300.0
# `owned_by` in the list of models names the program on these servers.
KINDS = {"vllm": "vllm", "llamacpp": "llama.cpp", "library": "ollama", "sglang": "sglang"}
# A chat template is told from another by what it makes of this conversation.
PROBE_MESSAGES = [{"role": "user", "content": "Reach 24 from 4, 7, 8 and 8."}]


@dataclass(frozen=True)
class ServerInfo:
    """kind: vllm, llama.cpp, ollama, sglang, or "" for any other. `chat_template` is a SHA-256, "" where unknown.

    For vLLM (and the engine in our process) it is that of the token ids, as JSON, that the template makes of
    `PROBE_MESSAGES`, since vLLM does not show the template; for llama.cpp and Ollama that of the template's text.
    """

    kind: str = ""
    version: str = ""
    chat_template: str = ""
    step_control: bool = False
    markers: Markers = THINK

    @property
    def continues(self) -> bool:
        """Whether it can go on from a given text: that needs its chat template, rendered by itself, as token ids."""
        return self.kind == "vllm"


def rendered_hash(ids: list[int]) -> str:
    """The chat template's fingerprint from what it makes of `PROBE_MESSAGES`."""
    return hashlib.sha256(json.dumps(ids, separators=(",", ":")).encode()).hexdigest()


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


def list_models(base_url: str, api_key_env: str = "OPENAI_API_KEY") -> list[str]:
    """The models that a server offers. Raises EngineError, EngineDown where nobody answers."""
    import httpx

    try:
        answer = httpx.get(f"{base_url.rstrip('/')}/models", timeout=LOOK_S, headers=headers_for(api_key_env))
        answer.raise_for_status()
        return [str(row["id"]) for row in answer.json()["data"]]
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as error:
        kind = EngineDown if isinstance(error, httpx.TransportError) else EngineError
        raise kind(
            f"The server at {shown(base_url)} did not list its models ({error}). Is it running, and does the address "
            "end in /v1?"
        ) from error


class Server:
    """A server's routes beside generation. `model` is the name that requests carry."""

    def __init__(self, base_url: str, model: str, api_key_env: str) -> None:
        self.base_url, self.model, self._api_key_env = base_url, model, api_key_env

    async def look(self) -> ServerInfo:
        """Raises EngineDown when nobody answers at all."""
        import httpx

        try:
            kind = KINDS.get(await self._owner(), "")
            if kind == "vllm":
                return await self._look_at_vllm()
            if kind == "llama.cpp":
                props = await self._json("GET", "/props")
                template = props.get("chat_template", "")
                return ServerInfo(kind, str(props.get("build_info", "")), _sha(template))
            if kind == "ollama":
                version = await self._json("GET", "/api/version")
                about = await self._json("POST", "/api/show", {"model": self.model})
                return ServerInfo(kind, str(version.get("version", "")), _sha(about.get("template", "")))
            return ServerInfo(kind)
        except httpx.TransportError as error:
            raise EngineDown(f"The server at {shown(self.base_url)} does not answer: {_why(error)}") from error

    async def prompt_ids(self, messages: list[Message]) -> list[int]:
        """vLLM: a conversation as its chat template renders it. Raises EngineError."""
        return await self._tokens({"messages": messages, "add_generation_prompt": True})

    async def text_ids(self, text: str) -> list[int]:
        """vLLM: a text as token ids, nothing added."""
        return await self._tokens({"prompt": text, "add_special_tokens": False}) if text else []

    async def text_of(self, ids: list[int]) -> str:
        """vLLM: token ids as text."""
        answer = await self._json("POST", "/detokenize", {"model": self.model, "tokens": ids}, TOKENS_S)
        return str(answer.get("prompt", ""))

    async def _look_at_vllm(self) -> ServerInfo:
        version = str((await self._json("GET", "/version")).get("version", ""))
        rendered = await self._json("POST", "/tokenize", {"model": self.model, "messages": PROBE_MESSAGES})
        template = rendered_hash(rendered["tokens"]) if rendered.get("tokens") else ""
        # A marker that is one token belongs to the model's format; one that falls into pieces is unknown to it.
        steiner = len((await self._json("POST", "/tokenize", self._text(STEINER.end))).get("tokens", ())) == 1
        steps = len((await self._json("POST", "/tokenize", self._text(STEP_END))).get("tokens", ())) == 1
        body = {"model": self.model, "prompt": "1", "max_tokens": 1, "vllm_xargs": {PROBE: 1}}
        refused = json.dumps(await self._json("POST", "/v1/completions", body))
        return ServerInfo("vllm", version, template, steps and SIGNATURE in refused, STEINER if steiner else THINK)

    def _text(self, text: str) -> dict[str, Any]:
        return {"model": self.model, "prompt": text, "add_special_tokens": False}

    async def _owner(self) -> str:
        import httpx

        async with self._client() as client:
            answer = await client.get(f"{self.base_url.rstrip('/')}/models")
        try:
            rows = answer.json()["data"]
            return str(next((r for r in rows if r.get("id") == self.model), rows[0]).get("owned_by", ""))
        except (httpx.HTTPError, ValueError, KeyError, TypeError, IndexError, AttributeError):
            return ""

    async def _tokens(self, body: dict[str, Any]) -> list[int]:
        answer = await self._json("POST", "/tokenize", {"model": self.model, **body}, TOKENS_S)
        ids = answer.get("tokens")
        if not isinstance(ids, list):
            told = answer.get("error")
            status = told.get("code") if isinstance(told, dict) else None
            raise EngineError(
                f"The server at {shown(self.base_url)} did not turn the text into tokens: {answer}"[:500],
                status if isinstance(status, int) else None,
            )
        return ids

    async def _json(self, method: str, path: str, body: Any = None, wait: float | None = None) -> dict[str, Any]:
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

        return httpx.AsyncClient(timeout=wait or LOOK_S, headers=headers_for(self._api_key_env))


def _sha(text: Any) -> str:
    return hashlib.sha256(text.encode()).hexdigest() if isinstance(text, str) and text else ""


def _why(error: Exception) -> str:
    return str(error) or type(error).__name__
