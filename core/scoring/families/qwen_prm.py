"""Qwen2.5-Math-PRM 7B/72B (Zhang et al. 2025, arXiv 2501.07301): ChatML, `<extra_0>` after each step, a two-layer head.

z = logit₁ − logit₀ of Linear–ReLU–Linear at each `<extra_0>`. The published folder loads by code that it brings along;
that code is never run: the body is an ordinary Qwen2 and the head is four tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from core.scoring.encoding import EncodedSteps
from core.scoring.families.base import ALONE, Common, FamilyError, along, ids_of, load_body, one_id

SYSTEM = "Please reason step by step, and put your final answer within \\boxed{}."
TAG = "<extra_0>"
HEAD = ("score.0.weight", "score.0.bias", "score.2.weight", "score.2.bias")


class _QwenPrm(Common):
    name, title = "qwen", "Qwen2.5-Math-PRM"

    def fits(self, config: Mapping[str, Any], folder: Path) -> bool:
        return "Qwen2ForProcessRewardModel" in (config.get("architectures") or ())

    def encode(self, tokenizer: Any, prompt: str, step_texts: Sequence[str]) -> EncodedSteps:
        tag = one_id(tokenizer, TAG, self.title)
        head = f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"
        ids, at = [i for i in ids_of(tokenizer, head) if i != tag], []
        for text in step_texts:
            ids += [*(i for i in ids_of(tokenizer, text) if i != tag), tag]
            at.append(len(ids) - 1)
        return EncodedSteps(ids, at)

    def load(self, folder: Path) -> tuple[Any, Callable[..., Any]]:
        import torch

        body, heads = load_body(folder)
        missing = [name for name in HEAD if name not in heads]
        if missing:
            raise FamilyError(f"{folder} has no {missing[0]}: it is not a {self.title}.")
        w0, b0, w2, b2 = (heads[name] for name in HEAD)
        along(body, step_w0=w0, step_b0=b0, step_row=w2[1] - w2[0], step_bias=b2[1] - b2[0])

        def z_of(ids_BT: Any, **how: Any) -> Any:
            hidden_BTD = body(input_ids=ids_BT, **(ALONE | how)).last_hidden_state
            inner_BTD = torch.relu(hidden_BTD @ body.step_w0.T + body.step_b0)
            return inner_BTD @ body.step_row + body.step_bias

        return body, z_of


FAMILY = _QwenPrm()
