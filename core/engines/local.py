"""transformers in process: one thread owns the model and decodes all live requests together, one token a turn.

A request joins the batch when it arrives and leaves when it ends, so nobody waits for another's trace. Keys and values live
in one tensor a layer, a row a request; rows are kept dense, so a turn is a view and never a copy. A search's continuations of
one text share its reading, and what ends at a step is parked, so that going on from there reads nothing again. Knows nothing
of steps beyond the bounds; what the text means is the parser's business.

The same seed gives the same trace when a request runs alone; in company, floating-point sums may differ in the last bit.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import secrets
import threading
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from core.control.bounds import StepBounds, StepIds
from core.control.thinking import ThinkingControl, ThinkingIds
from core.engines.base import OPENS_THINKING, Chunk, EngineError, GenerateRequest
from core.engines.drawing import draw
from core.engines.rows import Group, Piece, Row, Stream
from core.engines.sampling import Marks, ModelSize, Sampled, SampleRequest, size_of
from core.engines.server_info import PROBE_MESSAGES, opens_thinking, rendered_hash
from core.pretrained import library, load_weights

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

# Rows decoded together. The pocket model's tokens/s grow up to about here on one core; more only delays everyone.
MAX_BATCH = 32
# Below this size one thread beats several (the matrices are too small to share out), and the server keeps its cores.
SINGLE_THREAD_BELOW = 50_000_000
DECODE_AFTER = 8  # tokens before a continuation that may change how its first token reads
MAX_PROMPT_SHARE = 0.5  # a prompt may fill at most this share of the model's context


class LocalEngine:
    """A causal language model from a folder, batched. `model` is the name people see."""

    def __init__(self, model_dir: Path | None = None, name: str = "pocket") -> None:
        self.model = name
        self._dir = model_dir
        self._inbox: queue.Queue[Stream | Group | None] = queue.Queue()
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
        row = Stream(
            request.sampling, threading.Event(), request=request, loop=asyncio.get_running_loop(), out=asyncio.Queue()
        )
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

    async def sample(self, request: SampleRequest) -> Sampled:
        """Continuations for a search; more than `MAX_BATCH` are made in several goes."""
        self.start()
        parts = []
        for at in range(0, request.n, MAX_BATCH):
            seed = request.sampling.seed
            sampling = replace(request.sampling, seed=None if seed is None else seed + at)
            parts.append(replace(request, n=min(MAX_BATCH, request.n - at), sampling=sampling))
        loop = asyncio.get_running_loop()
        groups = [Group(part, loop, loop.create_future()) for part in parts]
        for group in groups:
            self._inbox.put(group)
        try:
            return _together(await asyncio.gather(*(asyncio.shield(group.done) for group in groups)))
        except asyncio.CancelledError:
            begun = [group.done for group in groups if group.cancel()]
            if begun:  # a turn of the batch, and the engine has let go of them
                await asyncio.wait(begun)
            request.report.sampled = _together([d.result() for d in begun if not (d.cancelled() or d.exception())])
            raise
        finally:
            for group in groups:
                group.cancelled.set()

    async def marks(self) -> Marks:
        return (await asyncio.to_thread(self._look))[0]

    async def size(self) -> ModelSize:
        return (await asyncio.to_thread(self._look))[1]

    @lru_cache(maxsize=1)  # noqa: B019 — an engine lives as long as the server
    def _look(self) -> tuple[Marks, ModelSize]:
        """What its writing is cut at, and its size, from its folder alone."""
        try:
            config = library().AutoConfig.from_pretrained(self._folder())
            vocabulary = library().AutoTokenizer.from_pretrained(self._folder()).get_vocab()
            return Marks.of(vocabulary), size_of(config, self._folder())
        except Exception as error:
            raise EngineError(f"The model {self.model} could not be read: {error}") from error

    def _folder(self) -> Path:
        if self._dir is not None:
            return self._dir
        from core.pocket import model_dir as shipped

        return shipped()

    async def close(self) -> None:
        with self._lock:
            self._closed = True
            thread, self._thread = self._thread, None
        if thread is not None:
            self._inbox.put(None)
            await asyncio.to_thread(thread.join, 10)

    def _work(self) -> None:
        try:
            loop = _Loop(self._folder(), self.model)
        except Exception as error:
            log.exception("loading %s failed", self.model)
            self._refuse(EngineError(f"The model {self.model} could not be loaded: {error}"))
            return
        import torch

        with torch.inference_mode():
            while not self._closed:
                if not loop.rows or (len(loop.rows) < MAX_BATCH and not self._inbox.empty()):
                    asked = self._inbox.get()
                    if asked is None or asked.cancelled.is_set() or (isinstance(asked, Group) and not asked.begin()):
                        continue
                    rows: Sequence[Row] = [asked] if isinstance(asked, Stream) else loop.pieces_of(asked)
                    self._guard(loop, partial(loop.admit, asked, rows), rows)
                else:
                    self._guard(loop, loop.turn, loop.rows)
        for row in loop.rows:
            row.fail(EngineError("The engine was closed."))
        self._refuse(EngineError("The engine was closed."))

    def _guard(self, loop: _Loop, action: Any, rows: Sequence[Row]) -> None:
        """A failure ends the rows concerned with a sentence; the engine lives on."""
        try:
            action()
        except EngineError as error:
            for row in list(rows):
                row.fail(error)
                loop.drop(row)
        except Exception as error:
            log.exception("decoding failed")
            for row in list(rows):
                row.fail(EngineError(f"The model {self.model} failed: {error}"))
                loop.drop(row)

    def _refuse(self, error: EngineError) -> None:
        with self._lock:
            self._thread = None
        while True:
            try:
                asked = self._inbox.get_nowait()
            except queue.Empty:
                return
            if asked is not None:
                asked.fail(error)


def _together(found: Sequence[Sampled]) -> Sampled:
    samples = tuple(sample for part in found for sample in part.samples)
    return Sampled(samples, sum(p.prompt_tokens for p in found), sum(p.cached_tokens for p in found))


class _Loop:
    """The model, its cache and the live rows; used by one thread only, inside `torch.inference_mode`."""

    def __init__(self, model_dir: Path, name: str) -> None:
        import torch

        from core.engines.dense_cache import Parked, dense_rows

        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = torch.device(device)
        self.tokenizer = library().AutoTokenizer.from_pretrained(model_dir)
        dtype = torch.float32 if device == "cpu" else "auto"
        model = load_weights("AutoModelForCausalLM", model_dir, dtype=dtype)
        self.model: Any = model.to(device).eval()
        if device == "cpu" and self.model.num_parameters() < SINGLE_THREAD_BELOW:
            torch.set_num_threads(1)
        self.name = name
        self.rows: list[Row] = []
        self.context = int(self.model.config.max_position_embeddings)
        self.cache = dense_rows(self.model)
        self.parked = Parked()
        self.eos = self.tokenizer.eos_token_id
        vocabulary = self.tokenizer.get_vocab()
        self.step_ids = StepIds.of(vocabulary, self.eos)
        self.thinking_ids = ThinkingIds.of(vocabulary, self._encode)
        probe = self._render(PROBE_MESSAGES)
        self.about: dict[str, Any] = {
            "server": "transformers, in process", "version": library().__version__,
            "chat_template": rendered_hash(probe),
            **({OPENS_THINKING: True} if opens_thinking(self.tokenizer.decode(probe[-8:])) else {}),
        }  # fmt: skip
        self.known_tokens = len(self.tokenizer)

    def admit(self, asked: Stream | Group, rows: Sequence[Row]) -> None:
        """Read the prompt, choose the first token of each row, join the batch."""
        if isinstance(asked, Stream):
            self._admit_stream(asked)
        else:
            self._admit_group(asked, [row for row in rows if isinstance(row, Piece)])

    def pieces_of(self, group: Group) -> list[Piece]:
        """The rows of a search's request, not in the batch yet."""
        asked = group.request.sampling
        seed = asked.seed if asked.seed is not None else secrets.randbits(31)
        group.left = group.request.n
        group.pieces = [
            Piece(asked, group.cancelled, random=Random(seed + i), group=group) for i in range(group.request.n)
        ]
        return group.pieces

    def _admit_group(self, group: Group, rows: list[Piece]) -> None:
        asked = group.request
        question = self._encode(self._chat([{"role": "user", "content": asked.prompt}]))
        insert = self._encode(asked.insert) if asked.insert else []
        written = [*asked.written, *insert]
        ids = [*question, *written]
        if len(ids) + 1 >= self.context:
            # Nothing fits any more: every continuation has ended by its length, without a token.
            for row in rows:
                row.before, row.ids, row.end = asked.insert, list(insert), "length"
            group.left = 0
            group.prompt = tuple(ids)
            group.finish()
            return
        group.prompt = tuple(ids)
        known = self.parked.find(group.prompt)
        if known is None:
            logits = self._prefill(len(self.rows), ids)
        else:
            group.cached = len(ids) - 1
        first = len(self.rows)
        for i, row in enumerate(rows):
            self._begin(row, written)
            row.before, row.ids = asked.insert, list(insert)
            row.bounds = StepBounds(self.step_ids, asked.bounds, written) if self.step_ids else None
            self.rows.append(row)
            if known is not None:  # the next turn reads the last token for all of them together
                self.cache.put(first + i, known)
                row.length, row.last = len(ids) - 1, ids[-1]
                continue
            if i:
                self.cache.move(first, first + i, len(ids))
            row.length = len(ids)
        if known is None:
            self._choose(rows, logits[None].repeat(len(rows), 1))

    def _begin(self, row: Row, written: Sequence[int]) -> None:
        """The first new piece is decoded as a continuation of the end of what was written (a blank, half a character)."""
        from tokenizers.decoders import DecodeStream

        row.decoder = DecodeStream(skip_special_tokens=False)
        for token in written[-DECODE_AFTER:]:
            row.decoder.step(self.tokenizer.backend_tokenizer, token)

    def _prefill(self, place: int, ids: list[int]) -> torch.Tensor:
        """Read `ids` into a row that is not in the batch yet. Returns the last logits: (vocabulary,)"""
        import torch

        self.cache.begin_prefill(place, len(ids))
        out = self.model(
            input_ids=torch.tensor([ids], device=self.device),
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return out.logits[0, -1].float().cpu()

    def _admit_stream(self, row: Stream) -> None:
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
        row.random = Random(seed)
        self._begin(row, written)
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
        logits = self._prefill(len(self.rows), ids)
        row.length = len(ids)
        self.rows.append(row)
        row.send(Chunk("", 0, prompt_tokens=len(ids), about={**about, **({"notes": notes} if notes else {})}))
        self._choose([row], logits[None])

    def _render(self, messages: list[dict[str, str]]) -> list[int]:
        return self._encode(self._chat(messages))

    def _chat(self, messages: list[dict[str, str]]) -> str:
        return str(self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))

    def _encode(self, text: Any) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False).input_ids

    def turn(self) -> None:
        """One token for every live row."""
        import torch

        gone = [r for r in self.rows if r.cancelled.is_set()]
        for row in gone:
            self.drop(row)
        for group in {id(r.group): r.group for r in gone if isinstance(r, Piece)}.values():
            group.finish()
        if not self.rows:
            return
        lengths = [r.length for r in self.rows]
        mask = self.cache.begin_decode(lengths)
        out = self.model(
            input_ids=torch.tensor([[r.last] for r in self.rows], device=self.device),
            position_ids=torch.tensor([[n] for n in lengths], device=self.device),
            attention_mask=mask, past_key_values=self.cache, use_cache=True,
        )  # fmt: skip
        for row in self.rows:  # before any row may move: the key just written counts
            row.length += 1
        self._choose(list(self.rows), out.logits[:, -1].float().cpu())

    def drop(self, row: Row) -> None:
        """Take a row out; the last row moves into its place so that the rows stay dense."""
        if row not in self.rows:
            return
        at, last = self.rows.index(row), len(self.rows) - 1
        if at != last:
            self.cache.move(last, at, self.rows[last].length)
            self.rows[at] = self.rows[last]
        self.rows.pop()

    def _choose(self, rows: Sequence[Row], logits_RV: torch.Tensor) -> None:
        """Draw the next token of each of these rows, say its text, take out the rows that end."""
        for row, token in zip(rows, draw(logits_RV[:, : self.known_tokens], rows), strict=True):
            token = row.instead_of(token)
            row.last = token
            row.made += 1
            for control in (row.bounds, row.thinking):
                if control:
                    control.push(token)
            if token == self.eos:
                ended = row.said(token, "", "eos")
            else:
                text = row.decoder.step(self.tokenizer.backend_tokenizer, token) or ""
                full = row.made >= row.sampling.max_tokens or row.length + 1 >= self.context
                ended = row.said(token, text, "length" if full else None)
            if ended:
                if isinstance(row, Piece) and row.end == "step" and row.group.request.keep_stop:
                    kept = self.cache.take(self.rows.index(row), row.length)
                    self.parked.keep((*row.group.prompt, *row.ids[-row.made :]), kept)
                self.drop(row)
