"""A question and a response under any of the names that the field uses for them, or a question and a list of steps.

`prompt` and `response` themselves are strict: their other fields are those of a trace, and a wrong one is an error.
Under other names (`problem` and `full_cot`, `question` and `answer`, …) a row is somebody else's, and what it says
beside the two texts is kept where it is understood and left out where it is not.
"""

from __future__ import annotations

from core.trace import Trace
from storage.imports import whole
from storage.imports.making import Row, Unusable, cut, finish, kept, kind, pieces, short, strings, texts_of

# The first of these that holds text is taken. A reference solution or an answer is a response only where nothing else is.
PROMPTS = ("prompt", "problem", "question", "instruction", "query", "input", "user")
RESPONSES = (
    "response", "completion", "output", "generation", "model_output", "full_cot", "cot", "chain_of_thought", "trace",
    "deepseek_attempt", "assistant", "solution", "answer",
)  # fmt: skip
# Thinking that was split off from the response; it goes back in front of it, in <think> tags.
REASONINGS = ("reasoning", "reasoning_content", "thinking", "reasoning_trace", "thinking_trajectory",
              "deepseek_thinking_trajectory")  # fmt: skip
# Lists of steps (ProcessBench, PRMBench, hand-made sets).
STEPS = ("steps", "modified_process", "process", "solution_steps", "reasoning_steps")
LABELS = ("labels", "label", "error_steps", "is_correct", "rating", "ratings", "classification", "id", "idx")


def fits(row: Row) -> bool:
    """A question, and a response, thinking or steps."""
    if not _first(row, PROMPTS):
        return False
    return bool(_first(row, RESPONSES) or _first(row, REASONINGS) or _first_list(row))


def to_traces(row: Row) -> list[Trace]:
    """One trace. Raises Unusable."""
    if "prompt" in row and "response" in row and not _first(row, REASONINGS):
        return whole.to_traces(row)
    asked = _first(row, PROMPTS)
    if not asked:
        raise Unusable(_missing(row, PROMPTS, "prompt"))
    prompt = row[asked]
    if asked == "instruction" and isinstance(row.get("input"), str) and row["input"].strip():
        prompt = f"{prompt}\n\n{row['input']}"
    model, stats = short(row, "model", "model_name", "generator"), kept(row, *LABELS)
    answer = short(row, "final_answer", "answer")
    said, thought, listed = _first(row, RESPONSES), _first(row, REASONINGS), _first_list(row)
    if listed and said in ("", "solution", "answer"):
        return [pieces(prompt, texts_of(row, listed), straight=False, model=model, answer=answer, stats=stats)]
    if not said and not thought:
        raise Unusable(_missing(row, RESPONSES, "response"))
    response = row[said] if said else ""
    if response.startswith(row[asked]) and len(response) > len(row[asked]):
        response = response[len(row[asked]) :]  # some logs repeat the question in front (thought_anchors' full_cot)
    if thought:
        response = thinking(row[thought], response)
    reason = finish(row.get("finish_reason"))
    answer = "" if said == "answer" else answer
    return [cut(prompt, response, model=model, answer=answer, finish_reason=reason, stats=stats)]


def thinking(reasoning: str, content: str) -> str:
    """Thinking and answer as one response, as the model wrote them."""
    return f"<think>\n{reasoning}\n</think>\n\n{content}"


def _first(row: Row, names: tuple[str, ...]) -> str:
    return next((n for n in names if isinstance(row.get(n), str) and row[n].strip()), "")


def _first_list(row: Row) -> str:
    return next((n for n in STEPS if strings(row.get(n))), "")


def _missing(row: Row, names: tuple[str, ...], wanted: str) -> str:
    for name in names:
        if isinstance(row.get(name), str):
            return f'"{name}" is empty; write the text, or leave the row out.'
        if name in row:
            return f'"{name}" is {kind(row[name])}; write it as a string.'
    return f'"{wanted}" is missing; add it as a string (or name it {", ".join(names[1:5])}).'
