"""RLHFlow's PRMs (Llama3.1-8B-PRM-…-Data): a chat in which each step is a user's turn and the assistant answers + or −.

z = logit(+) − logit(−) where the assistant's answer is about to begin; earlier steps are given as answered "+", as at
training (RLHFlow/RLHF-Reward-Modeling, math/). The question stands before the first step, in the same turn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from core.scoring.encoding import EncodedSteps, EncodingError
from core.scoring.families.base import Common, Reads, ids_of, load_words, one_id

GOOD, BAD = "+", "-"


class _RlhFlow(Common):
    name, title = "rlhflow", "RLHFlow's +/− chat PRM"
    reads: Reads = "words"

    def fits(self, config: Mapping[str, Any], folder: Path) -> bool:
        return "rlhflow" in f"{config.get('_name_or_path', '')} {folder}".lower()

    def encode(self, tokenizer: Any, prompt: str, step_texts: Sequence[str]) -> EncodedSteps:
        if not tokenizer.chat_template:
            raise EncodingError(f"This tokenizer has no chat template; {self.title} is asked by one.")
        if not step_texts:
            return EncodedSteps(self._tokens(tokenizer, [{"role": "user", "content": prompt}], "")[0], [])
        turns: list[dict[str, str]] = []
        ids: list[int] = []
        at, said = [], ""
        for i, text in enumerate(step_texts):
            turns.append({"role": "user", "content": text if i else f"{prompt} {text}"})
            piece, said = self._tokens(tokenizer, turns, said)
            ids += piece
            at.append(len(ids) - 1)
            turns.append({"role": "assistant", "content": GOOD})
        return EncodedSteps(ids, at)

    def _tokens(self, tokenizer: Any, turns: Sequence[dict[str, str]], said: str) -> tuple[list[int], str]:
        """Ids of what the chat has more than `said`, up to where the assistant begins; and the whole text."""
        text: str = tokenizer.apply_chat_template(list(turns), add_generation_prompt=True, tokenize=False)
        if not text.startswith(said):
            raise EncodingError(
                "The chat template rewrites earlier turns, so steps cannot be scored one after another."
            )
        return ids_of(tokenizer, text[len(said) :]), text

    def words(self, tokenizer: Any) -> tuple[int, int]:
        return one_id(tokenizer, GOOD, self.title), one_id(tokenizer, BAD, self.title)

    def load(self, folder: Path) -> tuple[Any, Callable[..., Any]]:
        return load_words(folder, self.words)


FAMILY = _RlhFlow()
