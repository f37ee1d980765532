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
    """Everything that decides the weights. The shape is that of the shipped model, which was trained in stages (its card
    lists them); steps and learning rate are those that would do it in one."""

    layers: int = 5
    width: int = 192
    heads: int = 6
    mlp: int = 512
    steps: int = 20_000
    # Small batches: at this size steps are what is scarce. Measured after 310 k tokens: loss 1.11 with 2,048 tokens a
    # batch, 1.62 with 4,096.
    batch_tokens: int = 2048
    learning_rate: float = 1.5e-3
    warmup: int = 150
    decay: float = 0.9  # share of the steps in which the learning rate falls to zero
    seed: int = 1
    checkpoint_every: int = 250
    # "bf16": matrices in bfloat16 by autocast, weights and sums in float32 (1.2 to 1.3 times the speed on a core with
    # AVX-512 BF16, the same loss); "fp32" for processors without it.
    precision: str = "bf16"
    # The output matrix is multiplied by this when the model is saved: temperature 1 then draws as temperature 1 / sharpen
    # did in training. A small model leaves a little probability on moves that are not there; this takes most of it away
    # (on 500 held-out questions 1.6 % of the steps are wrong at 2, 1.1 % at 3, and 4-number questions solved rise from
    # 62.5 to 64.2 %), for some of the variety.
    sharpen: float = 3.0


@dataclass(frozen=True)
class Row:
    """One written search as token ids. labels: IGNORE where nothing is learned (the question; an end that was forced).
    soft: at these places of `ids` the label is a distribution over tokens, namely all that the explorer might have done.
    """

    ids: list[int]
    labels: list[int]
    soft: dict[int, dict[int, float]]


def encode(tokenizer, walk) -> Row:
    """Token ids, labels and the explorer's own chances (verb, first number, operation, second number, turn)."""
    from core.formats.steiner_tokens import NAME_START, REASONING_END, REFLECTION_START
    from core.tasks.countdown_text import CLOSER, NO_LUCK, RESTART, TOO_FAR
    from training.synthesis.pocket_tokenizer import ASK, BEGIN, END

    head = tokenizer(f"{BEGIN}{walk.prompt}{ASK}").input_ids
    body = tokenizer(f"{walk.response}{END}").input_ids
    ids = head + body
    labels = [IGNORE] * len(head) + body[:]
    token = tokenizer.convert_tokens_to_ids
    if walk.path is None:
        labels[len(head) + body.index(token(REASONING_END))] = IGNORE
    names = [i for i, x in enumerate(ids) if x == token(NAME_START)]
    reflections = [i for i, x in enumerate(ids) if x == token(REFLECTION_START)]
    turn_tokens = {token(phrase) for phrase in (CLOSER, NO_LUCK, RESTART, TOO_FAR)}
    soft: dict[int, dict[int, float]] = {}
    for name, reflection, choice in zip(names, reflections, walk.choices, strict=True):
        if choice.verbs:
            soft[name + 1] = {token(verb): p for verb, p in choice.verbs.items()}
        open_moves = {(token(f" {m.a}"), token(f" {m.op}"), token(f" {m.b}")): p for m, p in choice.moves.items()}
        for k in range(3):  # a, operation, b: each given those before it
            chances: dict[int, float] = {}
            total = sum(open_moves.values())
            for move, p in open_moves.items():
                chances[move[k]] = chances.get(move[k], 0.0) + p / total
            soft[name + 2 + k] = chances
            open_moves = {move: p for move, p in open_moves.items() if move[k] == ids[name + 2 + k]}
        if choice.turns:
            at = next(i for i in range(reflection, len(ids)) if ids[i] in turn_tokens)
            soft[at] = {token(phrase): p for phrase, p in choice.turns.items()}
    return Row(ids, labels, soft)


def batches(tokenizer, seed: int, batch_tokens: int, pool: int = 512) -> Iterator[list[Row]]:
    """Whole traces, of similar length together, at most `batch_tokens` padded tokens a batch (a longer trace goes alone)."""
    from training.synthesis.countdown import walks

    stream, rng = walks(seed), random.Random(seed)
    while True:
        rows = sorted((encode(tokenizer, next(stream)) for _ in range(pool)), key=lambda r: len(r.ids))
        groups: list[list[Row]] = [[]]
        for row in rows:
            if groups[-1] and (len(groups[-1]) + 1) * len(row.ids) > batch_tokens:
                groups.append([])
            groups[-1].append(row)
        rng.shuffle(groups)
        yield from groups


def tensors(rows: list[Row], pad: int, vocabulary: int):
    """ids (rows, longest), wanted (rows, longest - 1) marks what is predicted, targets (wanted, vocabulary) are
    distributions: one-hot, or the explorer's chances."""
    import torch

    longest = max(len(r.ids) for r in rows)
    x = torch.full((len(rows), longest), pad)
    y = torch.full((len(rows), longest), IGNORE)
    for i, row in enumerate(rows):
        x[i, : len(row.ids)] = torch.tensor(row.ids)
        y[i, : len(row.ids)] = torch.tensor(row.labels)
    wanted = y[:, 1:] != IGNORE
    targets = torch.zeros(len(rows), longest, vocabulary)
    targets.scatter_(2, y.clamp(min=0)[..., None], 1.0)
    for i, row in enumerate(rows):
        for at, chances in row.soft.items():
            targets[i, at] = 0.0
            targets[i, at, list(chances)] = torch.tensor(list(chances.values()))
    return x, wanted, targets[:, 1:][wanted]


def learning_rate_factor(step: int, recipe: PocketRecipe) -> float:
    """Warm-up, constant, linear decay (in [0, 1])."""
    if step < recipe.warmup:
        return (step + 1) / recipe.warmup
    start = recipe.steps * (1 - recipe.decay)
    return 1.0 if step < start else max(0.0, (recipe.steps - step) / (recipe.steps - start))


def new_model(recipe: PocketRecipe, tokenizer):
    """A `LlamaForCausalLM` with random weights. The output matrix is its own: what is copied from a list arrives as a
    sum of numbers' vectors, and number vectors that lie on circles are bad at telling such sums apart."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(recipe.seed)
    vocab = -(-len(tokenizer) // 16) * 16
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocab, hidden_size=recipe.width, intermediate_size=recipe.mlp,
            num_hidden_layers=recipe.layers, num_attention_heads=recipe.heads, num_key_value_heads=recipe.heads,
            max_position_embeddings=4096, tie_word_embeddings=False, initializer_range=0.04,
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

    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and not n.startswith(("model.embed", "lm_head"))]
    rest = [p for n, p in model.named_parameters() if p.ndim != 2 or n.startswith(("model.embed", "lm_head"))]
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
        from safetensors.torch import load_file

        weights = load_file(start / "model.safetensors")
        if "lm_head.weight" in weights:
            weights["lm_head.weight"] = weights["lm_head.weight"] / recipe.sharpen
        else:  # a model that ties the two
            weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
        model.load_state_dict(weights)
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
            rows = next(stream)
            x, wanted, targets = tensors(rows, tokenizer.pad_token_id, model.config.vocab_size)
            # Right padding under a causal mask needs no attention mask, which keeps the fast attention path.
            with torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision == "bf16"):
                hidden = model.model(input_ids=x, use_cache=False).last_hidden_state[:, :-1]
                logits = model.lm_head(hidden[wanted])
            loss = F.cross_entropy(logits.float(), targets)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            factor = learning_rate_factor(step, recipe)
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
            n = sum(len(r.ids) for r in rows)
            seen, since = seen + n, since + n
            running = loss.item() if running == 0 else 0.99 * running + 0.01 * loss.item()
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
                save(model, tokenizer, out / "model", recipe.sharpen)
    save(model, tokenizer, out / "model", recipe.sharpen)
    return out / "model"


def save(model, tokenizer, folder: Path, sharpen: float = 1.0) -> None:
    """Weights as float32 safetensors beside the tokenizer, loadable by transformers and vLLM; sharpened (see recipe)."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = model.state_dict()
    weights["lm_head.weight"] = weights["lm_head.weight"] * sharpen
    model.save_pretrained(folder, state_dict=weights)
    tokenizer.save_pretrained(folder)
