"""Rollouts of RL beside the loop that TRL would use (`model.generate`), on the same model, prompts and length: CPU seconds."""

from __future__ import annotations

import time
from collections.abc import Callable

from benchmarks.table import Row

ROLLOUTS = 32
TOKENS = 160
ROUNDS = 2


def measure() -> list[Row]:
    """Alternate the two, take the best of `ROUNDS` of each."""
    import torch
    from transformers import AutoModelForCausalLM

    from core.pocket import model_dir
    from core.scoring.encoding import encode_prompt
    from training.base_model import load_tokenizer
    from training.kinds.rl import game_questions
    from training.rollouts import sample

    torch.set_num_threads(1)
    tokenizer = load_tokenizer(model_dir())
    model = AutoModelForCausalLM.from_pretrained(model_dir(), dtype=torch.float32).eval()
    heads = [encode_prompt(tokenizer, prompt) for prompt in game_questions(ROLLOUTS, 1)]
    longest = max(map(len, heads))
    padded = torch.tensor([[tokenizer.pad_token_id] * (longest - len(h)) + h for h in heads])
    mask = torch.tensor([[0] * (longest - len(h)) + [1] * len(h) for h in heads])

    def ours() -> int:
        made = sample(
            model,
            heads,
            max_tokens=TOKENS,
            temperature=1.0,
            seed=1,
            eos=tokenizer.eos_token_id,
            vocabulary=len(tokenizer),
        )
        return sum(map(len, made))

    def theirs() -> int:
        with torch.inference_mode():
            out = model.generate(
                padded, attention_mask=mask, do_sample=True, top_k=0, max_new_tokens=TOKENS,
                pad_token_id=tokenizer.pad_token_id,
            )[:, longest:]  # fmt: skip
        return int((out != tokenizer.pad_token_id).sum())

    def speed(loop: Callable[[], int]) -> float:
        began = time.process_time()
        return loop() / (time.process_time() - began)

    rounds = [(speed(ours), speed(theirs)) for _ in range(ROUNDS)]
    best, other = (max(values) for values in zip(*rounds, strict=True))
    note = f"{ROLLOUTS} rollouts of at most {TOKENS} tokens"
    return [Row("RL rollouts", best, "tokens/CPU s", other, "model.generate, which TRL calls", note)]
