"""Training tokens a CPU second: our jobs' loop, a bare torch loop on the same rows in the same order, and TRL's SFTTrainer.

Rows are written searches of the numbers game, of very different lengths as traces are. All three train the pocket model in
float32 on one thread, batch 8, no gradient checkpointing; TRL's defaults of bfloat16 and checkpointing, which are slow on a
CPU, are switched off. Real tokens count, padding does not; CPU seconds of this process, so that a busy machine matters less.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.table import Row
from training.rows import IGNORE, NAN, TokenRow

ROWS = 48
BATCH = 8
ROUNDS = 2  # the best of


def measure() -> list[Row]:
    import torch

    torch.set_num_threads(1)
    sft, prm = _rows()
    tokens = sum(len(row.ids) for row in sft)
    found = []
    trl = tokens / min(_trl(sft, packing=False) for _ in range(ROUNDS))
    packed = tokens / min(_trl(sft, packing=True) for _ in range(ROUNDS))
    for kind, rows in (("sft", sft), ("prm", prm)):
        tokens = sum(len(row.ids) for row in rows)
        best = {"ours": math.inf, "bare": math.inf}
        for _ in range(ROUNDS):  # in turn, so that both meet the same neighbours
            best["ours"] = min(best["ours"], _ours(kind, rows))
            best["bare"] = min(best["bare"], _bare(kind, rows))
        ours = tokens / best["ours"]
        found += [
            Row(f"{kind}: our loop", ours, "tokens/CPU s", tokens / best["bare"], "bare torch loop"),
            Row(f"{kind}: our loop", ours, "tokens/CPU s", trl, "TRL SFTTrainer, padded", f"TRL packed: {packed:,.0f}"),
        ]
    return found


def _rows() -> tuple[list[TokenRow], list[TokenRow]]:
    from core.pocket import model_dir
    from core.scoring.encoding import encode_prompt, encode_steps
    from training.base_model import load_tokenizer
    from training.synthesis.countdown import step_text, walks

    tokenizer = load_tokenizer(model_dir())
    sft, prm = [], []
    for number, walk in enumerate(walks(7)):
        if number == ROWS:
            break
        head = encode_prompt(tokenizer, walk.prompt)
        body = tokenizer(walk.response, add_special_tokens=False).input_ids
        sft.append(TokenRow(head + body, [IGNORE] * len(head) + body, str(number), str(number)))
        steps = encode_steps(tokenizer, walk.prompt, [step_text(s) for s in walk.steps], 3072)
        labels = [NAN] * len(steps.ids)
        for i, at in enumerate(steps.separators):
            labels[at] = float(i % 2)  # what the labels say costs nothing
        prm.append(TokenRow(steps.ids, labels, str(number), str(number)))
    return sft, prm


def _model(kind: str) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    from core.pocket import model_dir
    from training.base_model import fit_vocabulary, load_tokenizer
    from training.kinds.prm import new_prm

    tokenizer = load_tokenizer(model_dir())
    if kind == "prm":
        return new_prm(model_dir(), tokenizer, 1)
    model = AutoModelForCausalLM.from_pretrained(model_dir(), dtype=torch.float32)
    fit_vocabulary(model, tokenizer)
    return model


def _recipe(kind: str) -> Any:
    from training.recipe import resolve_recipe

    given = [f"batch={BATCH}", "accumulate=1", "epochs=1", "min_steps=1", "device=cpu", "threads=1"]
    return resolve_recipe(kind, [*given, "checkpoint_every=100000", "learning_rate=1e-4"])


def _ours(kind: str, rows: Sequence[TokenRow]) -> float:
    """CPU seconds of one pass, the checkpoint at its end included."""
    from training.kinds.prm import PrmObjective
    from training.kinds.sft import NextToken
    from training.loop import fit
    from training.run_folder import JobStatus, Run, RunFolder

    began: list[float] = []

    def note(status: JobStatus) -> None:
        if status.phase.startswith("training") and not began:
            began.append(time.process_time())

    model = _model(kind)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(RunFolder(Path(folder)), JobStatus("bench", kind, "running", ""), note)
        fit(model, rows, PrmObjective() if kind == "prm" else NextToken(), _recipe(kind), run)
    return time.process_time() - began[0]


def _bare(kind: str, rows: Sequence[TokenRow]) -> float:
    """CPU seconds of the loop one would write: the same batches, padded, every output computed."""
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

    from training.loop import make_plan

    model = _model(kind).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    plan = make_plan([len(r.ids) for r in rows], 1, BATCH, 1)
    began = time.process_time()
    for start in range(0, len(plan), BATCH):
        batch = [rows[i] for i in plan[start : start + BATCH]]
        longest = max(len(r.ids) for r in batch)
        nothing = NAN if kind == "prm" else IGNORE
        ids = torch.tensor([r.ids + [0] * (longest - len(r.ids)) for r in batch])
        labels = torch.tensor([r.labels + [nothing] * (longest - len(r.ids)) for r in batch])
        logits = model(input_ids=ids, use_cache=False).logits
        if kind == "prm":
            known = ~labels.isnan()
            loss = binary_cross_entropy_with_logits(logits[known][:, 1] - logits[known][:, 0], labels[known])
        else:
            loss = cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten().long(), ignore_index=IGNORE)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return time.process_time() - began


def _trl(rows: Sequence[TokenRow], *, packing: bool) -> float:
    """CPU seconds of one pass of TRL's trainer, from its first step on."""
    import transformers
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    from core.pocket import model_dir
    from training.base_model import load_tokenizer

    times: list[float] = []

    class Clock(transformers.TrainerCallback):
        def on_train_begin(self, args, state, control, **kwargs):
            times.append(time.process_time())

        def on_train_end(self, args, state, control, **kwargs):
            times.append(time.process_time())

    data = Dataset.from_list([{"input_ids": r.ids, "labels": [int(y) for y in r.labels]} for r in rows])
    with tempfile.TemporaryDirectory() as folder:
        settings = SFTConfig(
            output_dir=folder, per_device_train_batch_size=1 if packing else BATCH, num_train_epochs=1, learning_rate=1e-4,
            use_cpu=True, bf16=False, gradient_checkpointing=False, save_strategy="no", report_to="none", logging_steps=10,
            # Packed: rows of about as many tokens as a padded batch of ours has.
            max_length=max(len(r.ids) for r in rows) if not packing else BATCH * sum(len(r.ids) for r in rows) // len(rows),
            packing=packing, disable_tqdm=True, optim="adamw_torch", dataloader_pin_memory=False,
        )  # fmt: skip
        trainer = SFTTrainer(
            model=_model("sft"), args=settings, train_dataset=data, processing_class=load_tokenizer(model_dir()),
            callbacks=[Clock()],
        )  # fmt: skip
        trainer.train()
    return times[-1] - times[0]
