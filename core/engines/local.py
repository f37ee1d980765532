"""transformers in process: one thread owns the model and decodes all live requests together, one token a turn.

A request joins the batch when it arrives and leaves when it ends, so nobody waits for another's trace. Keys and values live
in one tensor a layer, a row a request; rows are kept dense, so a turn is a view and never a copy. Knows nothing of steps
beyond the bounds; what the text means is the parser's business.

The same seed gives the same trace when a request runs alone; in company, floating-point sums may differ in the last bit.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import secrets
import threading
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.control.bounds import FREE, Constraint, StepBounds, StepIds
from core.control.thinking import ThinkingControl, ThinkingIds
from core.engines.base import Chunk, EngineError, GenerateRequest
from core.engines.server_info import PROBE_MESSAGES, rendered_hash

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

# Rows decoded together. The pocket model's tokens/s grow up to about here on one core; more only delays everyone.
MAX_BATCH = 32
# Below this size one thread beats several (the matrices are too small to share out), and the server keeps its cores.
SINGLE_THREAD_BELOW = 50_000_000
MAX_PROMPT_SHARE = 0.5  # a prompt may fill at most this share of the model's context


@dataclass
class _Row:
    """A live request: its place in the batch is its index in `_Loop.rows`."""

    request: GenerateRequest
    loop: asyncio.AbstractEventLoop
    out: asyncio.Queue[Chunk | EngineError]
    length: int = 0  # tokens whose keys are in the cache
    last: int = 0
    made: int = 0
    bounds: StepBounds | None = None
    thinking: ThinkingControl | None = None
    generator: Any = None
    decoder: Any = None
    cancelled: threading.Event = field(default_factory=threading.Event)

    def send(self, item: Chunk | EngineError) -> None:
        try:
            self.loop.call_soon_threadsafe(self.out.put_nowait, item)
        except RuntimeError:  # the asking event loop is gone: nobody listens any more
            self.cancelled.set()


class LocalEngine:
    """A causal language model from a folder, batched. `model` is the name people see."""

    def __init__(self, model_dir: Path | None = None, name: str = "pocket") -> None:
        self.model = name
        self._dir = model_dir
        self._inbox: queue.Queue[_Row | None] = queue.Queue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._closed = False

    def start(self) -> None:
        """Load the model now, in the background, rather than at the first request."""
        with self._lock:
            if self._closed:
                raise EngineError(f"The engine of {self.model} was closed.")
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=f"engine-{self.model}", daemon=True)
                self._thread.start()

    async def stream(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        if request.schema is not None:
            raise EngineError(f"The model {self.model} runs in this process and cannot answer by a JSON schema.")
        self.start()
        row = _Row(request, asyncio.get_running_loop(), asyncio.Queue())
        self._inbox.put(row)
        try:
            while True:
                item = await row.out.get()
                if isinstance(item, EngineError):
                    raise item
                yield item
                if item.finish_reason is not None:
                    return
        finally:
            row.cancelled.set()

    async def close(self) -> None:
        with self._lock:
            self._closed = True
            thread, self._thread = self._thread, None
        if thread is not None:
            self._inbox.put(None)
            await asyncio.to_thread(thread.join, 10)

    def _work(self) -> None:
        try:
            model_dir = self._dir
            if model_dir is None:
                from core.pocket import model_dir as shipped

                model_dir = shipped()
            loop = _Loop(model_dir, self.model)
        except Exception as error:
            log.exception("loading %s failed", self.model)
            self._refuse(EngineError(f"The model {self.model} could not be loaded: {error}"))
            return
        import torch

        with torch.inference_mode():
            while not self._closed:
                if not loop.rows or (len(loop.rows) < MAX_BATCH and not self._inbox.empty()):
                    row = self._inbox.get()
                    if row is not None and not row.cancelled.is_set():
                        self._guard(loop, partial(loop.admit, row), [row])
                else:
                    self._guard(loop, loop.turn, loop.rows)
        for row in loop.rows:
            row.send(EngineError("The engine was closed."))
        self._refuse(EngineError("The engine was closed."))

    def _guard(self, loop: _Loop, action: Any, rows: list[_Row]) -> None:
        """A failure ends the rows concerned with a sentence; the engine lives on."""
        try:
            action()
        except EngineError as error:
            for row in list(rows):
                row.send(error)
                loop.drop(row)
        except Exception as error:
            log.exception("decoding failed")
            for row in list(rows):
                row.send(EngineError(f"The model {self.model} failed: {error}"))
                loop.drop(row)

    def _refuse(self, error: EngineError) -> None:
        with self._lock:
            self._thread = None
        while True:
            try:
                row = self._inbox.get_nowait()
            except queue.Empty:
                return
            if row is not None:
                row.send(error)


class _Loop:
    """The model, its cache and the live rows; used by one thread only, inside `torch.inference_mode`."""

    def __init__(self, model_dir: Path, name: str) -> None:
        import torch
        import transformers
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils import logging as transformers_logging

        from core.engines.dense_cache import dense_rows

        transformers_logging.disable_progress_bar()
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = torch.device(device)
        self.tokenizer = AutoTokenizer.from_pretrained(model_dir)
        dtype = torch.float32 if device == "cpu" else "auto"
        model: Any = AutoModelForCausalLM.from_pretrained(model_dir, dtype=dtype)
        self.model: Any = model.to(device).eval()
        if device == "cpu" and self.model.num_parameters() < SINGLE_THREAD_BELOW:
            torch.set_num_threads(1)
        self.name = name
        self.rows: list[_Row] = []
        self.context = int(self.model.config.max_position_embeddings)
        self.cache = dense_rows(self.model)
        self.eos = self.tokenizer.eos_token_id
        vocabulary = self.tokenizer.get_vocab()
        self.step_ids = StepIds.of(vocabulary, self.eos)
        self.thinking_ids = ThinkingIds.of(vocabulary, self._encode)
        self.about = {
            "server": "transformers, in process", "version": transformers.__version__,
            "chat_template": rendered_hash(self._render(PROBE_MESSAGES)),
        }  # fmt: skip
        self.known_tokens = len(self.tokenizer)

    def admit(self, row: _Row) -> None:
        """Read the prompt, choose the first token, join the batch."""
        import torch
        from tokenizers.decoders import DecodeStream

        asked = row.request
        ids = self._render(asked.messages)
        most = int(self.context * MAX_PROMPT_SHARE)
        if len(ids) > most:
            earlier = asked.before.turns
            what = f"question and the {len(earlier)} before it have" if earlier else "question has"
            raise EngineError(f"The {what} {len(ids):,} tokens; {self.name} reads at most {most:,}.{asked.before.mend}")
        written = self._encode(asked.prefix) if asked.prefix else []
        if len(ids) + len(written) + 1 >= self.context:
            raise EngineError(
                f"The question and the text to go on from have {len(ids) + len(written):,} tokens; {self.name} reads at "
                f"most {self.context:,}, so there is no room to go on."
            )
        seed = asked.sampling.seed if asked.sampling.seed is not None else secrets.randbits(31)
        row.generator = torch.Generator()
        row.generator.manual_seed(seed)
        row.decoder = DecodeStream(skip_special_tokens=False)
        for token in written:  # so that the first new piece is decoded as a continuation (a blank, half a character)
            row.decoder.step(self.tokenizer.backend_tokenizer, token)
        row.bounds = StepBounds(self.step_ids, asked.bounds, written) if self.step_ids else None
        about = {**self.about, "seed": seed}
        notes = []
        if asked.before.turns:
            both = [len(self._render(asked.before.messages(asked.prompt, how))) for how in ("full", "summaries")]
            about["saved_prompt_tokens"], said = asked.before.saved(*both)
            notes.extend(said)
        if asked.thinking.budget is not None or asked.thinking.waits:
            if self.thinking_ids is None:
                notes.append(f'{self.name} does not mark its thinking: thinking budget and "Wait" were not applied.')
            else:
                row.thinking = ThinkingControl(self.thinking_ids, asked.thinking, [*ids, *written])
        ids = ids + written
        place = len(self.rows)
        self.cache.begin_prefill(place, len(ids))
        out = self.model(
            input_ids=torch.tensor([ids], device=self.device),
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        row.length = len(ids)
        self.rows.append(row)
        row.send(Chunk("", 0, prompt_tokens=len(ids), about={**about, **({"notes": notes} if notes else {})}))
        self._choose(row, out.logits[0, -1].float().cpu())

    def _render(self, messages: list[dict[str, str]]) -> list[int]:
        return self._encode(self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))

    def _encode(self, text: Any) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False).input_ids

    def turn(self) -> None:
        """One token for every live row."""
        import torch

        for row in [r for r in self.rows if r.cancelled.is_set()]:
            self.drop(row)
        if not self.rows:
            return
        lengths = [r.length for r in self.rows]
        mask = self.cache.begin_decode(lengths)
        out = self.model(
            input_ids=torch.tensor([[r.last] for r in self.rows], device=self.device),
            position_ids=torch.tensor([[n] for n in lengths], device=self.device),
            attention_mask=mask, past_key_values=self.cache, use_cache=True,
        )  # fmt: skip
        logits = out.logits[:, -1].float().cpu()
        for row in self.rows:  # before any row may move: the key just written counts
            row.length += 1
        for i, row in enumerate(list(self.rows)):
            self._choose(row, logits[i])

    def drop(self, row: _Row) -> None:
        """Take a row out; the last row moves into its place so that the rows stay dense."""
        if row not in self.rows:
            return
        at, last = self.rows.index(row), len(self.rows) - 1
        if at != last:
            self.cache.move(last, at, self.rows[last].length)
            self.rows[at] = self.rows[last]
        self.rows.pop()

    def _choose(self, row: _Row, logits: torch.Tensor) -> None:
        """Draw the next token of a row, send its text, end the row where it ends. logits: (vocabulary,)"""
        token = _draw(logits[: self.known_tokens], row)
        row.last = token
        row.made += 1
        for control in (row.bounds, row.thinking):
            if control:
                control.push(token)
        sampling = row.request.sampling
        if token == self.eos:
            forced = row.bounds is not None and row.bounds.forced_end
            row.send(Chunk("", 1, finish_reason="step_limit" if forced else "stop"))
            self.drop(row)
            return
        text = row.decoder.step(self.tokenizer.backend_tokenizer, token) or ""
        if row.made >= sampling.max_tokens or row.length + 1 >= self.context:
            row.send(Chunk(text, 1, finish_reason="length"))
            self.drop(row)
            return
        row.send(Chunk(text, 1))


def _draw(logits: torch.Tensor, row: _Row) -> int:
    """One token id from logits of shape (vocabulary,), within what control allows."""
    constraint = _constraint(row)
    if constraint.force is not None:
        return constraint.force
    if constraint.forbid:
        logits = logits.clone()
        logits[list(constraint.forbid)] = float("-inf")
    token = _sample(logits, row)
    return row.thinking.instead_of(token) if row.thinking else token


def _constraint(row: _Row) -> Constraint:
    """The thinking budget wins over the bounds, as it does in vLLM."""
    thinking = row.thinking.next() if row.thinking else FREE
    if thinking.force is not None or row.bounds is None:
        return thinking
    return row.bounds.next()


def _sample(logits: torch.Tensor, row: _Row) -> int:
    """Temperature, nucleus (Holtzman et al. 2020), draw. logits: (vocabulary,)"""
    import torch

    sampling = row.request.sampling
    if sampling.temperature == 0:
        return int(logits.argmax())
    p = torch.softmax(logits / sampling.temperature, dim=-1)
    if sampling.top_p < 1:
        ordered, order = p.sort(descending=True)
        before = ordered.cumsum(-1) - ordered
        ordered[before >= sampling.top_p] = 0
        return int(order[torch.multinomial(ordered, 1, generator=row.generator)])
    return int(torch.multinomial(p, 1, generator=row.generator))
