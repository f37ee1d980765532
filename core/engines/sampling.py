"""The protocol of search: several continuations of one text at once, as token ids, each with how it ended.

Streaming (`base.Engine`) is for a reader; this is for a search, which wants whole pieces, many of them, and never
has a text turned into tokens twice. Knows neither torch nor HTTP.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
from collections.abc import Container, Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

from core.control.bounds import STEP_END
from core.control.thinking import FAMILIES
from core.engines.base import Bounds, Engine, EngineCut, EngineError, GenerateRequest, Sampling

T = TypeVar("T")

# A step ends in one of three ways that must never be taken for each other: at its delimiter, where the model ended its
# answer, or where the tokens it might use were used up.
PieceEnd = Literal["step", "eos", "length"]
STEP_TEXT = "\n\n"  # what ends a step of a model whose format has no mark of its own


@dataclass
class Report:
    """What a cancelled request had come to: the engine fills it in before the cancelled call ends. Samples that were not finished end by
    their length; None: the engine cannot say."""

    sampled: Sampled | None = None


@dataclass(frozen=True)
class SampleRequest:
    """`n` continuations of what was `written` in answer to `prompt`.

    written: token ids, of this model. insert: text that is put after them first, and belongs to every continuation.
    stop: a continuation ends after any of these texts, which stay in it unless `keep_stop` is false; none: it goes on to its end.
    form: a regular expression that a whole answer must match, held to by engines that can; the others are asked in words alone.
    The continuations' seeds are `sampling.seed`, + 1, + 2, …; `sampling.max_tokens` is for each. report: for who asks, if the request is
    cancelled.
    """

    prompt: str
    written: tuple[int, ...] = ()
    n: int = 1
    sampling: Sampling = field(default_factory=Sampling)
    bounds: Bounds = field(default_factory=lambda: Bounds(0, 10_000))
    stop: tuple[str, ...] = ()
    keep_stop: bool = True
    insert: str = ""
    form: str = ""
    report: Report = field(default_factory=Report, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"n is {self.n}; at least one continuation must be asked for")


@dataclass(frozen=True)
class Sample:
    """One continuation. `ids` include those of the inserted text and of an end token, `tokens` is what was generated."""

    text: str
    ids: tuple[int, ...]
    end: PieceEnd
    tokens: int


@dataclass(frozen=True)
class Sampled:
    """What one request gave. The prompt (with what was written) is read once for all, or in `readings` equal parts of
    `prompt_tokens`; `cached_tokens` of it were known."""

    samples: tuple[Sample, ...]
    prompt_tokens: int
    cached_tokens: int = 0
    readings: int = 1


@dataclass(frozen=True)
class Marks:
    """What a model's writing is cut at. step_end: after it a step has ended. thinking_end: ends its thinking, "" where nothing does;
    wait: what takes that end's place when it is taken back."""

    step_end: str = STEP_TEXT
    thinking_end: str = ""
    wait: str = ""

    @classmethod
    def of(cls, vocabulary: Container[str]) -> Marks:
        """Those of them that are tokens of a model."""
        family = next((f for f in FAMILIES if f.end in vocabulary), None)
        step = STEP_END if STEP_END in vocabulary else STEP_TEXT
        return cls(step, family.end if family else "", family.wait if family else "")


@dataclass(frozen=True)
class ModelSize:
    """What a token costs. parameters: those every token is multiplied with; width: attention heads × head width. tokens: tells whose
    tokens are the same, "" where it is not known."""

    parameters: int
    layers: int
    width: int
    tokens: str = field(default="", compare=False)

    def flops(self, tokens: int, before: int) -> float:
        """FLOPs of `tokens` tokens after `before` others: 2 a parameter, and for attention 4 · layers · width for each
        token that is seen (Kaplan et al. 2020, table 1, with the true context instead of its maximum)."""
        seen = tokens * before + tokens * (tokens + 1) / 2
        return 2.0 * self.parameters * tokens + 4.0 * self.layers * self.width * seen


# Of what reads and writes nothing, such as an exact rule.
FREE = ModelSize(0, 0, 0)


def size_of(config: Any, folder: Path) -> ModelSize:
    """From a model's configuration and its weights' headers: nothing is loaded. Of experts those count that a token goes through.
    Raises OSError without weights."""
    from safetensors import safe_open

    total = experts = 0
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "numpy") as weights:
            for name in weights.keys():  # noqa: SIM118 — not a dict
                # An embedding table is looked up, not multiplied; a tied one is the output table too.
                if "embed_tokens" in name and not config.tie_word_embeddings:
                    continue
                shape = weights.get_slice(name).get_shape()
                if ".experts." in name:  # a shared expert has another name
                    experts += math.prod(shape)
                else:
                    total += math.prod(shape)
    total += round(experts * _share_of_experts(config))
    if not total:
        raise OSError(f"there are no weights (*.safetensors) in {folder}")
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return ModelSize(total, config.num_hidden_layers, config.num_attention_heads * width, _tokens_of(folder))


def _share_of_experts(config: Any) -> float:
    """Of all experts those that a token is multiplied with, by the names that transformers' models have for them."""
    there = (getattr(config, name, None) for name in ("num_experts", "num_local_experts", "n_routed_experts"))
    used = (getattr(config, name, None) for name in ("num_experts_per_tok", "num_experts_per_token", "moe_topk"))
    every, some = next((n for n in there if n), None), next((n for n in used if n), None)
    return min(1.0, some / every) if every and some else 1.0


def _tokens_of(folder: Path) -> str:
    """A hash of how a tokenizer cuts text; tokens that were added to it, such as a reward model's separator, do not matter."""
    try:
        how = json.loads((folder / "tokenizer.json").read_bytes())["model"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return hashlib.sha256(json.dumps(how, sort_keys=True).encode()).hexdigest()


@runtime_checkable
class Sampler(Protocol):
    """An engine that a search can use."""

    model: str

    async def sample(self, request: SampleRequest) -> Sampled:
        """All continuations. Cancelling the call frees what it holds, and fills in the request's report. Raises EngineError."""
        ...

    async def marks(self) -> Marks:
        """What this model's writing is cut at."""
        ...

    async def size(self) -> ModelSize | None:
        """None where nobody can say."""
        ...


def sampler_of(engine: Engine) -> Sampler:
    """The engine itself, or whole answers through its stream."""
    return engine if isinstance(engine, Sampler) else WholeAnswers(engine)


class WholeAnswers:
    """Any streaming engine: it can answer, but not go on from token ids nor stop at a step."""

    def __init__(self, engine: Engine) -> None:
        self.model, self._engine = engine.model, engine

    async def sample(self, request: SampleRequest) -> Sampled:
        return await whole_answers(self._engine, request)

    async def marks(self) -> Marks:
        return Marks()

    async def size(self) -> ModelSize | None:
        return None


async def together(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """What each comes to. One that fails, or a cancelled call, ends the others too: they have ended when this does."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def whole_answers(engine: Engine, request: SampleRequest) -> Sampled:
    """`n` answers by `n` streams. Raises EngineError where the request goes on from something or stops at steps."""
    if request.written or request.stop or request.insert:
        raise EngineError(
            f"{engine.model} is behind a server that cannot go on from a given text, so only strategies that ask for whole "
            "answers can use it (best-of-N, self-revision, PlanSearch, planner and executor). vLLM and the models in this process can do all."
        )

    heard: list[tuple[Sample, int]] = [(Sample("", (), "length", 0), 0)] * request.n

    async def one(i: int) -> None:
        seed = None if request.sampling.seed is None else request.sampling.seed + i
        sampling = Sampling(request.sampling.temperature, request.sampling.top_p, seed, request.sampling.max_tokens)
        text, tokens, prompt, reason = "", 0, 0, None
        with suppress(EngineCut):  # it stays as unfinished as one that is too long
            async for chunk in engine.stream(GenerateRequest(request.prompt, sampling, request.bounds)):
                text += chunk.text
                tokens += chunk.tokens
                prompt = chunk.prompt_tokens or prompt
                reason = chunk.finish_reason or reason
                heard[i] = Sample(text, (), "length" if reason in ("length", None) else "eos", tokens), prompt

    def all_of_them() -> Sampled:
        return Sampled(tuple(sample for sample, _ in heard), sum(prompt for _, prompt in heard), readings=request.n)

    try:
        await together(one(i) for i in range(request.n))
    except asyncio.CancelledError:
        request.report.sampled = all_of_them()  # as far as was heard: a server may have written some tokens more
        raise
    return all_of_them()
