"""The token that leads into a step: without it a step does not say how it was entered, and with another one it goes on elsewhere.

Pure functions over texts; formats without such tokens pass through as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.formats import steiner_tokens as t

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

LEADS = (t.REASONING_START, t.PROCEED, t.BACKTRACK)
NO_LEAD = len(LEADS)


def lead_of(step_text: str) -> str:
    """The token that the step begins with, or nothing."""
    if not step_text.startswith(LEADS):
        return ""
    return next(token for token in LEADS if step_text.startswith(token))


def without_lead(step_text: str) -> str:
    """A step without the token that led into it: how it was entered must not give a pair away."""
    return step_text[len(lead_of(step_text)) :]


def leads_of(step_texts: pa.StringArray) -> npt.NDArray[np.int64]:
    """Of each step the number of the token in `LEADS` that it begins with, NO_LEAD where it has none, (steps,)."""
    import numpy as np
    import pyarrow.compute as pc

    found = np.full(len(step_texts), NO_LEAD)
    for number, token in enumerate(LEADS):  # no two of them begin a text
        found[pc.starts_with(step_texts, token).to_numpy(zero_copy_only=False)] = number
    return found


def as_step(text: str, instead_of: str) -> str:
    """What a rater wrote as a step of the format of the one it stands for: in Steiner's format it becomes the thought."""
    if t.STEP_START not in instead_of or t.STEP_START in text:
        return without_lead(text)
    return f"{t.STEP_START}{t.NAME_START}{t.NAME_END}{t.THOUGHT_START}{text}{t.THOUGHT_END}{t.SUMMARY_START}{t.SUMMARY_END}{t.REFLECTION_START}{t.REFLECTION_END}{t.STEP_END}"


def leads_on(first_children: npt.NDArray[np.int64], of_question: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """The token by which a model goes on from the parent of some siblings, (parents,): that of the first of them, unless a backtrack
    led there.
    """
    import numpy as np

    onward = np.where(of_question, LEADS.index(t.REASONING_START), LEADS.index(t.PROCEED))
    return np.where(first_children == LEADS.index(t.BACKTRACK), onward, first_children)
