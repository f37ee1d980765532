"""Continuations for a search from a vLLM server: token ids in, token ids out, all of one text in one request.

The question is rendered once by the server's own chat template; from there on nothing is turned into tokens again. Knows no
stream and no trace.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from core.control.bounds import STEP_END
from core.engines import vllm_rules
from core.engines.base import EngineBusy, EngineDown, EngineError
from core.engines.sampling import STEP_TEXT, Marks, ModelSize, Sample, Sampled, SampleRequest, size_of
from core.engines.server_info import Server, ServerInfo, certificates, headers_for, retry_after, shown
from core.pretrained import library

KEPT_PROMPTS = 4096
# A search asks for short pieces; a server that is this long silent has a queue that no search should wait in.
TIMEOUT_S = 600.0
TOKEN_S = 0.5  # and so long for each token: a whole answer comes when all of it is written
# The server lets go of a silent connection after 5 s; on a busy machine one must not count on it for so long.
KEPT_S = 2.0


class Completions:
    """The completions route of one server, for one model."""

    def __init__(self, base_url: str, model: str, server: Server, api_key_env: str) -> None:
        self.base_url, self.model = base_url.rstrip("/"), model
        self._server, self._key_env = server, api_key_env
        # vLLM queues what it cannot run at once, so each request under way has a connection, and each connection a client of its own:
        # httpx looks through all connections of a client for each request, which with a hundred took longer than the requests.
        self._idle: list[Any] = []
        self._ids: dict[str, tuple[int, ...]] = {}
        self._ends: dict[int, str] = {}  # end tokens as text
        self._size: ModelSize | None = None
        self._sized = False

    async def sample(self, request: SampleRequest, info: ServerInfo) -> Sampled:
        """Raises EngineError, EngineDown where the server is the cause."""
        import httpx

        at = f"The server at {shown(self.base_url)}"
        try:
            return await self._sample(request, info)
        except httpx.TimeoutException as error:
            wait = error.request.extensions.get("timeout", {}).get("read") or TIMEOUT_S
            raise EngineDown(f"{at} stalled: nothing came for {wait:g} s.") from None
        except httpx.HTTPError as error:
            raise EngineDown(f"{at} broke off: {error or type(error).__name__}") from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise EngineDown(f"{at} sent something that is not a reply: {error}") from error

    async def marks(self, info: ServerInfo) -> Marks:
        steps = info.step_control or await self._one_token(STEP_END)
        # An end of thinking that is one token belongs to the model's format; one that falls into pieces is unknown to it.
        thinks = info.markers if info.markers and await self._one_token(info.markers.end) else None
        end, wait = (thinks.end, thinks.wait) if thinks else ("", "")
        return Marks(STEP_END if steps else STEP_TEXT, end, wait)

    async def size(self) -> ModelSize | None:
        """Only where the server names a folder of this machine: no route of vLLM tells a model's shape."""
        if not self._sized:
            self._size, self._sized = await self._look_for_size(), True
        return self._size

    async def close(self) -> None:
        while self._idle:
            await self._idle.pop().aclose()

    async def _sample(self, request: SampleRequest, info: ServerInfo) -> Sampled:
        question = await self._known(request.prompt, "prompt")
        insert = await self._known(request.insert, "text") if request.insert else ()
        written = [*request.written, *insert]
        sampling = request.sampling
        # A greedy draw is the same n times, and vLLM refuses to make it so.
        n = request.n if sampling.temperature > 0 else 1
        body: dict[str, Any] = {
            "model": self.model, "prompt": [*question, *written], "n": n, "temperature": sampling.temperature,
            "top_p": sampling.top_p, "max_tokens": sampling.max_tokens, "return_token_ids": True,
            "skip_special_tokens": False, "spaces_between_special_tokens": False,
            "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0,
        }  # fmt: skip
        if sampling.seed is not None:
            body["seed"] = sampling.seed % 2**63
        # A mark that is one token is left to the engine: a stop text is looked for outside of it, which has by then begun
        # the next token, and has to be told to let go.
        marks = {text: (await self._known(text, "text")) for text in request.stop}
        single = [ids[0] for ids in marks.values() if len(ids) == 1]
        if request.stop:
            texts = [text for text, ids in marks.items() if len(ids) != 1]
            body |= {"stop": texts, "stop_token_ids": single, "include_stop_str_in_output": request.keep_stop}
        if info.step_control:
            told = vllm_rules.bounds(request, written, (await self._known(STEP_END, "text"))[0])
            body |= {"vllm_xargs": told} if told else {}
        # A model that marks its thinking may do so with tokens that stand for no text, and a grammar would forbid them.
        if request.form and info.markers is None:
            body["structured_outputs"] = {"regex": request.form}
        answer = await self._post("/completions", body, max(TIMEOUT_S, sampling.max_tokens * TOKEN_S))
        usage = answer["usage"]
        details = usage.get("prompt_tokens_details") or {}
        samples = [
            await self._without_end(_sample(choice, request, insert, single), request) for choice in answer["choices"]
        ]
        if len(samples) == 1 and request.n > 1:
            samples += [replace(samples[0], tokens=0)] * (request.n - 1)  # written once, and charged once
        return Sampled(tuple(samples), usage["prompt_tokens"], details.get("cached_tokens") or 0)

    async def _without_end(self, sample: Sample, request: SampleRequest) -> Sample:
        if not vllm_rules.keeps_end_text(request, sample):
            return sample
        last = sample.ids[-1]
        if last not in self._ends:
            self._ends[last] = await self._server.text_of([last])
        return replace(sample, text=sample.text.removesuffix(self._ends[last]))

    async def _known(self, text: str, kind: str) -> tuple[int, ...]:
        """Ids of a question or of a text, asked once."""
        key = f"{kind} {text}"
        if key not in self._ids:
            if len(self._ids) >= KEPT_PROMPTS:
                self._ids.clear()
            asked = (
                self._server.prompt_ids([{"role": "user", "content": text}])
                if kind == "prompt"
                else self._server.text_ids(text)
            )
            self._ids[key] = tuple(await asked)
        return self._ids[key]

    async def _one_token(self, text: str) -> bool:
        return len(await self._known(text, "text")) == 1

    async def _look_for_size(self) -> ModelSize | None:
        try:
            async with self._connection() as client:
                listed = (await client.get(f"{self.base_url}/models")).json()["data"]
            root = Path(next(row for row in listed if row["id"] == self.model)["root"])
            return (
                size_of(library().AutoConfig.from_pretrained(root), root) if (root / "config.json").is_file() else None
            )
        except Exception:  # whatever a server says here, a search can do without
            return None

    async def _post(self, route: str, body: dict[str, Any], wait: float) -> dict[str, Any]:
        import httpx
        import orjson

        sent: dict[str, Any] = {
            "content": orjson.dumps(body), "headers": {"content-type": "application/json"},
            "timeout": httpx.Timeout(TIMEOUT_S, read=wait),
        }  # fmt: skip
        try:
            async with self._connection() as client:
                answer = await client.post(self.base_url + route, **sent)
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
            # The server let go of a silent connection in the moment it was used again. If it is gone, the second try says so.
            async with self._connection(fresh=True) as client:
                answer = await client.post(self.base_url + route, **sent)
        if answer.status_code >= 400:
            said = f"The server at {shown(self.base_url)} answered {answer.status_code}: {_reason(answer.text)}"
            if answer.status_code == 429:
                raise EngineBusy(said, 429, retry_after(answer.headers))
            raise (EngineDown if answer.status_code >= 500 else EngineError)(said, answer.status_code)
        found = orjson.loads(answer.content)
        if not isinstance(found, dict):
            raise ValueError("the reply is not an object")
        return found

    @asynccontextmanager
    async def _connection(self, fresh: bool = False) -> AsyncIterator[Any]:
        import httpx

        client = self._idle.pop() if self._idle and not fresh else httpx.AsyncClient(
            timeout=TIMEOUT_S, limits=httpx.Limits(max_connections=1, keepalive_expiry=KEPT_S), verify=certificates(),
            headers=headers_for(self._key_env),
        )  # fmt: skip
        try:
            yield client
        finally:
            self._idle.append(client)


def _sample(choice: dict[str, Any], request: SampleRequest, insert: tuple[int, ...], marks: Sequence[int]) -> Sample:
    ids = choice.get("token_ids")
    if ids is None:
        raise ValueError("it has no token ids; vLLM 0.32 or newer sends them")
    reason = choice["finish_reason"]
    if reason not in ("length", "stop"):
        raise EngineDown(f"vLLM ended a request as {reason!r}, without an answer")
    return vllm_rules.piece(request, choice["text"] or "", ids, reason, choice.get("stop_reason"), marks, insert)


def _reason(text: str) -> str:
    try:
        told = json.loads(text)
        error = told.get("error", told)
        return str(error.get("message", error) if isinstance(error, dict) else error)[:500]
    except (ValueError, AttributeError):
        return text[:500]
