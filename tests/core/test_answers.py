"""Answers: read where they stand, equal when they are and not when one is in the other, and never a way into the machine."""

from __future__ import annotations

import os
import pickle
import random
import threading
import time

import pytest

from core.answers import answers_for, code, kind_of, math_process, sandbox
from core.answers.choice import ChoiceAnswers, options
from core.answers.code import Case, CodeAnswers, passed, program_of, same
from core.answers.extract import boxed, claimed
from core.answers.math import HANGS, MathAnswers, looks_mathematical, number, tidy
from core.answers.text import TextAnswers
from core.trace import Problem


def box(answer: str) -> str:
    return f"So it is \\boxed{{{answer}}}."


def math(reference: str | None) -> MathAnswers:
    return MathAnswers(Problem.ask("?", "math", reference))


# ---- where the answer stands


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("<think>\nmaybe \\boxed{4}\n</think>\n\nIt is \\boxed{\\frac{1}{2}}.", "\\frac{1}{2}"),
        ("<think>\nit is \\boxed{4}, but I am cut off here", ""),
        ("First \\boxed{1}, no: \\boxed{2}", "2"),
        ("\\boxed{3} and an open \\boxed{4", "3"),
        ("\\boxed {\\{1, 2\\}}", "\\{1, 2\\}"),
        ("The answer is 12.\nI am sure.", "12."),
        ("**Answer:** 7", "7"),
        ("Twelve dozens.\n#### 144", "144"),
        ("One line\n\nand the last: 5\n\n", "and the last: 5"),
        ("\\boxed{" + "1" * 2000 + "}", "\\boxed{" + "1" * 2000 + "}"),
        ("", ""),
    ],
)  # fmt: skip
def test_the_answer_is_read_after_the_thinking_from_the_last_box_or_what_is_said(response: str, answer: str) -> None:
    assert claimed(response) == (answer if len(answer) <= 500 else "")


def test_a_response_of_nothing_but_open_boxes_is_read_in_no_time() -> None:
    started = time.monotonic()
    assert boxed("\\boxed{" * 100_000) is None
    assert time.monotonic() - started < 2


# ---- mathematics


@pytest.mark.parametrize(
    ("reference", "right", "wrong"),
    [
        ("5", ["5", "5.0", "x = 5", "5\\text{ cm}", "\\sqrt{25}", "5 apples", "\\$5", "005"], ["15", "-5", "5.1", "50", "\\sqrt{5}", "five"]),
        ("\\frac{1}{3}", ["0.333333", "1/3", "\\frac26", "\\dfrac{1}{3}"], ["0.33", "3", "1/30"]),
        ("1,000", ["1000", "1{,}000", "10^3"], ["1", "1,00", "100"]),
        ("2\\sqrt{3}", ["\\sqrt{12}", "2\\cdot\\sqrt 3"], ["3.46", "\\sqrt{3}"]),
        ("\\left( 3, \\frac{\\pi}{2} \\right)", ["(3,\\pi/2)"], ["(3,\\pi)", "3", "\\pi/2"]),
        ("x^2+2x+1", ["(x+1)^2", "1+x^2+2x"], ["x^2", "(y+1)^2"]),
        ("[1,2)", ["[1, 2)"], ["(1,2)", "[1,2]"]),
        ("1,2,3", ["3, 2, 1"], ["1,2", "123"]),
        ("90^\\circ", ["90", "90^{\\circ}"], ["9"]),
        ("\\text{Evelyn}", ["Evelyn", "evelyn"], ["Eve", "nylevE"]),
        ("live", ["live", "\\text{Live}"], ["evil"]),
        ("3 1/2", ["3.5", "7/2", "\\frac72", "3\\frac{1}{2}", "3\\,1/2", "3 \\frac12", "3 1/2 cups"], ["31/2", "15.5", "3", "1/2"]),
        ("31/2", ["15.5"], ["3 1/2", "3\\ 1/2", "3~1/2", "3 \\, 1/2"]),
        ("2100", ["2,100", "2,\\!100", "2 100", "2\\,100", "2\u2009100"], ["2, 100", "2,\\ 100", "(2, 100)"]),
        ("2, 100", ["2, 100", "2,\\; 100"], ["2100", "2,100"]),
        ("12000000", ["12 000 000", "12,000,000"], ["12 000, 000", "12"]),
        ("123", ["123"], ["1 2 3", "12 3"]),
        ("6", ["6"], ["1 2 3"]),
        ("(2,100)", ["(2, 100)", "\\left(2,\\,100\\right)"], ["2100", "(2100)"]),
    ],
)  # fmt: skip
def test_equal_answers_have_one_name_and_others_another(reference: str, right: list[str], wrong: list[str]) -> None:
    answers = math(reference)
    name = answers.canonical(box(reference))
    assert name and [answers.canonical(box(a)) for a in right] == [name] * len(right)
    assert all(answers.right(box(a)) for a in right)
    for answer in wrong:
        assert answers.canonical(box(answer)) != name
        assert answers.right(box(answer)) is False


@pytest.mark.parametrize(
    ("line", "right", "wrong"),
    [
        ("He started with $12 and has $4 left.", "", "12"),
        ("He paid $20, so $8 is left.", "", "20"),
        ("With $n=3$ friends each has $12 left.", "", "3"),
        ("It costs $12.", "12", "1"),
        ("It costs $12$.", "12", "1"),
        ("He has $12 and so $x = 4$", "4", "12"),
        ("From $a = 3$ follows $b = 4$.", "4", "3"),
        ("It is $$5$$", "5", "6"),
        ("It is $\\$5$.", "5", "6"),
    ],
)
def test_money_is_no_formula(line: str, right: str, wrong: str) -> None:
    assert not right or math(right).right(line) is True
    assert math(wrong).right(line) is False


def test_what_hangs_beforehand_is_not_tried_again_where_nobody_may_wait(monkeypatch) -> None:
    answers, asked = math("\\sqrt{5}"), []

    def hangs(new: str, known: object) -> math_process.Compared:
        asked.append(new)
        return math_process.Compared(hung=True)

    monkeypatch.setattr(math_process, "compare", hangs)
    response = box("9^{9^{9}}")
    answers.prepare(response)
    assert (answers.canonical(response), answers.right(response)) == ("9^{9^{9}}", False)
    assert asked == ["9^{9^{9}}"]


def test_the_vote_joins_equal_answers_without_a_reference_and_in_any_order() -> None:
    forms = ["\\frac{1}{2}", "0.5", "\\frac{2}{4}", "1/2", "\\frac{\\sqrt{4}}{4}"]
    for seed in range(3):
        answers = math(None)
        order = random.Random(seed).sample(forms, len(forms))
        assert len({answers.canonical(box(f)) for f in order}) == 1
        assert answers.right(box("0.5")) is None


def test_a_response_without_an_answer_has_none() -> None:
    answers = math("5")
    assert answers.canonical("") == answers.canonical("<think>\n5") == ""
    assert answers.right("") is False


def test_answers_pickle_with_the_names_they_gave() -> None:
    answers = math(None)
    name = answers.canonical(box("\\sqrt{8}"))
    again = pickle.loads(pickle.dumps(answers))
    assert again == answers
    assert again.canonical(box("2\\sqrt{2}")) == name


@pytest.mark.parametrize(
    "bomb",
    ["9^{9^{9^{9}}}", "9**9**9", "10^{10^{10}}!", "\\binom{10^9}{10^8}", "\\sum_{n=1}^{10^{10}} n^n", "\\frac{1}{0}", "\\sqrt{" * 60 + "2" + "}" * 60,
     "(" * 300, "{" * 400, "\\frac" * 90, "1e999999999", "1/0", "\ud800", "5\x00", "__import__('os').system('false')"],
)  # fmt: skip
def test_hostile_answers_are_wrong_and_what_comes_after_is_judged(bomb: str, monkeypatch) -> None:
    monkeypatch.setattr(math_process, "SECONDS", 0.5)
    answers = math("5")
    started = time.monotonic()
    assert answers.right(box(bomb)) is False
    assert isinstance(answers.canonical(box(bomb)), str)
    assert answers.right(box("\\sqrt{25}")) is True
    assert time.monotonic() - started < 60  # of a busy machine


def test_a_problem_whose_answers_hang_is_soon_compared_by_text(monkeypatch) -> None:
    monkeypatch.setattr(math_process, "SECONDS", 0.3)
    answers = math("\\sqrt{5}")
    slow = [f"9^{{9^{{9^{{{n}}}}}}}" for n in range(6, 6 + HANGS + 1)]
    names = [answers.canonical(box(a)) for a in slow]
    assert len(set(names)) == len(names)
    started = time.monotonic()
    assert answers.canonical(box("9^{9^{9^{99}}}")) not in names
    assert time.monotonic() - started < 0.5


def test_comparison_works_from_threads_and_after_its_process_was_killed() -> None:
    found: list[bool | None] = []
    answers = [math("\\sqrt{2}") for _ in range(4)]
    assert math_process.compare("x+1", ["1+x"]).equal == 0
    assert math_process._child is not None
    os.kill(math_process._child.process.pid, 9)
    assert math_process.compare("x+1", ["1+x"]).hung  # noticed once,
    assert math_process.compare("x+1", ["1+x"]).equal == 0  # and there is another
    threads = [threading.Thread(target=lambda a=a: found.append(a.right(box("\\frac{2}{\\sqrt{2}}")))) for a in answers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 4


@pytest.mark.slow
def test_random_text_never_raises() -> None:
    rng = random.Random(0)
    letters = "0123456789+-*/^(){}[]\\$.,=<>! abcxyzABC\n%_&~\"'`\u0660\u200b\U0001f600"
    words = [
        "\\frac",
        "\\sqrt",
        "\\boxed{",
        "}",
        "answer is ",
        "Answer: ",
        "```python\n",
        "```",
        "(A)",
        "\\text{",
        "<think>",
        "</think>",
        "def f():\n",
    ]
    choice = ChoiceAnswers(Problem.ask("Which?\nA. one\nB. two", "choice", "A"))
    exact = math("5")
    for i in range(10_000):
        text = "".join(
            rng.choice(letters) if rng.random() < 0.7 else rng.choice(words) for _ in range(rng.randrange(60))
        )
        tidy(claimed(text)), number(text), looks_mathematical(text), options(text), program_of(text)
        assert choice.canonical(text) in ("", "A", "B")
        if i % 200 == 0:
            exact.right(text)
            assert isinstance(exact.canonical(text), str)


# ---- multiple choice

CAPITAL = "What is the capital of France?\n(A) Rome\n(B) Paris\n(C) Bern\n(D) A city"


@pytest.mark.parametrize(
    "response",
    ["B", "(B)", "b", "The answer is B", "The answer is (B).", "\\boxed{B}", "\\boxed{\\text{(B)}}", "\\boxed{B. Paris}", "**Answer: B**",
     "Answer: B) Paris", "Paris", "The answer is B because Rome is not.", "So the answer is:\nB", "Final answer: option B", "**B**",
     "<think>\nA? Or C?\n</think>\n\nB", "$\\boxed{B}$"],
)  # fmt: skip
def test_a_letter_is_read_however_it_is_written(response: str) -> None:
    answers = answers_for(Problem.ask(CAPITAL, "", "B"))
    assert answers.canonical(response) == "B"
    assert answers.right(response) is True


@pytest.mark.parametrize(
    "response",
    ["B or C", "The answer is A good one", "A city is big", "The answer is B and C", "(B), (C)", "E", "Bern is it", "", "<think>\nB", "\\boxed{AB}", "BB"],
)  # fmt: skip
def test_two_letters_and_words_that_only_begin_like_one_are_no_answer(response: str) -> None:
    answers = answers_for(Problem.ask(CAPITAL, "choice", "(B)"))
    assert answers.canonical(response) == ""
    assert answers.right(response) is False


def test_a_choice_without_a_letter_for_reference_says_what_it_needs() -> None:
    with pytest.raises(ValueError, match="\"answer\" is 'Berlin'"):
        answers_for(Problem.ask(CAPITAL, "choice", "Berlin"))


# ---- which kind


@pytest.mark.parametrize(
    ("prompt", "answer", "kind"),
    [
        ("Reach 24 from 4, 7, 8 and 8.", None, "countdown"),
        ("What is 2 + 2?", "4", "math"),
        ("Simplify $\\frac{2}{4}$.", None, "math"),
        ("Solve it.", "\\left( 3, \\frac{\\pi}{2} \\right)", "math"),
        ("Solve it.", "x = 3", "math"),
        (CAPITAL, "B", "choice"),
        (CAPITAL, "Paris", "text"),
        ("Is it so? Answer A or B.", "A", "text"),
        ("Who was it?", "Ada Lovelace", "text"),
        ("Who was it?", None, "text"),
    ],
)
def test_a_problem_without_a_task_is_of_the_kind_it_looks_like(prompt: str, answer: str | None, kind: str) -> None:
    assert kind_of(Problem.ask(prompt, "", answer)) == kind


# ---- programs

ADD = "def add(a, b):\n    return a + b"


def coded(tests: list, hidden: list | None = None, **meta: object) -> Problem:
    return Problem("p", "Write add.", "", None, {"tests": tests, "hidden_tests": hidden or [], **meta})


def fenced(program: str) -> str:
    return f"Here:\n\n```python\n{program}\n```\nDone."


def test_a_program_is_judged_by_the_hidden_tests_and_shows_its_share_of_the_public() -> None:
    problem = coded(
        ["assert add(1, 2) == 3", {"call": "add", "args": [[1], [2]], "expect": [1, 2]}],
        [{"call": "add", "args": [2, 5], "expect": 7}],
    )
    assert kind_of(problem) == "code"
    answers = CodeAnswers(problem)
    assert answers.right(fenced(ADD)) is True
    assert answers.share_of_public(fenced(ADD)) == 1.0
    small = "def add(a, b):\n    return 3"  # passes what it was shown
    assert answers.share_of_public(fenced(small)) == 0.5
    assert answers.right(fenced(small)) is False
    assert answers.canonical(fenced(ADD)) == answers.canonical("```\n" + ADD.replace("\n", "   \n\n") + "\n```") == ADD
    assert answers.right("no program here") is False
    assert pickle.loads(pickle.dumps(answers)) == answers


def test_a_program_runs_as_it_was_written() -> None:
    told = 'print("""a  \n\n  b""")'
    answers = CodeAnswers(coded([{"input": "", "output": "a\n\n  b\n"}]))
    assert answers.right(fenced(told)) is True
    assert answers.share_of_public(fenced(told)) == 1.0
    assert answers.right(fenced("  \n")) is False


def test_a_judged_program_stays_judged_when_its_verdict_was_forgotten(monkeypatch) -> None:
    monkeypatch.setattr(code, "REMEMBERED", 1)
    monkeypatch.setattr(code, "_verdicts", code.OrderedDict())
    problem = coded(["assert add(1, 2) == 3", "assert add(2, 2) == 4"])
    answers, ran = CodeAnswers(problem), []
    monkeypatch.setattr(code, "_judge", lambda *job: ran.append(job) or "passed")
    answers.prepare(fenced(ADD))
    answers.prepare(fenced(ADD + " + 0"))
    assert len(ran) == 4
    assert answers.right(fenced(ADD)) is True
    assert len(ran) == 4


def test_standard_input_and_output_are_compared_by_line() -> None:
    problem = coded([{"input": "3\n4\n", "output": "7\n"}])
    answers = CodeAnswers(problem)
    assert answers.right(fenced("a = int(input())\nb = int(input())\nprint(a + b, ' ')")) is True
    assert answers.right(fenced("print(77)")) is False  # 7 is in it
    assert answers.right(fenced("print('7')\nraise SystemExit(1)")) is False


def test_a_program_cannot_pass_by_ending_early_printing_or_pretending_to_be_equal() -> None:
    call = Case(call="add", args="[1, 2]", expect="3")
    check = Case(check="assert add(1, 2) == 3")
    for cheat in (
        "import os\nos._exit(0)",
        "raise SystemExit(0)",
        "print('true')\nimport sys\nsys.exit(0)",
        "def add(a, b):\n    print(3)",
        "class Any:\n    def __eq__(self, other): return True\ndef add(a, b): return Any()",
    ):
        assert passed(cheat, [call]) == [False]
        if "Any" not in cheat:
            assert passed(cheat, [check]) == [False]
    assert passed(ADD, [call, check]) == [True, True]


def test_results_are_equal_as_json_but_a_truth_is_no_number() -> None:
    assert same([1, 2.0, {"a": "x"}], [1.0, 2, {"a": "x"}])
    assert same(0.1 + 0.2, 0.3)
    assert not same(True, 1) and not same("1", 1) and not same([1], [1, 2]) and not same({"a": 1}, {"b": 1})


@pytest.mark.parametrize(
    ("tests", "says"),
    [
        ("x", '"meta.tests" must be a list'),
        ([{"input": "1"}], r'"meta.tests\[0\]" must be'),
        ([""], r'"meta.tests\[0\]" must be'),
    ],
)
def test_a_test_that_is_none_is_named(tests: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        CodeAnswers(Problem("p", "?", "code", None, {"tests": tests}))
    with pytest.raises(ValueError, match="time_limit"):
        CodeAnswers(coded(["assert True"], time_limit="long"))


# ---- the sandbox

TIGHT = sandbox.Limits(cpu=1, memory=256 << 20, file=1 << 20, disk=4 << 20)


@pytest.mark.slow
def test_the_sandbox_holds_time_memory_and_output() -> None:
    assert sandbox.run("while True: pass", "", TIGHT).ended == "time"
    assert sandbox.run("x = []\nwhile True: x.append('a' * 10**7)", "", TIGHT).ended == "memory"
    assert sandbox.run("while True: print('x' * 1000)", "", TIGHT).ended in ("output", "time")
    assert "File too large" in sandbox.run("open('a', 'wb').write(b'x' * 10**8)", "", TIGHT).stderr
    late = sandbox.run("import time\ntime.sleep(1000)", "", TIGHT)
    assert late.ended == "time" and late.code is None


@pytest.mark.parametrize(
    "reach",
    ["import os\nwhile True: os.fork()", "import subprocess\nsubprocess.run(['true'])", "import multiprocessing as m\nm.Process(target=print).start()",
     "import socket\nsocket.create_connection(('127.0.0.1', 80), 1)", "import socket\nsocket.socket(socket.AF_UNIX)", "import os\nos.kill(os.getppid(), 9)",
     "import os\nos.kill(-1, 9)", "import os\nos.listdir('/')", "open('/etc/passwd').read()", "open('/proc/1/environ').read()",
     "import os\nos.chmod({here!r}, 0)", "import os\nos.unlink({here!r})", "open({here!r}, 'a')", "open({here!r}).read()",
     "import os\nos.symlink({here!r}, 'x')\nopen('x').read()"],
)  # fmt: skip
@pytest.mark.skipif(bool(sandbox.missing()), reason="this machine does not permit all of the sandbox")
def test_the_sandbox_gives_no_process_no_network_no_signal_and_no_file(reach: str) -> None:
    ran = sandbox.run(reach.format(here=__file__) + "\nprint('reached')", "", TIGHT)
    assert ran.code == 1 and "reached" not in ran.stdout
    assert any(word in ran.stderr for word in ("PermissionError", "Permission denied", "not permitted")), ran.stderr
    assert os.path.exists(__file__)


def test_the_sandbox_lets_honest_programs_work_and_leaves_nothing_behind() -> None:
    program = (
        "import asyncio, json, math, os, tempfile, threading\nimport numpy as np\n"
        "open('a.txt', 'w').write('1')\ntempfile.NamedTemporaryFile().write(b'1')\n"
        "t = threading.Thread(target=lambda: print(input()))\nt.start(); t.join()\n"
        "async def two(): return 2\nprint(asyncio.run(two()), int(np.arange(3).sum()), sorted(os.environ))\nprint(os.getcwd())"
    )
    ran = sandbox.run(program, "one\n")
    said = ran.stdout.splitlines()
    assert ran.code == 0 and said[0] == "one" and said[1].startswith("2 3")
    assert not any(secret in said[1] for secret in ("TOKEN", "KEY", "PYTHONPATH"))
    assert not os.path.exists(said[2])


def test_a_text_that_ended_in_its_thinking_has_no_answer() -> None:
    answers = TextAnswers(Problem.ask("Who wrote it?", "text", "Ada"))
    assert [answers.canonical(r) for r in ("<think>\nso it is Ada", "<think>\nAda\n</think>\n")] == ["", ""]
    assert answers.right("<think>\nmaybe Bob\n</think>\nIt was\n Ada ") is True
    assert answers.right("It was\nAda") is True, "without marks of thinking all is answer"


def test_a_program_that_ran_out_of_time_once_is_not_run_again(monkeypatch) -> None:
    asked = []

    def verdict(program: str, test: Case, limits: object) -> str:
        asked.append(test)
        return "time" if len(asked) == 2 else "passed"

    monkeypatch.setattr(code, "_verdict", verdict)
    tests = [Case(check=f"assert {n}") for n in range(6)]
    assert passed("x", tests) == [True, False, False, False, False, False]
    assert len(asked) == 2
