"""What is evaluated on: the built-in sets of the numbers game, or any JSONL file with questions and what is right.

    countdown:40            40 held-out questions, always the same: half with 3 numbers, half with 4
    countdown:40:4          all with 4 numbers
    countdown:40:4:7        another draw of them
    ./math500.jsonl         a question a line

Knows no model. How an answer is judged is `core/answers`.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core.answers import answers_for
from core.tasks.countdown import COUNTS, held_out_questions, held_out_set
from core.tasks.countdown_text import ask
from core.trace import Problem, problem_id_of

BUILT_IN = "countdown"
SEED = 2026  # of `held_out_set`: the same questions as everywhere else
QUESTION, ANSWER = ("question", "problem", "prompt"), ("answer", "solution")
MOST_PROBLEMS = 100_000
MOST_CHARS = 100_000  # of a question


@dataclass(frozen=True)
class Asked:
    """A problem of an evaluation. `key` names it among the others also where the same question stands twice."""

    index: int
    key: str
    problem: Problem

    def to_json(self) -> dict[str, Any]:
        return {"key": self.key, **asdict(self.problem)}


def load(source: str) -> list[Asked]:
    """A built-in set or a file. Raises ValueError with a sentence that names the line and the field."""
    if source == BUILT_IN or source.startswith(f"{BUILT_IN}:"):
        return numbered(_countdown(source))
    path = Path(source).expanduser()
    if not path.is_file():
        raise ValueError(f'there are no problems "{source}": name a JSONL file, or a built-in set such as countdown:40')
    return numbered(read_lines(path.read_text(encoding="utf-8", errors="replace"), path.name))


def numbered(problems: Sequence[Problem]) -> list[Asked]:
    """With keys: the question's id, and the how-manieth time it is asked."""
    seen: dict[str, int] = {}
    out = []
    for i, problem in enumerate(problems):
        times = seen[problem.problem_id] = seen.get(problem.problem_id, 0) + 1
        out.append(Asked(i, problem.problem_id if times == 1 else f"{problem.problem_id}-{times}", problem))
    return out


def sha256_of(problems: Sequence[Asked]) -> str:
    """Tells one set of problems from another."""
    return hashlib.sha256(to_jsonl(problems).encode("utf-8", "surrogatepass")).hexdigest()


def to_jsonl(problems: Sequence[Asked]) -> str:
    """As `from_jsonl` reads it back."""
    return "".join(json.dumps(p.to_json(), sort_keys=True) + "\n" for p in problems)


def from_jsonl(text: str) -> list[Asked]:
    rows = [json.loads(line) for line in text.splitlines()]
    return [Asked(i, row.pop("key"), Problem(**row)) for i, row in enumerate(rows)]


def _countdown(source: str) -> list[Problem]:
    parts = source.split(":")[1:]
    try:
        numbers = [int(part) for part in parts]
    except ValueError:
        numbers = []
    if not 1 <= len(numbers) <= 3 or numbers[0] < 1 or min(numbers) < 0:
        raise ValueError(
            f'"{source}" is no built-in set; write countdown:N, countdown:N:3 or countdown:N:4, and a seed after it'
        )
    n, rest = numbers[0], numbers[1:]
    count = rest.pop(0) if rest and rest[0] in COUNTS else None
    if len(rest) > 1:
        raise ValueError(f'"{source}" is no built-in set: after the number of questions come 3 or 4 and a seed')
    seed = rest[0] if rest else SEED
    if count is None:
        chosen = held_out_set(n, seed)
    else:
        every = held_out_questions(count)
        if n > len(every):
            raise ValueError(f"{n} held-out questions with {count} numbers were asked for; there are {len(every)}")
        chosen = random.Random(seed).sample(every, n)
    return [Problem.ask(ask(question), "countdown") for question in chosen]


def read_lines(text: str, name: str) -> list[Problem]:
    """One JSON object a line; blank lines are skipped. Raises ValueError naming file, line and field."""
    found = []
    for number, line in enumerate(text.split("\n"), 1):  # U+2028 and the like may stand in a text
        if line.strip():
            try:
                found.append(_problem(line))
            except ValueError as error:
                raise ValueError(f"{name}:{number}: {error}") from None
    if not found:
        raise ValueError(f"{name} holds no problem; write a JSON object a line, such as "
                         '{"question": "Is 1001 prime?", "answer": "no"}')  # fmt: skip
    if len(found) > MOST_PROBLEMS:
        raise ValueError(f"{name} holds {len(found):,} problems; at most {MOST_PROBLEMS:,} are taken")
    return found


def _problem(line: str) -> Problem:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ValueError(f"this is not JSON ({error})") from None
    if not isinstance(row, dict):
        raise ValueError('a problem must be an object, such as {"question": "…", "answer": "…"}')
    question = _text(row, QUESTION)
    if question is None:
        raise ValueError(f"there is no question: one of the fields {', '.join(QUESTION)} must hold it")
    if len(question) > MOST_CHARS:
        raise ValueError(f"the question has {len(question):,} characters; at most {MOST_CHARS:,} are taken")
    answer = _answer(row)
    task = row.get("task") or ("code" if row.get("tests") else "")
    if not isinstance(task, str):
        raise ValueError(f'"task" is {task!r}; it must be text')
    meta = {k: v for k, v in row.items() if k not in (*QUESTION, *ANSWER, "task", "meta", "problem_id")}
    problem = Problem(problem_id_of(question), question, task, answer, {**meta, **_meta(row)})
    answers_for(problem)  # a task that there is not, tests that cannot be read: said now, with the line
    return problem


def _meta(row: dict[str, Any]) -> dict[str, Any]:
    meta = row.get("meta") or {}
    if not isinstance(meta, dict):
        raise ValueError(f'"meta" is {meta!r}; it must be an object')
    return meta


def _text(row: dict[str, Any], names: Sequence[str]) -> str | None:
    for name in names:
        if name in row and row[name] is not None:
            if not isinstance(row[name], str) or not row[name].strip():
                raise ValueError(f'"{name}" is {str(row[name])[:60]!r}; it must be text that is not empty')
            return str(row[name])
    return None


def _answer(row: dict[str, Any]) -> str | None:
    """The answer itself; of a written-out solution what stands in its last box (MATH) or after its last #### (GSM8K)."""
    answer = row.get("answer")
    if isinstance(answer, int | float) and not isinstance(answer, bool):
        answer = str(answer)
    if isinstance(answer, list | dict | bool) or (isinstance(answer, str) and not answer.strip()):
        raise ValueError(f'"answer" is {str(answer)[:60]!r}; it must be a text or a number')
    said = answer if answer is not None else _text(row, ("solution",))
    if said is None:
        return None
    final = re.findall(r"####\s*(.+)", said)
    if final:
        return str(final[-1]).strip()
    *_, box = [None, *_boxes(said)] if answer is None else [None]
    return said if box is None else box


def _boxes(text: str) -> Iterator[str]:
    r"""What stands in each \boxed{…}, braces within it counted."""
    for match in re.finditer(r"\\boxed\s*\{", text):
        depth, at = 1, match.end()
        while at < len(text) and depth:
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            at += 1
        if not depth:
            yield text[match.end() : at - 1]
