"""A served model behind an OpenAI-compatible chat route: vLLM, llama.cpp, Ollama, `transformers serve`, hosted APIs.

Reads reasoning wherever a server puts it (`delta.reasoning`, `delta.reasoning_content`, tags inside `delta.content`) and
hands on one text: reasoning in `<think>` tags, then the answer. Special tokens are asked for, since Steiner's are part of the
text. Step bounds need control inside the server and are not applied here; the token limit is.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from typing import Any

from core.engines.base import Chunk, EngineError, GenerateRequest

CONNECT_S, SILENCE_S = 10.0, 120.0
# vLLM strips special tokens and puts blanks between them unless told otherwise; servers that do not know the keys and say
# so are asked again without them.
KEEP_TOKENS = {"skip_special_tokens": False, "spaces_between_special_tokens": False}


class OpenAIEngine:
    """One server, one model. `base_url` as in `http://127.0.0.1:8000/v1`."""

    def __init__(self, base_url: str, model: str, api_key_env: str = "OPENAI_API_KEY") -> None:
        self.model = model
        self.base_url = base_url
        self._api_key_env = api_key_env
        self._client: Any = None
        self._extra: dict[str, Any] = dict(KEEP_TOKENS)

    def _open(self) -> Any:
        if self._client is None:
            from openai import AsyncOpenAI, Timeout

            self._client = AsyncOpenAI(
                base_url=self.base_url, api_key=os.environ.get(self._api_key_env) or "none", max_retries=1,
                timeout=Timeout(SILENCE_S, connect=CONNECT_S),
            )  # fmt: skip
        return self._client

    async def stream(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        import openai

        try:
            stream = await self._ask(request)
            async for chunk in self._read(stream):
                yield chunk
        except openai.APIConnectionError as error:
            raise EngineError(f"The server at {self.base_url} does not answer: {error}") from error
        except openai.APIStatusError as error:
            raise EngineError(
                f"The server at {self.base_url} answered {error.status_code}: {_reason(error)}"
            ) from error
        except openai.OpenAIError as error:
            raise EngineError(f"The server at {self.base_url} failed: {error}") from error
        except ValueError as error:  # not JSON, not the shape that the protocol promises
            raise EngineError(f"The server at {self.base_url} sent something that is not a reply: {error}") from error

    async def _ask(self, request: GenerateRequest) -> Any:
        import openai

        sampling = request.sampling
        arguments: dict[str, Any] = {
            "model": self.model, "messages": [{"role": "user", "content": request.prompt}], "stream": True,
            "temperature": sampling.temperature, "top_p": sampling.top_p, "max_tokens": sampling.max_tokens,
            "stream_options": {"include_usage": True},
        }  # fmt: skip
        if sampling.seed is not None:
            arguments["seed"] = sampling.seed
        try:
            return await self._open().chat.completions.create(**arguments, extra_body=self._extra)
        except openai.BadRequestError:
            if not self._extra:
                raise
            answer = await self._open().chat.completions.create(**arguments)
            self._extra = {}
            return answer

    async def _read(self, stream: Any) -> AsyncGenerator[Chunk, None]:
        thinking, finish = False, None
        counted = 0
        try:
            async for part in stream:
                usage = part.usage
                if not part.choices:
                    if usage is not None:
                        missing = max(0, (usage.completion_tokens or 0) - counted)
                        counted += missing
                        yield Chunk("", missing, prompt_tokens=usage.prompt_tokens or 0)
                    continue
                choice = part.choices[0]
                delta = choice.delta
                reasoning = getattr(delta, "reasoning", None) or getattr(delta, "reasoning_content", None) or ""
                content = delta.content or ""
                text = ""
                if reasoning:
                    text += reasoning if thinking else f"<think>{reasoning}"
                    thinking = True
                if content:
                    text += f"</think>{content}" if thinking else content
                    thinking = False
                if text:
                    counted += 1
                    yield Chunk(text, 1)
                finish = choice.finish_reason or finish
        finally:
            await stream.close()
        if finish is not None:
            yield Chunk("", 0, finish_reason="length" if finish == "length" else "stop")

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()


def list_models(base_url: str, api_key_env: str = "OPENAI_API_KEY") -> list[str]:
    """The models that a server offers. Raises EngineError."""
    import httpx

    key = os.environ.get(api_key_env)
    try:
        answer = httpx.get(
            f"{base_url.rstrip('/')}/models",
            timeout=CONNECT_S,
            headers={"authorization": f"Bearer {key}"} if key else {},
        )
        answer.raise_for_status()
        return [str(row["id"]) for row in answer.json()["data"]]
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        raise EngineError(
            f"The server at {base_url} did not list its models ({error}). Is it running, and does the address end in /v1?"
        ) from error


def _reason(error: Any) -> str:
    body = error.body
    if isinstance(body, dict):
        return str(body.get("message") or body)[:500]
    return str(body or error)[:500]
