"""TRL's former PRMTrainer, and what follows its layout: two labels at the last token of a separator of plain text.

    ids = [bos?] + tok(prompt) + Σ (tok(step) + tok("\\n"))          (trl 0.13 to 1.13, `PRMTrainer.tokenize_row`)

No chat template and nothing between prompt and first step. The separator is not stored with the model: it is "\\n" by
TRL's default, and `"step_separator"` in the model's tokenizer_config.json overrides it (Hugging Face's Qwen2.5-Math PRM: "\\n\\n").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from core.scoring.encoding import EncodedSteps
from core.scoring.families.base import Common, ids_of, load_labels

DEFAULT_SEPARATOR = "\n"


class _Trl(Common):
    name, title = "trl", "two labels at a line break, after TRL's PRMTrainer"

    def fits(self, config: Mapping[str, Any], folder: Path) -> bool:
        return any("ForTokenClassification" in a for a in config.get("architectures") or ())

    def encode(self, tokenizer: Any, prompt: str, step_texts: Sequence[str]) -> EncodedSteps:
        separator = ids_of(tokenizer, tokenizer.init_kwargs.get("step_separator") or DEFAULT_SEPARATOR)
        ids = ids_of(tokenizer, prompt)
        if tokenizer.bos_token_id is not None:
            ids = [tokenizer.bos_token_id, *ids]
        at = []
        for text in step_texts:
            ids += [*ids_of(tokenizer, text), *separator]
            at.append(len(ids) - 1)
        return EncodedSteps(ids, at)

    def load(self, folder: Path) -> tuple[Any, Callable[..., Any]]:
        return load_labels(folder)


FAMILY = _Trl()
