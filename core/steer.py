"""A hand on the wheel: the text with which a model is made to go on from a step of a trace, its own or an edited one.

A fork keeps the beginning of a response, changes how it goes on, and lets the model write the rest. Everything here is
text: what each format writes to turn back, to wait, to end thinking. Knows no engine and no store.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from core.formats import steiner_tokens as t
from core.formats.tagged import END_OF_TURN
from core.trace import CUT_OFF, Action, Origin, Step, Trace

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
# Doubt in Steiner's format is a step of its own that the model goes on with: its tokens leave no room between two steps.
STEINER_WAIT = f"{t.PROCEED}{t.STEP_START}{t.NAME_START}Wait{t.NAME_END}{t.THOUGHT_START}{WAIT}"
EDITABLE = tuple(t.FIELDS)


@dataclass(frozen=True)
class Fork:
    """What a model is given to go on from, and where it left the trace it comes from.

    `cuts`: offsets into `prefix` at which a step ends (see `TraceReader.begin`): those of the shared steps, and the end of an edit.
    """

    prefix: str
    origin: Origin
    cuts: tuple[int, ...] = ()


def actions(form: str) -> tuple[Action, ...]:
    """What can be done at a step of a trace in this format."""
    if form == "steiner":
        return ("continue", "resume", "proceed", "backtrack", "wait", "answer", "edit")
    return ("continue", "resume", "backtrack", "wait", "answer", "edit")


def fork(
    trace: Trace, step: int | None, action: Action, *, text: str = "", fields: Mapping[str, str] | None = None
) -> Fork:
    """Go on after `step` (-1: from the question), or from an edit of it.

    continue: the model decides anew. resume: it goes on where the text ends, and `step` does not count. proceed: it goes on from
    this step (no turn back, no end). backtrack: it turns back. wait: it is made to doubt. answer: it ends thinking and answers.
    edit: the step is replaced, by `fields` in Steiner's format, by `text` elsewhere. Raises ValueError with a sentence.
    """
    if action == "resume":
        return _forked(trace, trace.response, len(trace.response), _settled(trace) - 1, action)
    if step is None:
        raise ValueError(f'"step" is missing; "{action}" needs one (-1 is the question)')
    if not -1 <= step < len(trace.steps):
        raise ValueError(f'"step" is {step}; this trace has steps 0 to {len(trace.steps) - 1} (-1 is the question)')
    if action not in actions(trace.format):
        raise ValueError(
            f'"{action}" cannot be done in the format {trace.format}; there is {", ".join(actions(trace.format))}'
        )
    if step == -1 and action != "continue":
        raise ValueError(f'"{action}" needs a step; from the question itself there is only "continue"')
    if action == "edit":
        edited = trace.steps[step]
        prefix = trace.response[: edited.start] + _edited(trace, edited, text, fields or {})
        made = _forked(trace, prefix, edited.start, step - 1, action)
        return Fork(prefix, made.origin, (*made.cuts, len(prefix)))
    kept = _kept(trace, step)
    shared = step - 1 if action == "continue" and _goes_on(trace, step) else step
    return _forked(trace, kept + _words(trace.format, kept, action), len(kept), shared, action)


def _forked(trace: Trace, prefix: str, kept: int, shared: int, action: Action) -> Fork:
    """`shared` is the last step that both have."""
    root = trace.origin.root if trace.origin else trace.trace_id
    cuts = tuple(min(s.end, kept) for s in trace.steps[: shared + 1])
    return Fork(prefix, Origin(root, trace.trace_id, shared, kept, action), cuts)


def _settled(trace: Trace) -> int:
    """How many steps stay as they are when the model goes on at the end of the text: without an answer, the last one may grow."""
    if not trace.steps:
        return 0
    last = trace.steps[-1]
    whole = last.end < len(trace.response) or (trace.format == "steiner" and last.complete)
    return len(trace.steps) - (not whole)


def _goes_on(trace: Trace, step: int) -> bool:
    """Whether the text after this step would be more of it: the trace was cut off within it."""
    if trace.format == "steiner":
        return not trace.steps[step].complete
    return step == len(trace.steps) - 1 and trace.finish_reason in CUT_OFF and _settled(trace) == step


def _kept(trace: Trace, step: int) -> str:
    """The text up to the end of a step. What a last step has behind it (a decision, an end of turn) leads nowhere, and goes."""
    if step < 0:
        return ""
    text = trace.response[: trace.steps[step].end]
    behind = (t.PROCEED, t.BACKTRACK) if trace.format == "steiner" else END_OF_TURN
    while step == len(trace.steps) - 1 and (bare := text.rstrip()).endswith(behind):
        text = bare.removesuffix(next(token for token in behind if bare.endswith(token)))
    return text


def _words(form: str, prefix: str, action: Action) -> str:
    if action == "continue":
        return ""
    if action == "answer":
        return _ANSWER.get(form, ANSWER_IN_WORDS)
    if form == "steiner":
        return {"backtrack": t.BACKTRACK, "wait": STEINER_WAIT}.get(action, t.PROCEED)
    gap = "" if prefix.endswith("\n\n") or not prefix else "\n" if prefix.endswith("\n") else "\n\n"
    return gap + (TURN_BACK if action == "backtrack" else WAIT)


def _edited(trace: Trace, step: Step, text: str, fields: Mapping[str, str]) -> str:
    """The raw text of a step after the edit; what leads into it (opening tags, a message's header) stays."""
    raw = trace.step_text(step.index)
    if trace.format != "steiner":
        if not text.strip():
            raise ValueError('"text" is empty; write the step that is to stand there')
        thought = step.thought if step.thought and step.thought in raw else raw.strip()
        lead, _, rest = raw.partition(thought) if thought else ("", "", "")
        tail = rest[: len(rest) - len(rest.lstrip())] or "\n\n"
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
