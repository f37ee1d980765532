"""Traces for the browser tests, written by the project's own synthesis, and one that tries everything hostile."""

from __future__ import annotations

from itertools import islice
from typing import Any

from training.synthesis.countdown import walks

HOSTILE = '<img src=x onerror="window.__xss=1"> ${window.__xss=2} {{7*7}} </script><script>window.__xss=3</script> \\frac{a}{b} href'


def synthetic(count: int, seed: int = 5) -> list[dict[str, Any]]:
    """Rows to import: questions of the numbers game with searches that turn back."""
    return [{"prompt": w.prompt, "response": w.response, "model": "synthetic"} for w in islice(walks(seed), count)]


def long_one(steps: int) -> dict[str, Any]:
    """One row with exactly `steps` steps, so that a burst of keys has somewhere to go."""
    from training.synthesis.countdown import step_text

    texts: list[str] = []
    for walk in walks(9):
        texts += [step_text(s) for s in walk.steps]
        if len(texts) >= steps:
            break
    body = "<|reasoning_proceed|>".join(texts[:steps])
    return {
        "prompt": "Reach 99 from 1, 1 and 2, however long it takes.",
        "response": f"<|reasoning_start|>{body}<|reasoning_end|>No.",
        "model": "synthetic",
    }


def hostile() -> dict[str, Any]:
    """A trace whose every text would do harm if it were taken for markup, a template or a script."""
    walk = next(w for w in walks(3) if 6 <= len(w.steps) <= 30 and any(s.decision == "backtrack" for s in w.steps))
    response = walk.response
    for word in ("Try", "What about", "From", "Left", "Looking"):
        response = response.replace(word, f"{HOSTILE} {word}")
    return {"prompt": f"Hostile {HOSTILE}", "response": f"{response} {HOSTILE}", "model": f"model {HOSTILE}"}
