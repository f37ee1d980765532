"""Skywork-o1-Open-PRM 1.5B/7B: bos + problem + line break, a line break after each step, sigmoid of a value head there.

`convert` writes the same model as two labels (bad: logit 0, good: logit v, so softmax₁ = sigmoid(v)), which vLLM serves.
Layout: `prepare_input` of SkyworkAI/skywork-o1-prm-inference. Simplified: line breaks inside a step are not scored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from core.pretrained import library
from core.scoring.encoding import EncodedSteps
from core.scoring.families.base import ALONE, Common, FamilyError, along, ids_of, load_body, load_labels

CONVERTED = "skywork_as_two_labels"  # in config.json: steps are still laid out as Skywork's
WEIGHT, BIAS = "v_head.summary.weight", "v_head.summary.bias"


class _Skywork(Common):
    name, title = "skywork", "Skywork-o1-Open-PRM"

    def fits(self, config: Mapping[str, Any], folder: Path) -> bool:
        return bool(config.get(CONVERTED)) or any(a.endswith("ForPrmModel") for a in config.get("architectures") or ())

    def encode(self, tokenizer: Any, prompt: str, step_texts: Sequence[str]) -> EncodedSteps:
        end = ids_of(tokenizer, "\n")[-1]
        ids, at = ids_of(tokenizer, f"{tokenizer.bos_token or ''}{prompt}\n"), []
        for text in step_texts:
            ids += [*ids_of(tokenizer, text.strip("\n")), end]
            at.append(len(ids) - 1)
        return EncodedSteps(ids, at)

    def load(self, folder: Path) -> tuple[Any, Callable[..., Any]]:
        if CONVERTED in (folder / "config.json").read_text(encoding="utf-8"):
            return load_labels(folder)
        body, heads = load_body(folder)
        weight_1D, bias_1 = _value_head(folder, heads)
        along(body, step_row=weight_1D[0], step_bias=bias_1[0])

        def z_of(ids_BT: Any, **how: Any) -> Any:
            hidden_BTD = body(input_ids=ids_BT, **(ALONE | how)).last_hidden_state
            return hidden_BTD @ body.step_row + body.step_bias

        return body, z_of


def _value_head(folder: Path, heads: Mapping[str, Any]) -> tuple[Any, Any]:
    try:
        return heads[WEIGHT], heads[BIAS]
    except KeyError as error:
        raise FamilyError(f"{folder} has no {error.args[0]}: it is not a Skywork-o1-Open-PRM.") from None


def convert(folder: Path, out: Path) -> Path:
    """Write a Skywork model as `*ForTokenClassification` with two labels into the new folder `out`."""
    import torch

    body, heads = load_body(folder)
    weight_1D, bias_1 = _value_head(folder, heads)
    config = library().AutoConfig.from_pretrained(folder, trust_remote_code=False)
    setattr(config, CONVERTED, True)
    config.num_labels, config.classifier_dropout = 2, 0.0
    config.id2label, config.label2id = {0: "bad", 1: "good"}, {"bad": 0, "good": 1}
    model = library().AutoModelForTokenClassification.from_config(config).float()
    model.base_model.load_state_dict(body.state_dict())
    with torch.no_grad():
        model.score.weight.copy_(torch.cat([torch.zeros_like(weight_1D), weight_1D]))
        model.score.bias.copy_(torch.cat([torch.zeros_like(bias_1), bias_1]))
    model.save_pretrained(out)
    library().AutoTokenizer.from_pretrained(folder).save_pretrained(out)
    return out


FAMILY = _Skywork()
