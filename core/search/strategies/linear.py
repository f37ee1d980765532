"""One line of thought, as the model writes it: within step bounds, cut short or made to go on (budget forcing, s1).

Muennighoff et al. 2025 (arXiv 2501.19393): at `thinking` tokens the end of thinking is put in and the answer follows; an end that comes
of itself is taken back `waits` times and "Wait" stands in its place. Pause tokens (Goyal et al. 2023) are filler before the first step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from core.search.base import Choice, Expand, State, param
from core.search.tree import ROOT
from core.search.voting import candidates, decide


@dataclass(frozen=True)
class Linear:
    """A chain of nodes: thoughts, what takes the place of their ends, the answer."""

    NAME: ClassVar[str] = "linear"
    TITLE: ClassVar[str] = "Linear"
    HELP: ClassVar[str] = "One line of thought, within limits; cut short, or made to think on."
    NEEDS_SCORER: ClassVar[bool] = False

    max_steps: int = param(60, "Most steps before the end is forced (models with marked steps).", least=1, most=10_000)
    thinking: int = param(
        0, "Tokens of thinking after which the answer is forced; 0 leaves it to the model.", least=0, most=100_000
    )
    waits: int = param(0, 'How often an end of thinking is taken back and "Wait" put in its place.', least=0, most=100)
    pauses: int = param(0, "Pause tokens before the first step.", least=0, most=1000)
    pause: str = param(" .", "The pause token's text.")

    def ask(self, state: State) -> list[Expand]:
        memo = state.memo
        if state.waiting or memo.get("over"):
            return []
        memo.setdefault("at", ROOT)
        insert = ""
        if memo["at"] == ROOT and self.pauses:
            insert = self.pause * self.pauses
        forced = (self.thinking or self.waits) and state.marks.thinking_end
        if not forced or memo.get("ending"):
            end = state.marks.thinking_end if memo.get("ending") else ""
            return [Expand(memo["at"], insert=insert + end, max_steps=self.max_steps, label="answer" if end else "")]
        left = self.thinking - memo.get("thought", 0) if self.thinking else None
        wait = state.marks.wait if memo["at"] != ROOT else ""
        return [
            Expand(
                memo["at"], unit="thought", insert=insert + wait, max_tokens=left, max_steps=self.max_steps, label="thought"
            )
        ]  # fmt: skip

    def tell(self, state: State, asked: Expand, nodes: list[int]) -> None:
        memo = state.memo
        if not nodes:
            memo["over"] = True
            return
        node = state.tree[nodes[0]]
        memo["at"] = node.id
        if asked.unit != "thought" or node.end in ("eos", "empty"):
            memo["over"] = True
            return
        memo["thought"] = memo.get("thought", 0) + node.tokens
        cut_short = node.end == "length"  # by the budget of thinking
        if not cut_short and memo.get("waited", 0) < self.waits:
            memo["waited"] = memo.get("waited", 0) + 1
            if not self.thinking or memo["thought"] < self.thinking:
                return
        memo["ending"] = True

    def choose(self, state: State) -> Choice:
        found = candidates(state)
        if found:
            return decide(found, "majority")
        at = state.memo.get("at", ROOT)
        return Choice(at if at != ROOT else None, why="it was cut before its answer")
