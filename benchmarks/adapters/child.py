"""One library in its own environment: reads tasks from the standard input, a JSON object a line, and answers in the same way.

    python -m benchmarks.adapters.child NAME

Only what lies between a task and its outcome is timed. Knows no other library and no server's start.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import time
import warnings
from typing import Any

from benchmarks.adapters import ADAPTERS, Server, Task


def main() -> None:
    warnings.simplefilter("ignore")  # a library's advice to its users
    module, _, cls = ADAPTERS[sys.argv[1]][0].partition(":")
    adapter = getattr(importlib.import_module(f"benchmarks.adapters.{module}"), cls)()
    with asyncio.Runner() as runner:
        for line in sys.stdin:
            asked = json.loads(line)
            if "server" in asked:
                adapter.setup(Server(**asked["server"]))
                has = [n for n in asked["algorithms"] if hasattr(adapter, n)]
                _say({"has": has})
                continue
            task = Task(**{**asked["task"], "prompts": tuple(asked["task"]["prompts"])})
            try:
                began, cpu = time.perf_counter(), time.process_time()
                outcome = runner.run(getattr(adapter, asked["algorithm"])(task))
                seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
                found: dict[str, Any] = {
                    "responses": outcome.responses, "charged": outcome.charged, "seconds": seconds, "cpu": cpu
                }  # fmt: skip
            except Exception as error:
                found = {"error": f"{type(error).__name__}: {error}"}
            _say(found)
        runner.run(adapter.close())


def _say(what: dict[str, Any]) -> None:
    sys.__stdout__.write(json.dumps(what) + "\n")  # type: ignore[union-attr]
    sys.__stdout__.flush()  # type: ignore[union-attr]


if __name__ == "__main__":
    main()
