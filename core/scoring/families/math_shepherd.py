"""Math-Shepherd's PRM (Wang et al. 2024, arXiv 2312.08935): a language model that says + or − after the tag ки.

    Q Step 1: … ки\\nStep 2: … ки            z = logit(+) − logit(−) at each ки

The text is tokenised as one piece, as its authors do: a SentencePiece tokenizer cuts pieces otherwise at their edges.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from core.scoring.encoding import EncodedSteps, EncodingError
from core.scoring.families.base import Common, FamilyError, Reads, ids_of, load_words

TAG, GOOD, BAD = "ки", "+", "-"
NUMBERED = re.compile(r"Step \d+:")


class _MathShepherd(Common):
    name, title = "math-shepherd", "Math-Shepherd"
    reads: Reads = "words"

    def fits(self, config: Mapping[str, Any], folder: Path) -> bool:
        return "shepherd" in f"{config.get('_name_or_path', '')} {folder.name}".lower()

    def encode(self, tokenizer: Any, prompt: str, step_texts: Sequence[str]) -> EncodedSteps:
        tag = ids_of(tokenizer, TAG)[-1]
        lines = []
        for number, text in enumerate(step_texts, 1):
            body = text.replace(TAG, "").strip()
            lines.append(f"{body} {TAG}" if NUMBERED.match(body) else f"Step {number}: {body} {TAG}")
        head = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
        question = prompt.replace(TAG, "")
        ids = [*head, *ids_of(tokenizer, f"{question} " + "\n".join(lines) if lines else question)]
        at = [i for i, token in enumerate(ids) if token == tag]
        if len(at) != len(step_texts):
            raise EncodingError(
                f"{len(at)} tags for {len(step_texts)} steps: this tokenizer does not keep {TAG!r} as a token of its own, "
                "so this is not a Math-Shepherd model."
            )
        return EncodedSteps(ids, at)

    def words(self, tokenizer: Any) -> tuple[int, int]:
        good, bad = (ids_of(tokenizer, f"{TAG} {word}")[-1] for word in (GOOD, BAD))
        if good == bad or tokenizer.unk_token_id in (good, bad):
            raise FamilyError("This tokenizer does not know + and - as tokens.")
        return good, bad

    def load(self, folder: Path) -> tuple[Any, Callable[..., Any]]:
        return load_words(folder, self.words)


FAMILY = _MathShepherd()
