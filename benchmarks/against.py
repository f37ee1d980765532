"""Worldline beside other libraries for inference-time search: same model, same server, same problems, same budget, same verifier.

    python -m benchmarks against [--problems N] [--skip N] [--budget N] [--rounds N] [--algorithms …] [--libraries …] [--out FILE.json]

A library is a file in `benchmarks/adapters/` and runs in an environment of its own (its_hub's is made by `benchmarks/its_hub-env`). All ask one
vLLM with the pocket model, or load the model into vLLM themselves ("in process", which is held against others that do so); the verifier is the exact
rule of the numbers game. The libraries take turns in rounds, so that what else the machine does hits all alike, and a ratio is the median of the
rounds'. The server stands on one half of the cores, what asks on the other; who needs no server has all of them.
Tokens are counted by the server; beside them stands what each library says it spent.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.adapters import ADAPTERS, ALGORITHMS, USUAL, Server, Task

ROOT = Path(__file__).parent.parent
# Sequences that vLLM decodes together. Its own default for a CPU is below what 24 problems × 8 texts want.
SEQUENCES = 256
SEED = 2026


class Failed(RuntimeError):
    """A library did not answer; the sentence says what it said."""


@dataclass(frozen=True)
class Measured:
    """One library, one algorithm, one round. tokens: by the server's own count, None in process; cpu: seconds of the library's process."""

    library: str
    algorithm: str
    round: int
    problems: int
    right: int
    seconds: float
    tokens: int | None
    charged: int | None
    requests: int
    cpu: float

    @property
    def per_minute(self) -> float:
        return 60 * self.problems / self.seconds

    @property
    def written(self) -> int:
        """Tokens by the server's count; in process by the library's own."""
        return self.tokens if self.tokens is not None else self.charged or 0


class Child:
    """A library in its own Python."""

    def __init__(self, name: str) -> None:
        environment = ADAPTERS[name].environment
        python = ROOT / environment / "bin" / "python" if environment else Path(sys.executable)
        if not python.exists():
            raise Failed(f"there is no {python}: benchmarks/{name}-env makes the environment of {name}")
        self.name = name
        self._process = subprocess.Popen(
            [str(python), "-m", "benchmarks.adapters.child", name], cwd=ROOT, text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True,
        )  # fmt: skip

    def ask(self, what: dict[str, Any]) -> dict[str, Any]:
        """Raises Failed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(what) + "\n")
            self._process.stdin.flush()
            answer = json.loads(self._process.stdout.readline() or '{"error": "its process ended"}')
        except (OSError, ValueError) as error:
            raise Failed(f"{self.name}: {error}") from error
        if "error" in answer:
            raise Failed(f"{self.name}: {answer['error']}")
        return dict(answer)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
        with suppress(OSError):  # what it has started, too
            os.killpg(self._process.pid, signal.SIGKILL)


@contextmanager
def served(core: int | None = None) -> Iterator[Server]:
    """vLLM with the pocket model, started as `worldline serve` does, on half of the cores while this process keeps to the others;
    with `core` on that one alone, and this process stays where it is. Raises CannotServe.
    """
    from app import serving
    from benchmarks.proxy import VLLM_START_S, half_of_the_cores, on, other_half
    from core.pocket import model_dir

    own = ROOT / ".venv-vllm/bin/python"
    python, cpu = serving.find_python(os.environ.get(serving.PYTHON_VARIABLE) or (str(own) if own.exists() else None))
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
    os.environ.setdefault("VLLM_SERVER_DEV_MODE", "1")  # for the route that empties the prefix cache
    extra = ["--max-num-seqs", str(SEQUENCES)]
    extra += ["--enforce-eager", "--distributed-executor-backend", "uni"] if cpu else []
    where = half_of_the_cores() if core is None else on([core])
    with serving.laid_out() as control, tempfile.NamedTemporaryFile(suffix=".log") as log, where:
        launch = serving.plan("pocket", python=python, cpu=cpu, control=control, port=serving.free_port(), extra=extra)
        with serving.running(launch, log) as process:
            if core is None:
                other_half()
            serving.wait_until_ready(launch, process, VLLM_START_S, lambda: Path(log.name).read_text()[-2000:])
            try:
                yield Server(launch.endpoint, launch.name, str(model_dir()))
            finally:
                if process.poll() is not None:
                    print(
                        f"vLLM ended by itself ({process.returncode}):\n{Path(log.name).read_text()[-2000:]}",
                        file=sys.stderr,
                    )


def counted(server: Server) -> tuple[int, int]:
    """Tokens written and requests ended since the server started, by its own count; zeros without a server."""
    import httpx

    if not server.endpoint:
        return 0, 0
    found = {"generation_tokens_total": 0.0, "request_success_total": 0.0}
    text = httpx.get(server.endpoint.removesuffix("/v1") + "/metrics", timeout=60).text
    for line in text.splitlines():
        for name in found:
            if line.startswith(f"vllm:{name}"):
                found[name] += float(line.split()[-1])
    return int(found["generation_tokens_total"]), int(found["request_success_total"])


def emptied(server: Server) -> None:
    """No arm finds in the prefix cache what another has left there."""
    import httpx

    if server.endpoint:
        httpx.post(server.endpoint.removesuffix("/v1") + "/reset_prefix_cache", timeout=60).raise_for_status()


def compare(
    server: Server,
    libraries: Sequence[str],
    algorithms: Sequence[str],
    problems: int,
    skip: int,
    budget: int,
    rounds: int,
) -> Iterator[Measured]:
    """Each as it is measured. Raises Failed."""
    from core.answers import answers_for
    from core.formats.steiner_tokens import REASONING_END, STEP_END
    from core.tasks.countdown import held_out_set
    from core.tasks.countdown_text import ask
    from core.trace import Problem

    prompts = tuple(ask(p) for p in held_out_set(skip + problems)[skip:])
    judges = [answers_for(Problem.ask(p)) for p in prompts]
    with ExitStack() as stack:
        children = {}
        for name in libraries:
            child = Child(name)
            stack.callback(child.close)
            children[name] = child, child.ask({"server": asdict(server), "algorithms": list(algorithms)})["has"]
        for number in range(-1, rounds):  # the first, small, is for everybody to warm up
            order = list(children) if number % 2 else list(children)[::-1]
            task = Task(
                prompts if number >= 0 else prompts[:2], budget, max(1, budget // 2), SEED + 1000 * number, 40, 200, 3000, STEP_END, REASONING_END
            )  # fmt: skip
            for algorithm in algorithms:
                for name in order:
                    child, has = children[name]
                    if algorithm not in has:
                        continue
                    emptied(server)
                    before = counted(server)
                    found = child.ask({"task": asdict(task), "algorithm": algorithm})
                    after = counted(server)
                    if number < 0:
                        continue
                    in_process = ADAPTERS[name].in_process
                    right = sum(bool(j.right(r)) for j, r in zip(judges, found["responses"], strict=True))
                    yield Measured(
                        name, algorithm, number, len(task.prompts), right, found["seconds"],
                        None if in_process else after[0] - before[0], found["charged"], after[1] - before[1], found["cpu"],
                    )  # fmt: skip


def table(measured: Sequence[Measured]) -> str:
    """One line a library and algorithm, in Markdown: medians of the rounds, accuracy over all of them."""
    lines = [
        "| algorithm | library | problems/min | ratio (rounds) | tokens/s | tokens | charged | accuracy | its CPU s |",
        "|---|---|--:|---|--:|--:|--:|--:|--:|",
    ]
    for algorithm in dict.fromkeys(m.algorithm for m in measured):
        of = [m for m in measured if m.algorithm == algorithm]
        for library in dict.fromkeys(m.library for m in of):
            rows = [m for m in of if m.library == library]
            # Who asks a server is held against who does, who runs the model in process against who does.
            others = [m for m in of if not m.library.startswith("worldline") and _in_process(m) == _in_process(rows[0])]
            ratios = ""
            if library.startswith("worldline") and others:
                best = {m.round: max(o.per_minute for o in others if o.round == m.round) for m in rows}
                each = [m.per_minute / best[m.round] for m in rows]
                ratios = f"**{median(each):.2f}** ({', '.join(f'{r:.2f}' for r in each)})"
            charged = [m.charged for m in rows if m.charged is not None]
            total = sum(m.problems for m in rows)
            lines.append(
                f"| {algorithm} | {library} | {median(m.per_minute for m in rows):.1f} | {ratios} | "
                f"{median(m.written / m.seconds for m in rows):,.0f} | {median(m.written for m in rows):,.0f} | "
                f"{median(charged) if charged else 0:,.0f} | {sum(m.right for m in rows)}/{total} | {median(m.cpu for m in rows):.1f} |"
            )
    return "\n".join(lines)


def _in_process(one: Measured) -> bool:
    return ADAPTERS[one.library].in_process


def main(asked: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks against")
    parser.add_argument("--problems", type=int, default=24)
    parser.add_argument(
        "--skip", type=int, default=0, help="questions of the held-out set that are left out before these"
    )
    parser.add_argument("--budget", type=int, default=8, help="texts in parallel")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--algorithms", nargs="+", default=list(ALGORITHMS), choices=ALGORITHMS)
    parser.add_argument(
        "--libraries",
        nargs="+",
        default=list(USUAL),
        choices=list(ADAPTERS),
    )
    parser.add_argument("--endpoint", help="a vLLM that serves the pocket model already; without, one is started")
    parser.add_argument("--out", type=Path, help="also write every round here, as JSON")
    options = parser.parse_args(asked)
    from app.serving import CannotServe
    from core.pocket import model_dir

    measured = []
    try:
        alone = all(ADAPTERS[name].in_process for name in options.libraries)
        given = Server(options.endpoint or "", "pocket", str(model_dir()))
        with nullcontext(given) if alone or options.endpoint else served() as server:
            for one in compare(
                server,
                options.libraries,
                options.algorithms,
                options.problems,
                options.skip,
                options.budget,
                options.rounds,
            ):
                measured.append(one)
                print(
                    f"{one.algorithm} {one.library}: {one.per_minute:.1f} problems/min, {one.seconds:.1f} s, {one.written:,} tokens, "
                    f"{one.requests} texts, {one.right}/{one.problems}, {one.cpu:.1f} CPU s",
                    file=sys.stderr,
                )
                if options.out:
                    options.out.write_text(json.dumps([asdict(m) for m in measured], indent=1))
    except KeyboardInterrupt:
        print("stopped; this is what there is", file=sys.stderr)
    except (Failed, CannotServe) as error:
        print(error, file=sys.stderr)
        return 1
    print(table(measured))
    return 0
