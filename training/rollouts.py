"""Rollouts from the model that is being trained, in process: all together, one token a turn, over a dense cache.

TRL's own loop (`model.generate`) copies every key and value of every row once a token; here a turn is a view of the cache
(`core/engines/dense_cache.py`), a row that ends makes room, and one draw chooses for all rows. The same seed gives the
same rollouts on the same machine. Knows no reward.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class NotNumbers(ArithmeticError):
    """The model's outputs are not numbers: its weights have run away."""


# Rows decoded together: beyond this a CPU gains nothing, and the cache of a long rollout is large.
ROWS = 64


def sample(
    model: Any, prompts: Sequence[Sequence[int]], *, max_tokens: int, temperature: float, seed: int, eos: int,
    vocabulary: int, every_turn: Any = None,
) -> list[list[int]]:  # fmt: skip
    """Token ids of one completion a prompt, at most `max_tokens` each, the end token included where one came.

    vocabulary: ids from here on are padding of the output matrix and are never drawn. every_turn: called once a turn;
    raises to give up. temperature 0 is greedy.
    Raises NotNumbers.
    """
    import torch

    from core.engines.dense_cache import dense_rows

    generator = torch.Generator(device="cpu").manual_seed(seed)
    was_training = model.training
    model.eval()
    cache = dense_rows(model)
    device = model.device
    out: list[list[int]] = [[] for _ in prompts]
    waiting = list(range(len(prompts)))[::-1]
    live: list[int] = []  # which prompt each row of the cache belongs to
    lengths: list[int] = []

    def draw(logits_RV: Any) -> list[int]:
        logits_RV = logits_RV[:, :vocabulary].float().cpu()
        if not torch.isfinite(logits_RV).all():
            raise NotNumbers("the model's outputs are not numbers")
        if temperature == 0:
            return logits_RV.argmax(-1).tolist()
        p_RV = torch.softmax(logits_RV / temperature, dim=-1)
        return torch.multinomial(p_RV, 1, generator=generator)[:, 0].tolist()

    try:
        with torch.inference_mode():
            while waiting or live:
                while waiting and len(live) < ROWS:
                    which = waiting.pop()
                    ids = list(prompts[which])
                    cache.begin_prefill(len(live), len(ids))
                    logits = model(
                        input_ids=torch.tensor([ids], device=device),
                        past_key_values=cache,
                        use_cache=True,
                        logits_to_keep=1,
                    ).logits[:, -1]
                    live.append(which)
                    lengths.append(len(ids))
                    out[which] += draw(logits)
                for row in reversed(range(len(live))):
                    made = out[live[row]]
                    if made[-1] == eos or len(made) >= max_tokens:
                        last = len(live) - 1
                        if row != last:
                            cache.move(last, row, lengths[last])
                            live[row], lengths[row] = live[last], lengths[last]
                        live.pop()
                        lengths.pop()
                if not live:
                    continue
                if every_turn is not None:
                    every_turn()
                mask = cache.begin_decode(lengths)
                logits = model(
                    input_ids=torch.tensor([[out[i][-1]] for i in live], device=device),
                    position_ids=torch.tensor(lengths, device=device)[:, None],
                    attention_mask=mask, past_key_values=cache, use_cache=True,
                ).logits[:, -1]  # fmt: skip
                for row, token in enumerate(draw(logits)):
                    lengths[row] += 1
                    out[live[row]].append(token)
    finally:
        model.train(was_training)
    return out
