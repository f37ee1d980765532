"""Tokens/s of the local engine beside a bare `model.generate` loop on the same model, and what batching adds."""

from __future__ import annotations

import asyncio
import time

from benchmarks.table import Row

QUESTION = "Reach 97 from 1, 5, 7 and 11."
TOKENS = 300
ROUNDS = 3
BATCH = 16


def measure() -> list[Row]:
    """Alternate the two, take the best of `ROUNDS` of each: noise only ever slows down."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from core.engines.base import Bounds, GenerateRequest, Sampling
    from core.engines.local import LocalEngine
    from core.pocket import model_dir

    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(model_dir())
    model = AutoModelForCausalLM.from_pretrained(model_dir(), dtype=torch.float32).eval()
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": QUESTION}], tokenize=False, add_generation_prompt=True
    )
    prompt = tokenizer(text, add_special_tokens=False, return_tensors="pt")

    def bare() -> float:
        started = time.perf_counter()
        with torch.inference_mode():
            out = model.generate(**prompt, do_sample=True, top_k=0, max_new_tokens=TOKENS, min_new_tokens=TOKENS)
        return (out.shape[1] - prompt.input_ids.shape[1]) / (time.perf_counter() - started)

    async def stream(engine: LocalEngine, seed: int) -> int:
        request = GenerateRequest(QUESTION, Sampling(seed=seed, max_tokens=TOKENS), Bounds(60, 60))
        return sum([c.tokens async for c in engine.stream(request)])

    async def rounds() -> tuple[list[float], list[float], list[float]]:
        engine = LocalEngine(None)
        await stream(engine, 0)
        alone, plain, batched = [], [], []
        for i in range(ROUNDS):
            plain.append(await asyncio.to_thread(bare))
            started = time.perf_counter()
            made = await stream(engine, i)
            alone.append(made / (time.perf_counter() - started))
            started = time.perf_counter()
            made = sum(await asyncio.gather(*(stream(engine, k) for k in range(BATCH))))
            batched.append(made / (time.perf_counter() - started))
        await engine.close()
        return alone, plain, batched

    alone, plain, batched = asyncio.run(rounds())
    return [
        Row("local engine, one run", max(alone), "tokens/s", max(plain), "a bare model.generate loop", "one thread"),
        Row(f"local engine, {BATCH} runs together", max(batched), "tokens/s", max(alone), "one run"),
    ]
