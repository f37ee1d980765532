"""A hand on the wheel: the text with which a model is made to go on from a step of a trace, its own or an edited one.

A fork keeps the beginning of a response, changes how it goes on, and lets the model write the rest. Everything here is
text: what each format writes to turn back, to wait, to end thinking. Knows no engine and no store.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from core.formats import steiner_tokens as t
from core.trace import Action, Origin, Step, Trace

# How each family ends its thinking and begins its answer. What is not listed ends in words.
_ANSWER = {
    "steiner": t.REASONING_END,
    "think": "\n</think>\n\n",
    "s1": "\n<|im_start|>answer\n",
    "sky-t1": "\n\n<|end_of_thought|>\n\n<|begin_of_solution|>\n\n",
    "harmony": "<|end|><|start|>assistant<|channel|>final<|message|>",
    "magistral": "[/THINK]",
    "gemma": "<channel|>",
}
ANSWER_IN_WORDS = "\n\n**Final Answer**\n\n"
TURN_BACK = "That does not lead anywhere. Let me go back and try something else.\n\n"
WAIT = "Wait,"
EDITABLE = tuple(t.FIELDS)


@dataclass(frozen=True)
class Fork:
    """What a model is given to go on from, and where it left the trace it comes from."""

    prefix: str
    origin: Origin


def actions(form: str) -> tuple[Action, ...]:
    """What can be done at a step of a trace in this format."""
    if form == "steiner":
        return ("continue", "proceed", "backtrack", "answer", "edit")
    return ("continue", "backtrack", "wait", "answer", "edit")


def fork(trace: Trace, step: int, action: Action, *, text: str = "", fields: Mapping[str, str] | None = None) -> Fork:
    """Go on after `step` (-1: from the question), or from an edit of it.

    continue: the model decides anew. proceed: it goes on from this step (no turn back, no end). backtrack: it turns
    back. wait: it is made to doubt. answer: it ends thinking and answers. edit: the step is replaced, by `fields` in
    Steiner's format, by `text` elsewhere. Raises ValueError with a sentence.
    """
    if not -1 <= step < len(trace.steps):
        raise ValueError(f'"step" is {step}; this trace has steps 0 to {len(trace.steps) - 1} (-1 is the question)')
    if action not in actions(trace.format):
        raise ValueError(
            f'"{action}" cannot be done in the format {trace.format}; there is {", ".join(actions(trace.format))}'
        )
    if step == -1 and action != "continue":
        raise ValueError(f'"{action}" needs a step; from the question itself there is only "continue"')
    root = trace.origin.root if trace.origin else trace.trace_id
    if action == "edit":
        edited = trace.steps[step]
        prefix = trace.response[: edited.start] + _edited(trace, edited, text, fields or {})
        return Fork(prefix, Origin(root, trace.trace_id, step - 1, edited.start, action))
    kept = trace.steps[step].end if step >= 0 else 0
    prefix = trace.response[:kept]
    return Fork(prefix + _words(trace.format, prefix, action), Origin(root, trace.trace_id, step, kept, action))


def _words(form: str, prefix: str, action: Action) -> str:
    if action == "continue":
        return ""
    if action == "answer":
        return _ANSWER.get(form, ANSWER_IN_WORDS)
    if form == "steiner":
        return t.BACKTRACK if action == "backtrack" else t.PROCEED
    gap = "" if prefix.endswith("\n\n") or not prefix else "\n" if prefix.endswith("\n") else "\n\n"
    return gap + (TURN_BACK if action == "backtrack" else WAIT)


def _edited(trace: Trace, step: Step, text: str, fields: Mapping[str, str]) -> str:
    """The raw text of a step after the edit; what leads into it stays."""
    raw = trace.step_text(step.index)
    if trace.format != "steiner":
        if not text.strip():
            raise ValueError('"text" is empty; write the step that is to stand there')
        tail = raw[len(raw.rstrip()) :] or "\n\n"
        lead = raw[: len(raw) - len(raw.lstrip())]
        return lead + text.strip() + tail
    unknown = [name for name in fields if name not in t.FIELDS]
    if unknown or not fields:
        raise ValueError(f'"fields" must give {", ".join(t.FIELDS)} (or some of them) of the step')
    hostile = next((token for value in fields.values() for token in t.TOKENS if token in value), None)
    if hostile:
        raise ValueError(f'"fields" holds {hostile}, which would cut the step in two; leave it out')
    whole = {name: fields.get(name, getattr(step, name)) for name in t.FIELDS}
    written = "".join(f"{start}{whole[name]}{end}" for name, (start, end) in t.FIELDS.items())
    lead = raw.split(t.STEP_START, 1)[0] if t.STEP_START in raw else ""
    return f"{lead}{t.STEP_START}{written}{t.STEP_END}"
