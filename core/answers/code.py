"""Programs: the answer is the Python program in a response, and tests judge it, each in a sandbox run of its own.

`problem.meta["tests"]` are public: a search may look at them. `problem.meta["hidden_tests"]` judge; without them the public ones do.
A test is {"input": …, "output": …} (standard input and output), {"call": name, "args": […], "expect": …}, or a line of assertions. In
the first two the comparison is made here; an assertion runs in the program's own process, where a program made for it could deceive.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import secrets
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from core.answers.extract import answer_text, key_of
from core.answers.sandbox import Limits, Ran, run
from core.trace import Problem

_FENCE = re.compile(r"^[ \t]{0,3}(`{3,}|~{3,})[ \t]*([\w+#-]*)[^\n]*$", re.M)
_PROGRAM = re.compile(r"^(?:def |class |import |from \w+ import |print\(|for \w+ in |while |[A-Za-z_]\w* = )", re.M)
LONGEST = 100_000  # characters of a program
REMEMBERED = 4096

# What calls a function of the program or runs an assertion: the result goes out on a channel of its own, after a word that the program
# was not told, and what the program prints goes nowhere.
_CALLER = """
def _run():
    import json, os, sys
    job = json.loads(sys.stdin.readline())
    out = os.fdopen(os.dup(1), "w")
    sys.stdout = open(os.devnull, "w")
    word = job.pop("word")
    names = {"__name__": "solution"}
    exec(compile(job["program"], "program.py", "exec"), names)
    if "assert" in job:
        exec(compile(job["assert"], "test.py", "exec"), names)
        found = True
    else:
        call = names.get(job["call"])
        if call is None:
            call = getattr(names["Solution"](), job["call"])
        found = call(*job["args"])
    json.dump(found, out, default=lambda x: sorted(x) if isinstance(x, (set, frozenset)) else list(x))
    out.write("\\n" + word)
    out.flush()

_run()
"""


@dataclass(frozen=True)
class Case:
    """One test, of one kind: `call` is empty for standard input and output, `check` is set for assertions."""

    input: str = ""
    output: str = ""
    call: str = ""
    args: str = "[]"  # JSON, as is `expect`
    expect: str = "null"
    check: str = ""


def read_tests(problem: Problem, field: str) -> tuple[Case, ...]:
    """The tests under `problem.meta[field]`. Raises ValueError naming the problem, the field and the test."""
    rows = problem.meta.get(field, [])
    if not isinstance(rows, list):
        raise ValueError(f'problem {problem.problem_id}: "meta.{field}" must be a list of tests')
    out = []
    for i, row in enumerate(rows):
        where = f'problem {problem.problem_id}: "meta.{field}[{i}]"'
        if isinstance(row, str) and row.strip():
            out.append(Case(check=row))
        elif isinstance(row, dict) and isinstance(row.get("input"), str) and isinstance(row.get("output"), str):
            out.append(Case(row["input"], row["output"]))
        elif (
            isinstance(row, dict)
            and isinstance(row.get("call"), str)
            and isinstance(row.get("args"), list)
            and "expect" in row
        ):
            out.append(Case(call=row["call"], args=json.dumps(row["args"]), expect=json.dumps(row["expect"])))
        else:
            raise ValueError(
                f'{where} must be {{"input": text, "output": text}}, {{"call": name, "args": list, "expect": value}}, or a '
                "line of assertions"
            )
    return tuple(out)


def tests_of(text: str) -> list[Any]:
    """Tests as people write them down: a JSON list, or an assertion a line. Raises ValueError."""
    if not text.lstrip().startswith("["):
        return [line.strip() for line in text.splitlines() if line.strip()]
    try:
        rows = json.loads(text)
    except ValueError as error:
        raise ValueError(f'"tests" is not JSON ({error}); write a list of tests, or an assertion a line') from None
    return list(rows)


def program_of(response: str) -> str:
    """The program in a response: the last fenced block that is Python or says nothing else, or the whole answer where it is code; ""."""
    text = answer_text(response)
    found, open_at, fence, language = "", -1, "", ""
    for mark in _FENCE.finditer(text):
        if open_at < 0:
            open_at, fence, language = mark.end() + 1, mark[1], mark[2].lower()
        elif mark[1].startswith(fence) and not mark[2]:
            if language in ("", "python", "python3", "py"):
                found = text[open_at : mark.start()]
            open_at = -1
    if not found and open_at < 0 and not _FENCE.search(text) and _PROGRAM.search(text):
        found = text
    return found if len(found) <= LONGEST else ""


class CodeAnswers:
    """Of one problem. Results are remembered for all: a program is run once."""

    SLOW: ClassVar[bool] = True

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.public = read_tests(problem, "tests")
        self.hidden = read_tests(problem, "hidden_tests")
        self.limits = _limits(problem)
        self._programs: dict[bytes, str] = {}
        self._rights: dict[bytes, bool] = {}  # by response: the memo of verdicts is everybody's, and forgets

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CodeAnswers) and self.problem == other.problem

    def canonical(self, response: str) -> str:
        """The program without blank lines and trailing blanks: programs are equal line by line."""
        key = key_of(response)
        if key not in self._programs:
            lines = (line.rstrip() for line in program_of(response).splitlines())
            self._programs[key] = "\n".join(line for line in lines if line)
        return self._programs[key]

    def right(self, response: str) -> bool | None:
        tests = self.hidden or self.public
        if not tests:
            return None
        key = key_of(response)
        if key not in self._rights:
            program = program_of(response)  # as it was written: a blank line may stand in a text
            self._rights[key] = bool(program.strip()) and all(passed(program, tests, self.limits, stop=True))
        return self._rights[key]

    def prepare(self, response: str) -> None:
        """Run the tests that judge."""
        self.right(response)

    def share_of_public(self, response: str) -> float | None:
        """The share of public tests that pass; None where there are none."""
        if not self.public:
            return None
        program = program_of(response)
        return sum(passed(program, self.public, self.limits)) / len(self.public) if program.strip() else 0.0


def passed(program: str, tests: Sequence[Case], limits: Limits = Limits(), *, stop: bool = False) -> list[bool]:
    """Which tests a program passes. stop: none is run after the first failure. A program that has run out of time once, is not
    run again: the rest are failed too."""
    out: list[bool] = []
    given_up = False
    for test in tests:
        verdict = "failed" if given_up else _verdict(program, test, limits)
        given_up = given_up or verdict == "time" or (stop and verdict != "passed")
        out.append(verdict == "passed")
    return out


# One memo for the process: whether a program passed a test. A verdict is "passed", "failed" or "time".
_verdicts: OrderedDict[bytes, str] = OrderedDict()
_lock = threading.Lock()


def _key(program: str, test: Case, limits: Limits) -> bytes:
    return hashlib.blake2b(repr((program, test, limits)).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _known(program: str, test: Case, limits: Limits) -> str | None:
    return _verdicts.get(_key(program, test, limits))


def _verdict(program: str, test: Case, limits: Limits) -> str:
    key = _key(program, test, limits)
    with _lock:
        found = _verdicts.get(key)
    if found is None:
        found = _judge(program, test, limits)
        with _lock:
            _verdicts[key] = found
            while len(_verdicts) > REMEMBERED:
                _verdicts.popitem(last=False)
    return found


def _judge(program: str, test: Case, limits: Limits) -> str:
    if not test.call and not test.check:
        ran = run(program, test.input, limits)
        good = ran.code == 0 and _lines(ran.stdout) == _lines(test.output)
    else:
        word = secrets.token_hex(16)
        job: dict[str, Any] = {"word": word, "program": program}
        job |= {"assert": test.check} if test.check else {"call": test.call, "args": json.loads(test.args)}
        ran = run(_CALLER, json.dumps(job) + "\n", limits)
        good = _returned(ran, word, True if test.check else json.loads(test.expect))
    return "time" if ran.ended == "time" else "passed" if good else "failed"


def _returned(ran: Ran, word: str, expected: Any) -> bool:
    found, _, end = ran.stdout.rpartition("\n")
    if end != word:
        return False
    try:
        return same(json.loads(found), expected)
    except (ValueError, RecursionError):
        return False


def same(a: Any, b: Any) -> bool:
    """Equal as JSON, tuples being lists, and real numbers to nine digits."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, int | float) and isinstance(b, int | float):
        return a == b or (
            (isinstance(a, float) or isinstance(b, float)) and math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12)
        )
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return type(a) is type(b) and a == b


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().splitlines()]


def _limits(problem: Problem) -> Limits:
    """`meta["time_limit"]` in seconds and `meta["memory_limit"]` in MB, where a problem has its own."""
    base = Limits()
    cpu, memory = problem.meta.get("time_limit", base.cpu), problem.meta.get("memory_limit", base.memory >> 20)
    for name, value, most in (("time_limit", cpu, 60), ("memory_limit", memory, 8192)):
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most:
            raise ValueError(
                f'problem {problem.problem_id}: "meta.{name}" is {value!r}; it must be a number up to {most}'
            )
    return Limits(cpu=float(cpu), memory=int(memory) << 20)
