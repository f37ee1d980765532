"""Step bounds inside a vLLM server: a thin adapter from its logits-processor interfaces to `StepBounds`.

Loaded by vLLM itself (`--logits-processors core.control.vllm_steps:WorldlineSteps`), in its own environment: nothing of ours
is imported beside `core.control`. vLLM has two runners with two interfaces, and each refuses the other's
classes; a class that inherits both is accepted by both. The V1 runner (CPUs, and GPUs without Triton) hands over live lists
of token ids; the V2 runner (GPUs) keeps them on the device, so the newest ids of bounded requests are read back each step.

A request says what it wants in `vllm_xargs` (see `xargs.py`); one that wants nothing is not touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from core.control.bounds import StepBounds, StepIds
from core.control.limits import Bounds
from core.control.xargs import MAX, MIN, PREFIX, PROBE, SIGNATURE

try:
    from vllm.v1.sample.logits_processor import LogitsProcessor as V1LogitsProcessor
    from vllm.v1.worker.gpu.sample.logits_processor import LogitsProcessor as V2LogitsProcessor
except ImportError:  # our own environment, where tests drive both interfaces by hand

    class V1LogitsProcessor:  # type: ignore[no-redef]
        """Stands in for vLLM's."""

    class V2LogitsProcessor:  # type: ignore[no-redef]
        """Stands in for vLLM's."""


@dataclass
class _Row:
    """A bounded request: its machine, and how many of its ids the machine has seen (counted in `output`, or V2's row)."""

    bounds: Bounds
    prefix: int
    machine: StepBounds | None = None
    read: int = 0
    output: list[int] = field(default_factory=list)


class WorldlineSteps(V1LogitsProcessor, V2LogitsProcessor):
    """Between the bounds the model is free; below the minimum the end is masked; at the maximum it is forced."""

    def __init__(self, vllm_config: Any, device_or_state: Any, is_pin_memory: bool | None = None) -> None:
        """V1: (config, device, pinned?). V2: (config, LogitsProcRequestState)."""
        if getattr(vllm_config, "speculative_config", None):
            raise ValueError(
                "Worldline's step control needs one token at a time and cannot be combined with speculative decoding; "
                "leave out --speculative-config, or start the server without step control."
            )
        self._ids, self._ends = _step_ids(vllm_config.model_config)
        self._state: Any = device_or_state if is_pin_memory is None else None
        self._rows: dict[int, _Row] = {}  # by place in the batch (V1) or by slot (V2)

    @classmethod
    def validate_params(cls, sampling_params: Any) -> None:
        """Raises ValueError, which vLLM answers as 400."""
        extra = sampling_params.extra_args or {}
        if PROBE in extra:
            raise ValueError(SIGNATURE)
        _wanted(extra)

    def is_argmax_invariant(self) -> bool:
        return False

    # ---- V1

    def update_state(self, batch_update: Any) -> None:
        if batch_update is None:
            return
        for index in batch_update.removed:
            self._rows.pop(index, None)
        for index, params, prompt, output in batch_update.added:
            row = self._row(params)
            if row is None:
                self._rows.pop(index, None)
                continue
            row.output = output  # vLLM's own list: it grows as tokens are drawn
            self._begin(row, (prompt or [])[len(prompt or []) - row.prefix :])
            self._rows[index] = row
        for source, to, direction in batch_update.moved:
            moving, staying = self._rows.pop(source, None), self._rows.pop(to, None)
            if moving is not None:
                self._rows[to] = moving
            if staying is not None and direction.name == "SWAP":
                self._rows[source] = staying

    # ---- V2

    def add_request(self, req_idx: int, sampling_params: Any) -> bool:
        self._rows.pop(req_idx, None)
        row = self._row(sampling_params)
        if row is not None:
            self._rows[req_idx] = row
        return row is not None

    def _catch_up(self, slots: Sequence[int], lengths: Sequence[int]) -> None:
        """Read what has become known of bounded V2 slots: `lengths` ids each, the prompt's included."""
        import torch

        fresh = []
        for slot, length in zip(slots, lengths, strict=True):
            row = self._rows[slot]
            if row.machine is None:
                row.read = max(0, int(self._state.prompt_len.np[slot]) - row.prefix)
                self._begin(row, [])
            fresh.append(self._state.all_token_ids.gpu[slot, row.read : max(length, row.read)])
        tokens = iter(torch.cat(fresh).tolist())  # the one wait for the device
        for slot, piece in zip(slots, fresh, strict=True):
            self._push(self._rows[slot], [next(tokens) for _ in range(len(piece))])
            self._rows[slot].read += len(piece)

    # ---- both

    def apply(self, logits: Any, ctx: Any = None) -> Any:
        """logits: (rows, vocabulary), changed in place."""
        if not self._rows:
            return logits
        if ctx is None:
            for index, row in self._rows.items():
                known = row.output
                # A -1 is a token that is drawn but not known yet; there is none left when this is called.
                fresh = [t for t in known[row.read :] if t >= 0]
                self._push(row, fresh)
                row.read += len(fresh)
                self._constrain(logits[index], row)
            return logits
        places = {at: slot for at, slot in enumerate(ctx.idx_mapping_np.tolist()) if slot in self._rows}
        if places:
            self._catch_up(list(places.values()), [int(ctx.seq_lens_upper_bound_np[at]) for at in places])
        for at, slot in places.items():
            self._constrain(logits[at], self._rows[slot])
        return logits

    def _row(self, params: Any) -> _Row | None:
        wanted = _wanted(params.extra_args or {})
        return None if wanted is None or self._ids is None else _Row(*wanted)

    def _begin(self, row: _Row, seen: Sequence[int]) -> None:
        assert self._ids is not None
        row.machine = StepBounds(self._ids, row.bounds, seen)

    def _push(self, row: _Row, tokens: Sequence[int]) -> None:
        assert row.machine is not None
        for token in tokens:
            row.machine.push(token)

    def _constrain(self, logits: Any, row: _Row) -> None:
        """logits: (vocabulary,), a view."""
        assert row.machine is not None
        constraint = row.machine.next()
        if constraint.force is not None:
            logits.fill_(float("-inf"))
            logits[constraint.force] = 0.0
        elif constraint.forbid:
            assert self._ids is not None
            ends = self._ends if self._ids.eos in constraint.forbid else ()
            logits[[*constraint.forbid, *ends]] = float("-inf")


def _wanted(extra: dict[str, Any]) -> tuple[Bounds, int] | None:
    """Bounds and prefix length of a request; None where it asks for none. Raises ValueError."""
    if MIN not in extra and MAX not in extra:
        return None
    numbers = (extra.get(MIN, 0), extra.get(MAX, 2**31), extra.get(PREFIX, 0))
    if not all(type(n) is int for n in numbers) or numbers[2] < 0:
        raise ValueError(f"{MIN}, {MAX} and {PREFIX} are {numbers}; they must be whole numbers, the last not negative")
    return Bounds(numbers[0], numbers[1]), numbers[2]


def _step_ids(model_config: Any) -> tuple[StepIds | None, tuple[int, ...]]:
    """The ids that bounds need, and further ids that end a response (a generation config may name several)."""
    from vllm.tokenizers import cached_tokenizer_from_config

    tokenizer = cached_tokenizer_from_config(model_config)
    if tokenizer is None:  # --skip-tokenizer-init
        return None, ()
    named = (model_config.try_get_generation_config() or {}).get("eos_token_id")
    ends = tuple(named) if isinstance(named, list | tuple) else () if named is None else (int(named),)
    return StepIds.of(tokenizer.get_vocab(), tokenizer.eos_token_id), ends
