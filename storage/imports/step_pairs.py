"""Pairs of steps, as Worldline exports them: `question`, the `prompt` that goes on to where both steps stand, `chosen`, `rejected`.

Two siblings become one trace that tries the rejected step first and then the chosen one, from the same place; a better step that
a rater wrote becomes the trace up to the rejected one, and what should stand there. So the same pair comes out again.
"""

from __future__ import annotations

from core.formats.naming import name_of
from core.trace import Placed, Step, Trace, problem_id_of
from storage.imports.judged import Rated, several, step, step_text
from storage.imports.making import Row, Unusable, check_prompt, id_of, kept, short

SOURCES = ("branch", "better")


def fits(row: Row) -> bool:
    """Where the pair comes from, the bare question, and three texts."""
    names = ("question", "prompt", "chosen", "rejected")
    return row.get("source") in SOURCES and all(isinstance(row.get(name), str) for name in names)


def to_traces(row: Row) -> list[Trace]:
    """One trace. Raises Unusable."""
    if not fits(row):
        raise Unusable(
            f'"source" is none of {", ".join(SOURCES)}, or "question", "prompt", "chosen" and "rejected" are not all strings.'
        )
    question, prompt = row["question"], row["prompt"]
    check_prompt(question)
    if not prompt.startswith(question):
        raise Unusable(
            '"prompt" does not begin with "question"; write the question followed by what stands before both steps.'
        )
    before, tried = prompt[len(question) :], [row["rejected"], *([row["chosen"]] if row["source"] == "branch" else [])]
    if not all(tried):
        raise Unusable('"chosen" or "rejected" is empty; write the text of the step.')
    steps, nodes = list[Step](), list[Placed]()
    start, fork = 0, 0 if before else None
    for text in [*([before] if before else []), *tried]:
        at, end = len(steps), start + len(text)
        back = at > 0 and text is tried[-1] and len(tried) > 1
        steps.append(Step(at, start, end, name_of(text) or f"Step {at + 1}", text, "", "", None))
        nodes.append(Placed(fork if at > (fork or 0) or fork is None else None, back, fork if back else None))
        start = end
    response, model = before + "".join(tried), short(row, "model", "chosen_model")
    return [
        Trace(
            trace_id=id_of(question, response, model), problem_id=problem_id_of(question), prompt=question, response=response,
            steps=tuple(steps), nodes=tuple(nodes), finish_reason="stop", model=model, format="plain",
            stats=kept(row, "margin", "n_votes"),
        )
    ]  # fmt: skip


def ratings(row: Row, traces: list[Trace]) -> list[Rated]:
    """The rejected step is bad; the chosen one is good, or what should stand there. Of each rater that is named."""
    worse = len(traces[0].steps) - (2 if row["source"] == "branch" else 1)
    right = step(worse + 1, 1) if row["source"] == "branch" else step_text(worse, "better", row["chosen"])
    return [Rated(traces[0], (step(worse, -1), right), rater) for rater in several(row, "raters")]
