"""Scores of texts that grow, as a search grows them: what was read of a text before is not read again.

Keys and values of every scored step are kept under the token ids that lead to it, each step's own alone, so that the branches of a
tree share their trunk. A step more costs the reading of that step. The scores are those of `PrmScorer`, up to the last bits of floating-point
sums. Knows no search and no tree: only that one text begins like another.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from core.memory import share
from core.scoring.encoding import EncodedSteps
from core.scoring.prm import PrmScorer

if TYPE_CHECKING:
    import torch

Ids = tuple[int, ...]
# At most this share of the machine's memory, and at most so much, for keys and values.
SHARE, MOST_BYTES = 16, 1 << 30
# Of one forward pass: new tokens, and tokens that they look back on, both with padding.
NEW_TOKENS, OLD_TOKENS = 4096, 32768


@dataclass
class _Known:
    """A step that was read. before: ids of what led to it, () for the question alone; tensors: (heads, tokens, width) a layer, keys and
    values in turn; score: P(good) at its end."""

    before: Ids
    tensors: list[torch.Tensor]
    score: float

    @property
    def bytes(self) -> int:
        return sum(t.nbytes for t in self.tensors)


@dataclass
class _Job:
    trace: int
    window: EncodedSteps
    known: list[_Known]  # the steps that were read before, from the first
    start: int  # tokens of them

    @property
    def new(self) -> int:
        return len(self.window.ids) - self.start


class GrowingScorer:
    """A reward model that remembers. For one thread; memory is bounded, what was used longest ago goes first."""

    def __init__(self, scorer: PrmScorer, most_bytes: int | None = None) -> None:
        self.scorer = scorer
        self._most = share(SHARE, MOST_BYTES) if most_bytes is None else most_bytes
        self._bytes = 0
        self._steps: OrderedDict[Ids, _Known] = OrderedDict()

    def score_counted(
        self, traces: Sequence[tuple[str, Sequence[str]]], encoded: Sequence[list[EncodedSteps]] | None = None
    ) -> tuple[list[list[float]], list[tuple[int, int]]]:
        """P(good) of each step of each (question, steps), and for each how many tokens were read and how many were known. A text that
        does not fit into the model at once is read as `PrmScorer` reads it. encoded: the windows of each, where they are there already.
        Raises ScorerError."""
        out: list[list[float]] = [[] for _ in traces]
        read = [(0, 0)] * len(traces)
        jobs = []
        for i, (prompt, texts) in enumerate(traces):
            windows = self.scorer.windows(prompt, texts) if encoded is None else encoded[i]
            if len(windows) == 1 and len(windows[0].separators) == len(texts):
                known = self._find(windows[0])
                start = windows[0].separators[len(known) - 1] + 1 if known else 0
                jobs.append(_Job(i, windows[0], known, start))
                read[i] = jobs[-1].new, start
            elif windows:
                (out[i],), (tokens,) = self.scorer.score_counted([(prompt, texts)])
                read[i] = tokens, 0
        for batch in _batches(sorted(jobs, key=lambda job: (job.start, job.new))):
            self._read(batch, out)
        self._forget()
        return out, read

    def _find(self, window: EncodedSteps) -> list[_Known]:
        """The longest beginning that was read before, as its steps."""
        ids = tuple(window.ids)
        for end in reversed(window.separators):
            chain: list[_Known] = []
            key = ids[: end + 1]
            while key and (step := self._steps.get(key)) is not None:
                self._steps.move_to_end(key)
                chain.append(step)
                key = step.before
            if chain and not key:
                return chain[::-1]
        return []

    def _read(self, jobs: Sequence[_Job], out: list[list[float]]) -> None:
        """One forward pass over the new tokens of some texts, each after its own old ones."""
        import torch
        from transformers import DynamicCache

        for job in [j for j in jobs if not j.new]:
            out[job.trace] = [step.score for step in job.known]
        jobs = [j for j in jobs if j.new]
        if not jobs:
            return
        old, new = max(j.start for j in jobs), max(j.new for j in jobs)
        pad = self.scorer.tokenizer.pad_token_id or 0
        ids_BT = torch.full((len(jobs), new), pad)
        seen_BT = torch.zeros((len(jobs), old + new), dtype=torch.long)  # old tokens stand on the right of their part
        place_BT = torch.zeros((len(jobs), new), dtype=torch.long)
        for row, job in enumerate(jobs):
            ids_BT[row, : job.new] = torch.tensor(job.window.ids[job.start :])
            seen_BT[row, old - job.start : old + job.new] = 1
            place_BT[row] = torch.arange(job.start, job.start + new)
        ids_BT, seen_BT, place_BT = (each.to(self.scorer.device) for each in (ids_BT, seen_BT, place_BT))
        with torch.inference_mode():
            cache: Any = DynamicCache()
            if old:
                for layer, (keys, values) in enumerate(_padded([j.known for j in jobs], old)):
                    cache.update(keys, values, layer)
            z_BT = self.scorer.z_of(
                ids_BT, attention_mask=seen_BT, position_ids=place_BT, past_key_values=cache, use_cache=True
            )
            good_BT = torch.sigmoid(z_BT).cpu()
            for row, job in enumerate(jobs):
                out[job.trace] = [step.score for step in job.known]
                start, ids = job.start, tuple(job.window.ids)
                before: Ids = ids[:start]
                for end in job.window.separators[len(job.known) :]:
                    score = float(good_BT[row, end - job.start])
                    at = slice(old - job.start + start, old - job.start + end + 1)
                    tensors = [t[row, :, at].clone() for layer in cache.layers for t in (layer.keys, layer.values)]
                    self._keep(ids[: end + 1], _Known(before, tensors, score))
                    out[job.trace].append(score)
                    before, start = ids[: end + 1], end + 1

    def _keep(self, ids: Ids, step: _Known) -> None:
        if ids in self._steps:
            self._bytes -= self._steps.pop(ids).bytes
        self._steps[ids] = step
        self._bytes += step.bytes

    def _forget(self) -> None:
        while self._bytes > self._most and self._steps:
            self._bytes -= self._steps.popitem(last=False)[1].bytes


def _batches(jobs: Sequence[_Job]) -> Iterator[list[_Job]]:
    batch: list[_Job] = []
    old = new = 0
    for job in jobs:
        n = len(batch) + 1
        if batch and (n * max(new, job.new) > NEW_TOKENS or n * max(old, job.start) > OLD_TOKENS):
            yield batch
            batch, old, new = [], 0, 0
        batch.append(job)
        old, new = max(old, job.start), max(new, job.new)
    if batch:
        yield batch


def _padded(rows: Sequence[Sequence[_Known]], tokens: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Keys and values of each layer, (rows, heads, tokens, width), a row's own on the right."""
    import torch

    some = next(steps[0].tensors for steps in rows if steps)
    for layer in range(len(some) // 2):
        pair = []
        for which in (2 * layer, 2 * layer + 1):
            heads, _, width = some[which].shape
            whole = some[which].new_zeros(len(rows), heads, tokens, width)
            for row, steps in enumerate(rows):
                if steps:
                    own = torch.cat([step.tensors[which] for step in steps], dim=1)
                    whole[row, :, tokens - own.shape[1] :] = own
            pair.append(whole)
        yield pair[0], pair[1]
