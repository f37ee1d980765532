"""vLLM in this process's charge, for searches: no HTTP between a search and the model, token ids in and out.

For a machine where vLLM and Worldline share an environment (`pip install 'worldline[vllm]'`): evaluations at the terminal,
benchmarks, notebooks. The workbench itself asks a server (`openai_api.py`). Knows no stream and no trace.
"""

from __future__ import annotations

import asyncio
import gc
import os
import secrets
from collections.abc import AsyncGenerator
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.control.bounds import STEP_END
from core.engines import vllm_rules
from core.engines.base import Chunk, EngineDown, EngineError, GenerateRequest
from core.engines.sampling import Marks, ModelSize, Sample, Sampled, SampleRequest, size_of

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

# A search holds many short texts with a common beginning: small blocks share more of it, and wide batches keep the model
# busy between the steps of each problem (measured on a model of 0.6 M parameters: 1.5 times the tokens/s of the defaults).
BLOCK_TOKENS = 32
SEQUENCES = 320


class VllmInProcess:
    """A model from a folder or the hub's cache, loaded at the first request. `options` go to vLLM's engine as they are
    (`tensor_parallel_size=2`, `gpu_memory_utilization=0.8`, …)."""

    def __init__(self, model: str | Path, name: str | None = None, **options: Any) -> None:
        self._path = str(model)
        self.model = name or Path(self._path).name
        self._options = options
        self._loaded: asyncio.Future[_Loaded] | None = None
        self._numbers = count()

    async def sample(self, request: SampleRequest) -> Sampled:
        """All continuations by one request; cancelling it takes it out of vLLM's batch. Raises EngineError, EngineDown
        where vLLM failed."""
        loaded = await self._load()
        question, insert = loaded.prompt_ids(request.prompt), loaded.ids(request.insert)
        ids = [*question, *request.written, *insert]
        room = loaded.context - len(ids)
        if room < 1:
            # Nothing fits any more: every continuation has ended by its length, without a token.
            return Sampled((Sample(request.insert, insert, "length", 0),) * request.n, 0)
        # A greedy draw is the same n times, and vLLM refuses to make it so.
        n = request.n if request.sampling.temperature > 0 else 1
        asked = loaded.params(request, n, min(room, request.sampling.max_tokens), [*request.written, *insert])
        answer: Any = None
        try:
            async for made in loaded.llm.generate(
                {"prompt_token_ids": ids}, asked, f"{next(self._numbers)}-{secrets.token_hex(4)}"
            ):
                answer = made  # of the kind FINAL_ONLY there is one
        except ValueError as error:
            raise EngineError(f"vLLM refuses what {self.model} is asked for: {error}") from error
        except Exception as error:
            raise EngineDown(f"vLLM failed with {self.model}: {error}") from error
        samples = [loaded.sample(one, request, insert) for one in answer.outputs]
        if n < request.n:
            samples += [replace(samples[0], tokens=0)] * (request.n - 1)  # written once, and charged once
        return Sampled(tuple(samples), len(ids), answer.num_cached_tokens or 0)

    async def stream(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        """Not from here: a search wants whole pieces. Raises EngineError."""
        raise EngineError(
            f"vLLM runs {self.model} in this process for searches alone; to read along, or to let it judge, serve it: "
            "`worldline serve` and --endpoint."
        )
        yield Chunk("", 0)

    async def marks(self) -> Marks:
        return (await self._load()).marks

    async def size(self) -> ModelSize | None:
        return (await self._load()).size

    async def forget(self) -> None:
        """Empty the prefix cache: a measurement begins with nothing known."""
        await (await self._load()).llm.reset_prefix_cache()

    async def close(self) -> None:
        if self._loaded is not None:
            loaded, self._loaded = await self._loaded, None
            loaded.llm.shutdown()
            del loaded
            gc.collect()  # it is in a circle of references, and shuts down again when Python has gone half away

    async def _load(self) -> _Loaded:
        if self._loaded is None:
            self._loaded = asyncio.get_running_loop().create_future()
            try:
                self._loaded.set_result(await self._start())
            except BaseException as error:
                failed, self._loaded = self._loaded, None
                said = error if isinstance(error, EngineError) else EngineError(
                    f"vLLM could not load {self._path}: {error or type(error).__name__}"
                )  # fmt: skip
                failed.set_exception(said)
                failed.exception()  # said below, and to whoever waits beside us
                raise said from error
        return await asyncio.shield(self._loaded)

    async def _start(self) -> _Loaded:
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")  # no request leaves the machine
        try:
            from vllm.engine.arg_utils import AsyncEngineArgs
            from vllm.platforms import current_platform
            from vllm.v1.engine.async_llm import AsyncLLM
        except ImportError as error:
            raise EngineError(
                "vLLM is not installed in this environment: `pip install 'worldline[vllm]'`, or serve the model "
                "(`worldline serve`) and name its endpoint."
            ) from error
        given = {
            "block_size": BLOCK_TOKENS, "max_num_seqs": SEQUENCES, "enable_prefix_caching": True,
            "logits_processors": ["core.control.vllm_steps:WorldlineSteps"],
            # Half precision is slow on most CPUs, and turns greedy texts away from those of the model in this process.
            "dtype": "float32" if current_platform.is_cpu() else "auto", **self._options,
        }  # fmt: skip
        args = AsyncEngineArgs(model=self._path, served_model_name=self.model, enable_log_requests=False, **given)
        tokenizer, config, folder = await asyncio.to_thread(partial(_read, self._path))
        # It looks for the running loop, so it is made on it, though that takes seconds.
        llm = AsyncLLM.from_engine_args(args)
        return _Loaded(llm, tokenizer, config, folder)


def _read(path: str) -> tuple[PreTrainedTokenizerBase, PretrainedConfig, Path]:
    from transformers import AutoConfig, AutoTokenizer

    folder = Path(path)
    if not Path(path).is_dir():
        from huggingface_hub import snapshot_download

        folder = Path(
            snapshot_download(path, allow_patterns=["*.json", "*.safetensors", "*.model", "*.jinja", "*.txt"])
        )
    return AutoTokenizer.from_pretrained(folder), AutoConfig.from_pretrained(folder), folder


class _Loaded:
    """The engine with what its requests are made of."""

    def __init__(self, llm: Any, tokenizer: Any, config: Any, folder: Path) -> None:
        self.llm, self._tokenizer = llm, tokenizer
        self.context = int(llm.model_config.max_model_len)
        vocabulary = tokenizer.get_vocab()
        self.marks = Marks.of(vocabulary)
        self._vocabulary: dict[str, int] = vocabulary
        try:
            self.size: ModelSize | None = size_of(config, folder)
        except OSError:
            self.size = None

    def prompt_ids(self, prompt: str) -> list[int]:
        text = self._tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
        )
        return list(self.ids(str(text)))

    def ids(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer(text, add_special_tokens=False).input_ids) if text else ()

    def params(self, request: SampleRequest, n: int, most: int, written: list[int]) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        sampling = request.sampling
        texts = [text for text in request.stop if text not in self._vocabulary]
        step_end = self._vocabulary.get(STEP_END)
        extra = None if step_end is None else vllm_rules.bounds(request, written, step_end)
        return SamplingParams(
            n=n, temperature=sampling.temperature, top_p=sampling.top_p, max_tokens=most,
            seed=None if sampling.seed is None else sampling.seed % 2**63, stop=texts or None, stop_token_ids=self._single(request) or None,
            include_stop_str_in_output=bool(request.stop) and request.keep_stop, skip_special_tokens=False,
            spaces_between_special_tokens=False, output_kind=RequestOutputKind.FINAL_ONLY, extra_args=extra,
        )  # fmt: skip

    def _single(self, request: SampleRequest) -> list[int]:
        """Its stops that are one token."""
        return [self._vocabulary[text] for text in request.stop if text in self._vocabulary]

    def sample(self, made: Any, request: SampleRequest, insert: tuple[int, ...]) -> Sample:
        if made.finish_reason not in ("length", "stop"):
            raise EngineDown(f"vLLM ended a request as {made.finish_reason!r}, without an answer")
        ids, marks = tuple(made.token_ids), self._single(request)
        found = vllm_rules.piece(request, made.text, ids, made.finish_reason, made.stop_reason, marks, insert)
        if vllm_rules.keeps_end_text(request, found):
            found = replace(found, text=found.text.removesuffix(self._tokenizer.decode([ids[-1]])))
        return found
