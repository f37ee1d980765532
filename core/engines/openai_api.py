"""A served model behind an OpenAI-compatible route: vLLM, llama.cpp, Ollama, `transformers serve`, hosted APIs.

Reads reasoning wherever a server puts it (`delta.reasoning`, `delta.reasoning_content`, tags inside `delta.content`) and
hands on one text: reasoning in the model's own markers (`<think>` tags where nobody knows them), then the answer. Special tokens are
asked for, since Steiner's are part of the text. On vLLM a request that goes on from a text, or that takes back an end of thinking, is
sent as token ids to the completions route: rendered by the server's own chat template, then what was written; for other servers see
`rendered.py`. Step bounds need `core/control/vllm_steps.py` in the server, a thinking budget its reasoning configuration; what a server
cannot do is said in the trace's notes.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

from core.control import xargs
from core.control.bounds import STEP_END
from core.control.thinking import STEINER, THINK, in_marks
from core.engines.base import (
    OPENS_THINKING,
    Chunk,
    EngineBusy,
    EngineCut,
    EngineDown,
    EngineError,
    GenerateRequest,
    Thinking,
)
from core.engines.completions import Completions
from core.engines.refused import Refused
from core.engines.rendered import CHAT, OllamaEvents, going_on, without_opening
from core.engines.reply import Broken, Reply, read
from core.engines.sampling import Marks, ModelSize, Sampled, SampleRequest, whole_answers
from core.engines.server_info import OWN_WEIGHTS, Server, ServerInfo, key_hint, list_models, retry_after, shown
from core.engines.sse import Events, Swap

__all__ = ["OpenAIEngine", "list_models"]

CONNECT_S = 10.0
# A busy server queues a request before its first token; once a response flows, such a silence is a stall.
FIRST_TOKEN_S, SILENCE_S = 600.0, 120.0
BROKEN_OFF = ("abort", "error")  # finish reasons of a server that gave up
# While more responses than so many are under way, vLLM is not asked to count the tokens of each piece: at 64 that takes 2 to 3 % of
# its speed. A piece then counts as one token until the last event tells how many there were.
COUNTED = 8
# vLLM strips special tokens and puts blanks between them unless told otherwise; servers that do not know the keys and say
# so are asked again without them.
KEEP_TOKENS = {"skip_special_tokens": False, "spaces_between_special_tokens": False}
# vLLM takes what a request leaves out from the model's generation_config.json: what a trace says of its sampling would not
# be the whole truth.
NEUTRAL = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
PIECES = "This server told no token counts: each piece of text that it sent is counted as one token."
SCHEMA_IN_WORDS = "This server takes no JSON schema: the form of the answer was asked for in words."


class OpenAIEngine:
    """One server, one model. `base_url` as in `http://127.0.0.1:8000/v1`.

    served_as: its name there, where that is another. weights: whose weights the server must have, if it takes others while it runs
    (`weights.py`); the model's own by default.
    """

    takes_schema = True

    def __init__(
        self,
        base_url: str,
        model: str,
        api_key_env: str = "OPENAI_API_KEY",
        *,
        first_token_s: float = FIRST_TOKEN_S,
        silence_s: float = SILENCE_S,
        served_as: str | None = None,
        weights: str = OWN_WEIGHTS,
    ) -> None:
        self.model = model
        self.served_as, self.weights = served_as or model, weights
        self.base_url = base_url
        self.api_key_env = api_key_env
        self._first_token_s, self._silence_s = first_token_s, silence_s
        self._client: Any = None
        self._server = Server(base_url, self.served_as, api_key_env)
        self._completions = Completions(base_url, self.served_as, self._server, api_key_env)
        self._info: ServerInfo | None = None
        self._looking = asyncio.Lock()
        self._failed: tuple[float, EngineDown] | None = None  # the last look that found nobody, and when it ended
        self._refused = Refused()
        self._knows_schemas = True
        self._under_way = 0  # responses
        self.alone = True  # in a pool another server is asked sooner than this one again

    async def look(self) -> ServerInfo:
        """What the server is; asked once, and again after it was lost. Raises EngineDown, and EngineError where it has other weights now."""
        asked = time.monotonic()
        async with self._looking:
            if self._info is None:
                if (
                    self._failed and self._failed[0] >= asked
                ):  # while this waited: another look would be as long in vain
                    raise EngineDown(str(self._failed[1])) from self._failed[1]
                try:
                    self._info = await self._server.look()
                except EngineDown as failure:
                    self._failed = time.monotonic(), failure
                    raise
            info = self._info
        now = await self._server.weights() if info.reloads else OWN_WEIGHTS
        if now != self.weights:
            mend = f"put {self.model} to use again" if self.weights != OWN_WEIGHTS else "start it anew"
            raise EngineError(
                f"The server at {shown(self.base_url)} has "
                + ("its own weights again" if now == OWN_WEIGHTS else f"the weights of {now} now")
                + f", not those of {self.model}: {mend}, or ask another model."
            )
        return info

    async def stream(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        import httpx
        import openai

        at = f"The server at {shown(self.base_url)}"
        heard = False
        self._under_way += 1
        try:
            async with aclosing(self._respond(request)) as chunks:
                async for chunk in chunks:
                    heard = heard or bool(chunk.text)
                    yield chunk
        except TimeoutError:
            self._info = None
            wait = self._silence_s if heard else self._first_token_s
            raise EngineDown(f"{at} stalled: nothing came for {wait:g} s.") from None
        except (openai.APIConnectionError, httpx.HTTPError, Broken) as error:
            self._info = None
            how = "broke off in mid-answer" if heard else "does not answer"
            why = error if isinstance(error, Broken) else error.__cause__ or error
            raise EngineDown(f"{at} {how}: {str(why) or type(error).__name__}") from error
        except openai.RateLimitError as error:
            raise EngineBusy(
                f"{at} answered 429: {_reason(error)}", 429, retry_after(error.response.headers)
            ) from error
        except openai.APIStatusError as error:
            kind = EngineDown if error.status_code >= 500 else EngineError
            # vLLM: "maximum context length"; llama.cpp: "exceeds the available context size".
            mend = request.before.mend if "context" in _reason(error) else ""
            if error.status_code == 401:
                mend = f" {key_hint(self.api_key_env)}"
            said = _reason(error).rstrip(".") + "." if mend else _reason(error)
            raise kind(f"{at} answered {error.status_code}: {said}{mend}", error.status_code) from error
        except openai.OpenAIError as error:
            raise EngineDown(f"{at} failed: {error}") from error
        except (ValueError, TypeError, AttributeError) as error:  # not JSON, not the shape that the protocol promises
            raise EngineDown(f"{at} sent something that is not a reply: {error}") from error
        finally:
            self._under_way -= 1

    async def sample(self, request: SampleRequest) -> Sampled:
        """Continuations for a search: from vLLM as token ids, from other servers whole answers only."""
        info = await self.look()
        if not info.takes_ids:
            return await whole_answers(self, request)
        try:
            return await self._completions.sample(request, info)
        except EngineDown:
            self._info = None
            raise

    async def marks(self) -> Marks:
        """What this model's writing is cut at."""
        import httpx

        info = await self.look()
        if not info.takes_ids:
            return Marks()
        try:
            return await self._completions.marks(info)
        except httpx.HTTPError as error:
            self._info = None
            why = str(error) or type(error).__name__
            raise EngineDown(f"The server at {shown(self.base_url)} does not answer: {why}") from error

    async def size(self) -> ModelSize | None:
        return await self._completions.size()

    async def close(self) -> None:
        await self._completions.close()
        if self._client is not None:
            await self._client.close()

    # ---- one response, of one or more requests to the server

    async def _respond(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        info = await self.look()
        if request.prefix and not info.continues:
            raise EngineError(
                f"The server at {shown(self.base_url)} ({info.kind or 'of unknown kind'}) cannot go on from a given text; "
                "vLLM, SGLang, llama.cpp and Ollama can, and so can the models in this process. Ask anew instead."
            )
        notes = _not_applied(request, info)
        about: dict[str, Any] = {
            "server": info.kind or "OpenAI-compatible", "version": info.version or None, "endpoint": shown(self.base_url),
            "chat_template": info.chat_template or None,
        }  # fmt: skip
        if request.before.turns:
            saved, said = await self._saved(request, info)
            about |= {} if saved is None else {"saved_prompt_tokens": saved}
            notes += said
        about |= {"notes": notes} if notes else {}
        about |= {OPENS_THINKING: True} if info.opens else {}
        yield Chunk("", 0, about=about)
        answer = _Answer(request, info)
        waits = request.thinking.waits if info.takes_ids and info.markers else 0
        asked_waits = waits
        # A thought that was begun in `<think>` tags is ended in them, whatever the model writes.
        foreign = info.markers if answer.foreign and THINK.end not in request.prefix else None
        swap = Swap(foreign.end, THINK.end) if foreign else None
        while True:
            reply = Reply(info.markers or THINK)
            answer.requests += 1
            response, events = await self._ask_by_schema(request, info, answer, waits)
            if said := self._not_taken(request):
                yield Chunk("", 0, about={**about, "notes": [*notes, *said]})
            async with aclosing(read(response, events, reply, self._first_token_s, self._silence_s)) as chunks:
                async for chunk in chunks:
                    answer.text.append(chunk.text)
                    answer.tokens += chunk.tokens
                    answer.thinking_used += chunk.tokens
                    # A second request reads the answer so far as well; that is not the prompt.
                    seen = chunk if answer.requests == 1 else replace(chunk, prompt_tokens=0)
                    yield replace(seen, text=swap.feed(seen.text)) if swap else seen
            if told := {name: value for name, value in reply.told.items() if value != self.served_as}:
                yield Chunk("", 0, about=told)
            if reply.counted and not reply.usage:
                yield Chunk("", 0, about={"notes": [PIECES]})
            if reply.finish is None:
                raise EngineDown(f"The server at {shown(self.base_url)} ended its answer without saying why.")
            if reply.finish in BROKEN_OFF or reply.finish == "content_filter":
                if swap:
                    yield Chunk(swap.close(), 0)
                kind = EngineDown if reply.finish in BROKEN_OFF else EngineCut
                raise kind(f'The server at {shown(self.base_url)} cut its answer off with the reason "{reply.finish}".')
            if not waits or not info.markers or reply.stopped_at != info.markers.end:
                break
            # The end of thinking was reached and left out by the server: take it back, or put it down for good.
            waits = 0 if answer.must_end() else waits - 1
            instead = info.markers.end if answer.must_end() else info.markers.wait
            answer.text.append(instead)
            yield Chunk(swap.feed(instead) if swap else instead, 0)  # the end that it stands for was counted
            if answer.tokens >= request.sampling.max_tokens:
                reply.finish = "length"
                break
        if asked_waits and answer.requests == 1 and reply.finish == "stop":
            unmet = '"Wait" was not put: the model ended without an end of thinking that could be taken back.'
            yield Chunk("", 0, about={"notes": [unmet]})
        yield Chunk(swap.close() if swap else "", 0, finish_reason=answer.finish(reply.finish))

    def _not_taken(self, request: GenerateRequest) -> list[str]:
        """What had to be left out of the request, as sentences."""
        in_words = [SCHEMA_IN_WORDS] if request.schema is not None and not self._knows_schemas else []
        return [*in_words, *self._refused.sentences(request.sampling)]

    async def _saved(self, request: GenerateRequest, info: ServerInfo) -> tuple[int | None, list[str]]:
        """Prompt tokens that summaries of the earlier turns save, by the server's own tokenizer; None where it has none."""
        if info.kind != "vllm":
            where = f"The server at {shown(self.base_url)} ({info.kind or 'of unknown kind'})"
            return None, [f"{where} counts no tokens of a text for us: what summaries save in the prompt is not known."]
        try:
            full = await self._server.prompt_ids(request.before.messages(request.prompt, "full"))
            summaries = await self._server.prompt_ids(request.before.messages(request.prompt, "summaries"))
        except EngineError as error:
            return None, [f"What summaries of the earlier turns save could not be counted: {error}"]
        return request.before.saved(len(full), len(summaries))

    async def _ask_by_schema(self, request: GenerateRequest, info: ServerInfo, answer: _Answer, waits: int) -> Any:
        """A server that refuses a JSON schema is asked again with the schema in the question's words."""
        import openai

        if request.schema is None:
            return await self._ask(request, info, answer, waits)
        if self._knows_schemas:
            try:
                return await self._ask(request, info, answer, waits)
            except (openai.BadRequestError, openai.UnprocessableEntityError):
                pass  # of the schema, or of something else: then it refuses again
        schema = json.dumps(request.schema, separators=(",", ":"))
        words = f"{request.prompt}\n\nAnswer with JSON by this schema and with nothing else:\n{schema}"
        stream = await self._ask(replace(request, prompt=words, schema=None), info, answer, waits)
        self._knows_schemas = False
        return stream

    async def _ask(self, request: GenerateRequest, info: ServerInfo, answer: _Answer, waits: int) -> Any:
        """A reply of the server, and what reads it."""
        sampling = request.sampling
        arguments: dict[str, Any] = {
            "model": self.served_as, "stream": True, "temperature": sampling.temperature, "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens - answer.tokens, "stream_options": {"include_usage": True},
        }  # fmt: skip
        if sampling.seed is not None:
            arguments["seed"] = sampling.seed
        if request.schema is not None:
            wanted = {"name": "answer", "strict": True, "schema": dict(request.schema)}
            arguments["response_format"] = {"type": "json_schema", "json_schema": wanted}
        if info.kind != "vllm":
            return await self._ask_other(request, info, answer, arguments)

        extra: dict[str, Any] = {**KEEP_TOKENS, **NEUTRAL}
        arguments["stream_options"] = {"include_usage": True, "continuous_usage_stats": self._under_way <= COUNTED}
        if request.thinking.budget is not None and info.budget:
            extra["thinking_token_budget"] = request.thinking.budget
        if info.step_control:
            extra["vllm_xargs"] = {
                xargs.MIN: request.bounds.min_steps, xargs.MAX: request.bounds.max_steps,
            }  # fmt: skip
        if not (request.prefix or waits or answer.requests > 1):
            arguments["messages"] = request.messages
            return await self._post(CHAT, {**arguments, **extra}), Events()
        prompt = await self._server.prompt_ids(request.messages)
        written = await self._written(answer, prompt)
        if info.step_control:
            extra["vllm_xargs"][xargs.PREFIX] = len(written)
        answer.thinking_used = max(0, len(written) - 1)
        if waits and info.markers:
            arguments["stop"] = [info.markers.end]
        return await self._post("/completions", {**arguments, **extra, "prompt": [*prompt, *written]}), Events()

    async def _ask_other(
        self, request: GenerateRequest, info: ServerInfo, answer: _Answer, arguments: dict[str, Any]
    ) -> tuple[Any, Events | OllamaEvents]:
        """A server that is not vLLM: by the chat route, or by what goes on from a text; again without what it refuses by name."""
        extra: dict[str, Any] = dict(KEEP_TOKENS)
        if info.kind == "sglang":
            extra["separate_reasoning"] = False  # its text is then the model's own, markers and all
        if info.kind == "llama.cpp":
            extra |= {"top_k": 0, "min_p": 0.0}  # both are on unless told otherwise
        reader: Events | OllamaEvents = Events()
        route, body = CHAT, {**arguments, "messages": request.messages}
        if request.prefix:
            route, body, reader = await going_on(self._server, info, request.messages, "".join(answer.text), arguments)
        extra = {} if isinstance(reader, OllamaEvents) else extra
        return await self._refused.asked(lambda sent: self._post(route, sent), body, extra), reader

    async def _post(self, route: str, body: dict[str, Any]) -> Any:
        """The reply's bytes, for `sse.Events`: the client sends, tries again and says what was refused, but does not read."""
        from openai import AsyncStream

        options = {"max_retries": 1 if self.alone else 0}
        asked = self._open().post(
            route, body=body, cast_to=object, options=options, stream=True, stream_cls=AsyncStream[object]
        )
        return (await asked).response

    async def _written(self, answer: _Answer, prompt: list[int]) -> list[int]:
        """What was written so far, as ids. An opening tag that stands in the prompt already is not said twice."""
        text, markers = "".join(answer.text), answer.info.markers
        if markers is not None and text.startswith(markers.start):
            text = without_opening(text, await self._server.text_of(prompt[-8:]), markers)
        return await self._server.text_ids(text)

    def _open(self) -> Any:
        if self._client is None:
            from openai import AsyncOpenAI, DefaultAioHttpClient, Timeout

            # aiohttp hands on at once all that has come; httpx brings each event by itself, at twice the cost of a token.
            self._client = AsyncOpenAI(
                base_url=self.base_url, api_key=os.environ.get(self.api_key_env) or "none", max_retries=1,
                timeout=Timeout(self._first_token_s, connect=CONNECT_S), http_client=DefaultAioHttpClient(),
            )  # fmt: skip
        return self._client


@dataclass
class _Answer:
    """The response as it grows over one or more requests."""

    request: GenerateRequest
    info: ServerInfo
    text: list[str] = field(default_factory=list)
    requests: int = 0
    tokens: int = 0
    thinking_used: int = 0  # at least: the markers themselves are counted as well

    def __post_init__(self) -> None:
        self.text.append(in_marks(self.request.prefix, self.info.markers))

    @property
    def foreign(self) -> bool:
        """Whether the text to go on from has other markers than the model."""
        return self.text[0] != self.request.prefix

    def must_end(self) -> bool:
        """Whether an end of thinking stands: the budget or the maximum of steps is used up."""
        budget = self.request.thinking.budget
        return self._at_most_steps() or (budget is not None and self.thinking_used >= budget)

    def finish(self, reason: str) -> str:
        """The trace's finish reason from the server's."""
        if reason == "length":
            return "length"
        ended = STEINER.end in "".join(self.text)
        return "step_limit" if ended and self._at_most_steps() else "stop"

    def _at_most_steps(self) -> bool:
        if not self.info.step_control:
            return False
        reasoning = "".join(self.text).partition(STEINER.end)[0]
        return reasoning.count(STEP_END) >= self.request.bounds.max_steps


def _not_applied(request: GenerateRequest, info: ServerInfo) -> list[str]:
    """A sentence for each wish that this server cannot fulfil."""
    notes = []
    if not info.step_control and request.schema is None:
        why = "this server has no step control. `worldline serve` starts vLLM with it; it bounds models that write Steiner's format."
        if info.markers not in (None, STEINER):  # no server would
            why = "they bound models that write Steiner's format, and this one does not."
            why += " A thinking budget bounds it." if info.budget else ""
        bounds = request.bounds
        notes.append(f"The step limits ({bounds.min_steps} to {bounds.max_steps}) were not applied: {why}")
    if request.thinking != Thinking() and info.kind != "vllm":
        notes.append('Thinking budget and "Wait" were not applied: this server is not vLLM.')
    elif request.thinking != Thinking() and info.markers is None:
        notes.append('Thinking budget and "Wait" were not applied: this model does not mark its thinking.')
    elif request.thinking.budget is not None and not info.budget:
        notes.append(
            "The thinking budget was not applied: this server was started without --reasoning-config, which `worldline serve` gives "
            "it where the model's marks are tokens of it."
        )
    return notes


def _reason(error: Any) -> str:
    body = error.body
    if isinstance(body, dict):
        return str(body.get("message") or body)[:500]
    return str(body or error)[:500]
