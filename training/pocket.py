"""Train the pocket model: a few million parameters that play the numbers game in Steiner's format.

A plain loop over an endless stream of written searches (`synthesis/countdown.py`), one command, one core. It knows
nothing of ratings or snapshots: fine-tuning the result is `sft.py`, which is a different job.

What is simplified: no validation split inside the loop (the held-out questions are measured by `pocket_eval.py` in full
rollouts), no distributed training (minutes on a GPU, about two hours on one CPU core).

Schedule: warm-up, constant, linear decay to zero (WSD), so that the decay can start from any checkpoint of the constant
phase. (`torch.optim.Muon` orthogonalises in bfloat16, which is slower on a CPU than the whole training step.)
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

IGNORE = -100


@dataclass(frozen=True)
class PocketRecipe:
    """Everything that decides the weights. Defaults are those of the shipped model."""

    layers: int = 5
    width: int = 192
    heads: int = 6
    mlp: int = 512
    steps: int = 10_000
    # Small batches: at this size steps are what is scarce. Measured after 310 k tokens: loss 1.11 with 2,048 tokens a
    # batch, 1.62 with 4,096.
    batch_tokens: int = 2048
    learning_rate: float = 2e-3
    warmup: int = 150
    decay: float = 0.65  # share of the steps in which the learning rate falls to zero
    seed: int = 1
    checkpoint_every: int = 250


def encode(tokenizer, walk) -> tuple[list[int], list[int]]:
    """Token ids of one written search and its labels: the question is not trained on, nor is an end that was forced."""
    from core.formats.steiner_tokens import REASONING_END
    from training.synthesis.pocket_tokenizer import ASK, BEGIN, END

    head = tokenizer(f"{BEGIN}{walk.prompt}{ASK}").input_ids
    body = tokenizer(f"{walk.response}{END}").input_ids
    labels = [IGNORE] * len(head) + body[:]
    if walk.path is None:
        end = tokenizer.convert_tokens_to_ids(REASONING_END)
        labels[len(head) + body.index(end)] = IGNORE
    return head + body, labels


def batches(
    tokenizer, seed: int, batch_tokens: int, pool: int = 512
) -> Iterator[tuple[list[list[int]], list[list[int]]]]:
    """Whole traces, of similar length together, at most `batch_tokens` padded tokens a batch (a longer trace goes alone)."""
    from training.synthesis.countdown import walks

    stream, rng = walks(seed), random.Random(seed)
    while True:
        rows = sorted((encode(tokenizer, next(stream)) for _ in range(pool)), key=lambda r: len(r[0]))
        groups: list[list[tuple[list[int], list[int]]]] = [[]]
        for row in rows:
            if groups[-1] and (len(groups[-1]) + 1) * len(row[0]) > batch_tokens:
                groups.append([])
            groups[-1].append(row)
        rng.shuffle(groups)
        for group in groups:
            yield [ids for ids, _ in group], [labels for _, labels in group]


def learning_rate_factor(step: int, recipe: PocketRecipe) -> float:
    """Warm-up, constant, linear decay (in [0, 1])."""
    if step < recipe.warmup:
        return (step + 1) / recipe.warmup
    start = recipe.steps * (1 - recipe.decay)
    return 1.0 if step < start else max(0.0, (recipe.steps - step) / (recipe.steps - start))


def new_model(recipe: PocketRecipe, tokenizer):
    """A `LlamaForCausalLM` with random weights, embeddings tied."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(recipe.seed)
    vocab = -(-len(tokenizer) // 16) * 16
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocab, hidden_size=recipe.width, intermediate_size=recipe.mlp,
            num_hidden_layers=recipe.layers, num_attention_heads=recipe.heads, num_key_value_heads=recipe.heads,
            max_position_embeddings=4096, tie_word_embeddings=True, initializer_range=0.04,
            bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
            attention_bias=False, mlp_bias=False,
        )
    )  # fmt: skip
    embed_numbers(model.get_input_embeddings().weight, tokenizer)
    return model


def embed_numbers(weight, tokenizer) -> None:
    """Start the number tokens as points on circles: cos and sin of n and of log n at several periods, scaled to the
    standard deviation of the other rows. Sums and products are then rotations, which a small model finds early
    (number embeddings of trained models end up so: Nanda et al. 2023, arXiv 2301.05217). weight: (vocabulary, width).
    """
    import torch

    from core.tasks.countdown import LARGEST

    rows = [tokenizer.convert_tokens_to_ids(f" {n}") for n in range(LARGEST + 1)]
    n = torch.arange(LARGEST + 1, dtype=torch.float32)[:, None]
    linear = 2 * torch.pi * n / torch.tensor([2.0, 3, 4, 5, 7, 10, 13, 20, 30, 50, 100, 200, 400])
    logarithmic = 2 * torch.pi * torch.log(n.clamp(min=0.5)) / torch.tensor([0.15, 0.25, 0.4, 0.7, 1.1, 2.0, 4.0, 10.0])
    circles = torch.cat([linear.cos(), linear.sin(), logarithmic.cos(), logarithmic.sin()], dim=1)
    with torch.no_grad():
        spread = weight[rows].std()
        mixed = circles @ torch.randn(circles.shape[1], weight.shape[1]) / circles.shape[1] ** 0.5
        weight[rows] = 0.3 * weight[rows] + mixed / mixed.std() * spread


def optimizer_of(model, recipe: PocketRecipe):
    """AdamW over all parameters, no decay on norms and embeddings."""
    import torch

    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    rest = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    groups = [{"params": matrices, "weight_decay": 0.01}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.95), fused=True)


def train(recipe: PocketRecipe, out: Path, *, resume: bool = False, start: Path | None = None, say=print) -> Path:
    """Train, writing `metrics.jsonl`, `recipe.json` and checkpoints under `out`; returns the folder of the final model.

    start: begin with the weights of this model (same shape) instead of random ones; step count and optimiser are new.
    resume: go on from the newest checkpoint in `out` (the data stream is re-seeded with the step, so a resumed run sees
    other traces than an unbroken one; the shipped model's card says whether it was resumed).
    """
    import torch
    import torch.nn.functional as F

    from training.synthesis.pocket_tokenizer import build

    out.mkdir(parents=True, exist_ok=True)
    tokenizer = build()
    model = new_model(recipe, tokenizer)
    if start is not None:
        from safetensors.torch import load_model

        load_model(model, start / "model.safetensors")
    optimizer = optimizer_of(model, recipe)
    step, seen = 0, 0
    checkpoint = out / "checkpoint.pt"
    if resume and checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step, seen = state["step"], state["tokens"]
    (out / "recipe.json").write_text(json.dumps(asdict(recipe), indent=2))
    parameters = sum(p.numel() for p in model.parameters())
    say(f"{parameters:,} parameters, {len(tokenizer)} tokens in the vocabulary, from step {step} to {recipe.steps}")
    stream = batches(tokenizer, recipe.seed + 1_000_003 * step, recipe.batch_tokens)
    started, last, since = time.time(), time.time(), 0
    running = 0.0
    with (out / "metrics.jsonl").open("a") as log:
        while step < recipe.steps:
            ids, labels = next(stream)
            longest = max(map(len, ids))
            x = torch.full((len(ids), longest), tokenizer.pad_token_id)
            y = torch.full((len(ids), longest), IGNORE)
            for i, (a, b) in enumerate(zip(ids, labels, strict=True)):
                x[i, : len(a)] = torch.tensor(a)
                y[i, : len(b)] = torch.tensor(b)
            # Right padding under a causal mask needs no attention mask, which keeps the fast attention path.
            hidden = model.model(input_ids=x, use_cache=False).last_hidden_state[:, :-1]
            wanted = y[:, 1:] != IGNORE
            logits = model.lm_head(hidden[wanted])
            loss = F.cross_entropy(logits, y[:, 1:][wanted])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            factor = learning_rate_factor(step, recipe)
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
            n = sum(map(len, ids))
            seen, since = seen + n, since + n
            running = loss.item() if running == 0 else 0.95 * running + 0.05 * loss.item()
            if step % 10 == 0:
                row = {
                    "step": step, "loss": round(running, 4), "tokens": seen, "lr": factor,
                    "tokens_per_s": round(since / (time.time() - last)), "seconds": round(time.time() - started),
                }  # fmt: skip
                log.write(json.dumps(row) + "\n")
                log.flush()
                say(row)
                last, since = time.time(), 0
            if step % recipe.checkpoint_every == 0 or step == recipe.steps:
                partial = checkpoint.with_suffix(".partial")
                torch.save(
                    {
                        "model": model.state_dict(),
                        "optimizer": optimizer.state_dict(),
                        "step": step,
                        "tokens": seen,
                    },
                    partial,
                )
                partial.replace(checkpoint)
                save(model, tokenizer, out / "model")
    return out / "model"


def save(model, tokenizer, folder: Path) -> None:
    """Weights as float32 safetensors beside the tokenizer, loadable by transformers and vLLM."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
