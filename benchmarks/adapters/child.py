"""One library in its own environment: reads tasks from the standard input, a JSON object a line, and answers in the same way.

    python -m benchmarks.adapters.child NAME

Only what lies between a task and its outcome is timed. Knows no other library and no server's start.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
import time
import warnings
from typing import Any

from benchmarks.adapters import ADAPTERS, Server, Task


def main() -> None:
    warnings.simplefilter("ignore")  # a library's advice to its users
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints, or a process that it starts, is no answer
    library = ADAPTERS[sys.argv[1]]
    if library.in_process and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, range(os.cpu_count() or 1))  # who asks a server has a half, and the server the other
    module, _, cls = library.adapter.partition(":")
    adapter = getattr(importlib.import_module(f"benchmarks.adapters.{module}"), cls)()
    with asyncio.Runner() as runner:
        for line in sys.stdin:
            asked = json.loads(line)
            if "server" in asked:
                adapter.setup(Server(**asked["server"]))
                has = [n for n in asked["algorithms"] if hasattr(adapter, n)]
                print(json.dumps({"has": has}), file=answers, flush=True)
                continue
            task = Task(**{**asked["task"], "prompts": tuple(asked["task"]["prompts"])})
            try:
                if hasattr(adapter, "fresh"):
                    runner.run(adapter.fresh())
                began, cpu = time.perf_counter(), time.process_time()
                outcome = runner.run(getattr(adapter, asked["algorithm"])(task))
                seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
                found: dict[str, Any] = {
                    "responses": outcome.responses, "charged": outcome.charged, "seconds": seconds, "cpu": cpu
                }  # fmt: skip
            except Exception as error:
                found = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(found), file=answers, flush=True)
        runner.run(adapter.close())


if __name__ == "__main__":
    main()
