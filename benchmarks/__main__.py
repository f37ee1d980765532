"""Run all benchmarks, or those named: `python -m benchmarks [engine] [tree] [ratings] [paint]`."""

from __future__ import annotations

import importlib
import sys

from benchmarks.table import show

ALL = ("engine", "tree", "ratings", "paint")


def main() -> int:
    chosen = sys.argv[1:] or list(ALL)
    unknown = [name for name in chosen if name not in ALL]
    if unknown:
        print(f"unknown benchmark {unknown[0]!r}; there are: {', '.join(ALL)}", file=sys.stderr)
        return 2
    rows = []
    for name in chosen:
        print(f"measuring {name} …", file=sys.stderr)
        rows += importlib.import_module(f"benchmarks.{name}").measure()
    show(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
