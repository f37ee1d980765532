"""The program that compares mathematical answers, one line of JSON a question: started and watched by `math_process`.

It runs apart because what it reads is hostile: `9^{9^{9}}` takes a computer algebra system for ever and all memory there is. The
kernel ends it after `seconds` of its own time, within C code too. Knows nothing of Worldline.
"""

from __future__ import annotations

import contextlib
import json
import logging
import resource
import signal
import sys
from functools import lru_cache
from typing import Any

MEMORY = 2 << 30  # bytes of address space: a comparison that needs more is none


@lru_cache(maxsize=512)
def parsed(text: str) -> list[Any]:
    from math_verify import LatexExtractionConfig, parse

    # Without its own alarm: the timer below also ends what does not return to Python.
    return parse(f"${text}$", [LatexExtractionConfig()], parsing_timeout=0)


@lru_cache(maxsize=512)
def value(text: str) -> complex | None:
    """A number for an expression, its symbols taking fixed values; None where that means nothing."""
    import sympy

    found = parsed(text)
    if not found or not isinstance(found[0], sympy.Expr) or isinstance(found[0], sympy.Symbol):
        return None
    expr = found[0]
    # A product of letters alone may be a word that stands for itself.
    if expr.is_Mul and all(a.is_Symbol for a in expr.args):
        return None
    names = sorted(expr.free_symbols, key=str)
    got = expr.subs({s: sympy.Rational(7 * i + 11, 5 * i + 17) for i, s in enumerate(names)}).evalf(15)
    return complex(got)


def differ(a: str, b: str) -> bool:
    """Surely different, cheaply: two expressions with values that are apart."""
    try:
        x, y = value(a), value(b)
    except Exception:
        return False
    if x is None or y is None or x != x or y != y:
        return False
    # 50 % is 50 and 1/2, and what is equal to six places is equal.
    return all(abs(x * times - y) > 1e-4 * max(1.0, abs(y)) for times in (1, 100, 0.01))


def equal(gold: str, other: str) -> bool:
    from math_verify import verify

    return not differ(gold, other) and bool(verify(parsed(gold), parsed(other), timeout_seconds=0))


def answer(job: dict[str, Any]) -> dict[str, Any]:
    try:
        if not parsed(job["new"]):
            return {"readable": False, "equal": -1}
        with contextlib.suppress(ArithmeticError, ValueError, TypeError, AttributeError):
            value(job["new"])  # what cannot be worked out is noticed now, not with every comparison
        for i, known in enumerate(job["known"]):
            signal.setitimer(signal.ITIMER_PROF, job["seconds"])
            if equal(known, job["new"]):
                return {"readable": True, "equal": i}
        return {"readable": True, "equal": -1}
    except (Exception, MemoryError, RecursionError):
        return {"readable": False, "equal": -1}


def main() -> None:
    logging.disable(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    parsed("1")  # what takes a second is done before the first question
    equal(r"\frac{1}{2}", "x+1")
    out = sys.stdout
    sys.stdout = sys.stderr  # nothing that a library prints is an answer
    print(json.dumps({"ready": True}), file=out, flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, job["seconds"])
        said = answer(job)
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps(said), file=out, flush=True)


if __name__ == "__main__":
    main()
