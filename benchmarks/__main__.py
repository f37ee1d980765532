"""Run all benchmarks, or those named: `python -m benchmarks [engine] [tree] [ratings] [paint] [implicit] [reading] [proxy] [keys] [synthesis] [training] [rl] [--data DIR]`;
`python -m benchmarks against` compares with other libraries."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from benchmarks.table import show

ALL = ("engine", "tree", "ratings", "paint", "implicit", "reading", "proxy", "keys", "synthesis", "training", "rl")
MODULES = {"implicit": "implicit_tree", "reading": "long_traces"}  # where the name is not the module's
MEASURES_DATA = ("implicit",)  # whose `measure` takes the folder of --data


def main() -> int:
    if sys.argv[1:2] == ["against"]:  # has options of its own, and needs other libraries' environments
        from benchmarks.against import main as against

        return against(sys.argv[2:])
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(ALL)}; all without")
    parser.add_argument("--data", type=Path, help="folder with data sets that are not part of the repository")
    asked = parser.parse_args()
    chosen = asked.names or list(ALL)
    unknown = [name for name in chosen if name not in ALL]
    if unknown:
        print(f"unknown benchmark {unknown[0]!r}; there are: {', '.join(ALL)}", file=sys.stderr)
        return 2
    rows = []
    for name in chosen:
        print(f"measuring {name} …", file=sys.stderr)
        module = importlib.import_module(f"benchmarks.{MODULES.get(name, name)}")
        rows += module.measure(asked.data) if name in MEASURES_DATA else module.measure()
    show(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
