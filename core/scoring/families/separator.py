"""Ours: two labels, read at one dedicated token after every step (`training/kinds/prm.py` makes such models)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from core.scoring import encoding
from core.scoring.encoding import EncodedSteps
from core.scoring.families.base import Common, load_labels

NO_LIMIT = 1 << 62


class _Separator(Common):
    name, title = "worldline", "two labels at <|step_score|>"

    def fits(self, config: Mapping[str, Any], folder: Path) -> bool:
        ours = any(
            encoding.SEPARATOR in path.read_text(encoding="utf-8", errors="replace")
            for path in (folder / "tokenizer.json", folder / "added_tokens.json")
            if path.is_file()
        )
        return ours and any("ForTokenClassification" in a for a in config.get("architectures") or ())

    def encode(self, tokenizer: Any, prompt: str, step_texts: Sequence[str]) -> EncodedSteps:
        return encoding.encode_steps(tokenizer, prompt, step_texts, NO_LIMIT)

    def windows(self, tokenizer: Any, prompt: str, step_texts: Sequence[str], max_tokens: int) -> list[EncodedSteps]:
        return encoding.encode_windows(tokenizer, prompt, step_texts, max_tokens)

    def load(self, folder: Path) -> tuple[Any, Callable[..., Any]]:
        return load_labels(folder)


FAMILY = _Separator()
