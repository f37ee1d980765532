"""Which steps come to the same: by exact states where the task has them, else by embeddings of their texts."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any

from core.pretrained import library, load_weights
from core.tasks import countdown_text as words
from core.trace import Trace

# Cosine above which two steps are one node. With mean-pooled states of a language model, whose cosines are all high.
SAME = 0.95
Embed = Callable[[Sequence[str]], Any]  # texts → array (n, d)


def question(trace: Trace) -> str:
    """What makes two traces searches of one question: the task's own identity where it has one, else the prompt."""
    try:
        return repr(words.understand(trace.prompt))
    except ValueError:
        return trace.problem_id


def exact(traces: Sequence[Trace]) -> list[list[Hashable]]:
    """Numbers game: a step's cluster is the state it leaves; a step whose claims do not hold is a cluster of its own.

    Raises ValueError where the question is of another task.
    """
    found = []
    for trace in traces:
        checked = words.check(words.understand(trace.prompt), list(trace.steps)).steps
        keys: list[Hashable] = [c.left if c.move else (trace.trace_id, i) for i, c in enumerate(checked)]
        found.append(keys)
    return found


def by_embedding(traces: Sequence[Trace], embed: Embed, same: float = SAME) -> list[list[Hashable]]:
    """Leader clustering (Hartigan 1975): in the order of the traces, a step joins the nearest leader with a cosine of at
    least `same`, or becomes one. Cluster names are 0, 1, …
    """
    import numpy as np

    texts = [meaning(trace, i) for trace in traces for i in range(len(trace.steps))]
    if not texts:
        return [[] for _ in traces]
    vectors = np.asarray(embed(texts), dtype=float)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    leaders: list[Any] = []
    names: list[int] = []
    for vector in vectors:
        near = np.asarray(leaders) @ vector if leaders else np.zeros(0)
        best = int(near.argmax()) if len(near) else -1
        if best < 0 or near[best] < same:
            leaders.append(vector)
            best = len(leaders) - 1
        names.append(best)
    at = iter(names)
    return [[next(at) for _ in trace.steps] for trace in traces]


def meaning(trace: Trace, i: int) -> str:
    """What of a step is compared: its summary where it has one (what it came to), else all of it."""
    step = trace.steps[i]
    return step.summary or step.thought or trace.step_text(i)


def model_embedder(folder: Path, batch: int = 32) -> Embed:
    """Mean of the last hidden states of a language model from a folder, less the mean over all texts (which most of such a
    vector is: Ethayarajh 2019, arXiv 1909.00512)."""
    import numpy as np
    import torch

    tokenizer = library().AutoTokenizer.from_pretrained(folder)
    model = load_weights("AutoModel", folder, dtype=torch.float32).eval()

    def embed(texts: Sequence[str]) -> Any:
        found = []
        with torch.inference_mode():
            for start in range(0, len(texts), batch):
                rows = [tokenizer(x, add_special_tokens=False).input_ids or [0] for x in texts[start : start + batch]]
                longest = max(map(len, rows))
                ids_BT = torch.tensor([r + [0] * (longest - len(r)) for r in rows])
                mask_BT = torch.tensor([[1.0] * len(r) + [0.0] * (longest - len(r)) for r in rows])
                hidden_BTD = model(
                    input_ids=ids_BT, use_cache=False
                ).last_hidden_state  # padding on the right: not seen
                found.append(((hidden_BTD * mask_BT[..., None]).sum(1) / mask_BT.sum(1, keepdim=True)).numpy())
        vectors = np.concatenate(found)
        return vectors - vectors.mean(axis=0)

    return embed
