"""The folder of an evaluation on disk: its plan, its problems, a line for every finished search, and the searches' own logs.

    ID/plan.json         what is evaluated, and which problems (SHA-256)
       problems.jsonl    the problems themselves, so that a file that is changed or gone later does no harm
       results.jsonl     a line a finished search; a search whose line is missing has not happened
       searches/*.jsonl  logs that `core.search.search.replay` reads
       status.json       where it stands
       lock              held (flock) by the process that runs it

Knows no engine and spends nothing.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from core.evaluation import problems as problem_sets
from core.evaluation.estimate import Drawn
from core.evaluation.plan import Cell, Plan
from core.evaluation.problems import Asked
from core.search.ledger import Spent
from core.trace import new_id, utc_now

PLAN, PROBLEMS, RESULTS, SEARCHES, STATUS, LOCK = (
    "plan.json", "problems.jsonl", "results.jsonl", "searches", "status.json", "lock",
)  # fmt: skip
FORMAT = "worldline-evaluation/1"
# All that an evaluation writes into its folder, half written files included, but for the plan.
_WRITTEN = (
    PROBLEMS, RESULTS, STATUS, LOCK, "results.parquet", "report.md", "tokens.svg", "flops.svg", "k-*.svg", ".*.new", ".*.json*.[0-9]*",
)  # fmt: skip
State = Literal["running", "stopped", "failed", "done"]


class EvaluationError(ValueError):
    """A sentence: this is no evaluation, another plan's, or at work elsewhere."""


@dataclass(frozen=True)
class Status:
    """Where an evaluation stands: finished searches of all. left_s: seconds, None while nobody can say. failed: searches that an
    engine or a scorer broke off; they are missing in the results and are tried again when it goes on. by: who runs it."""

    state: State = "stopped"
    done: int = 0
    total: int = 0
    failed: int = 0
    seconds: float = 0.0
    left_s: float | None = None
    error: str = ""
    by: str = ""
    updated_at: str = ""

    @property
    def resumable(self) -> bool:
        return self.state in ("stopped", "failed")


@dataclass(frozen=True)
class Task:
    """One search of an evaluation."""

    cell: Cell
    asked: Asked
    seed: int

    @property
    def place(self) -> tuple[str, int, int]:
        return self.cell.cell_id, self.asked.index, self.seed


@dataclass(frozen=True)
class Result:
    """What came of a search. problem: the key of its problem; right: None where nobody knows the answer; score: of what was chosen.
    pool: the answers of a pool, those that were cut short included. elapsed: seconds by the clock, beside all others; None in results of
    earlier versions."""

    search_id: str
    cell: str
    index: int
    problem: str
    seed: int
    reason: str
    answer: str
    right: bool | None
    score: float | None
    nodes: int
    spent: Spent
    pool: tuple[Drawn, ...] = ()
    elapsed: float | None = None

    @property
    def place(self) -> tuple[str, int, int]:
        return self.cell, self.index, self.seed

    def to_json(self) -> dict[str, Any]:
        row = {f.name: getattr(self, f.name) for f in fields(self)}
        return row | {"spent": self.spent.to_json(), "pool": [asdict(d) for d in self.pool]}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Result:
        given = {f.name: row[f.name] for f in fields(cls) if f.name != "elapsed" or f.name in row}
        return cls(**given | {"spent": Spent.from_json(row["spent"]), "pool": tuple(Drawn(**d) for d in row["pool"])})


@dataclass(frozen=True)
class Evaluation:
    """An evaluation on disk. What has happened is read anew at every call."""

    path: Path
    eval_id: str
    name: str
    plan: Plan
    problems: tuple[Asked, ...] = field(repr=False)
    created_at: str = ""
    created_by: str = ""

    @property
    def tasks(self) -> list[Task]:
        """Every search, problem by problem, so that what is there at any time compares the cells on the same problems."""
        return [
            Task(cell, asked, seed)
            for asked in self.problems for cell in self.plan.cells for seed in self.plan.seeds_of(cell)
        ]  # fmt: skip

    def search_id(self, task: Task) -> str:
        """26 digits and letters, always the same for this search of this evaluation."""
        return hashlib.sha256(f"{self.eval_id} {task.place}".encode()).hexdigest()[:26]

    def search_log(self, task: Task) -> Path:
        return self.path / SEARCHES / f"{self.search_id(task)}.jsonl"

    def cell(self, cell_id: str) -> Cell:
        """Raises EvaluationError with the cells that there are."""
        for cell in self.plan.cells:
            if cell.cell_id == cell_id:
                return cell
        there = ", ".join(f"{c.cell_id} ({c.label})" for c in self.plan.cells)
        raise EvaluationError(f'there is no cell "{cell_id[:60]}" in the evaluation {self.eval_id}; there is {there}')

    def results(self) -> list[Result]:
        """Of all finished searches, in the order of problems, each once."""
        found = {}
        for row in whole_lines(self.path / RESULTS):
            with suppress(KeyError, TypeError):
                result = Result.from_json(row)
                found[result.place] = result
        order = {cell.cell_id: i for i, cell in enumerate(self.plan.cells)}
        kept = [r for r in found.values() if r.cell in order]
        return sorted(kept, key=lambda r: (r.index, order[r.cell], r.seed))

    def written_status(self) -> Status:
        """As its process last wrote it, whether that process lives or not."""
        try:
            row = json.loads((self.path / STATUS).read_text(encoding="utf-8"))
            return Status(**{f.name: row[f.name] for f in fields(Status) if f.name in row})
        except (OSError, ValueError, TypeError):
            return Status(total=len(self.tasks))

    def status(self) -> Status:
        """The same, corrected by whether its process lives."""
        status = self.written_status()
        if status.state == "running" and not self.is_held():
            why = "What ran it ended before it was done; it can go on where it stands."
            return replace(status, state="stopped", left_s=None, error=why)
        return status

    def write_status(self, status: Status) -> None:
        _write(self.path / STATUS, json.dumps(asdict(replace(status, updated_at=utc_now()))) + "\n")

    # ---- who runs it

    def is_held(self) -> bool:
        try:
            fd = os.open(self.path / LOCK, os.O_RDWR)
        except OSError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Be the one who runs it; the system lets go when the process dies. Raises EvaluationError."""
        fd = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise EvaluationError(f"the evaluation {self.eval_id} is at work in another process") from None
            yield
        finally:
            os.close(fd)


def create(path: Path, plan: Plan, problems: Iterable[Asked], *, name: str = "", created_by: str = "") -> Evaluation:
    """A new evaluation in a folder that is not there yet, or empty. Raises EvaluationError."""
    asked = tuple(problems)
    if path.exists() and any(path.iterdir()):
        raise EvaluationError(f"{path} is there already and no evaluation; name a new folder")
    (path / SEARCHES).mkdir(parents=True, exist_ok=True)
    made = Evaluation(
        path,
        new_id() if path.parent.name != "evals" else path.name,
        name or plan.problems,
        plan,
        asked,
        utc_now(),
        created_by,
    )
    _write(path / PROBLEMS, problem_sets.to_jsonl(asked))
    # Last: a folder with a plan is whole.
    _write(path / PLAN, json.dumps({
        "format": FORMAT, "eval_id": made.eval_id, "name": made.name, "created_at": made.created_at, "created_by": created_by,
        "problems_sha256": problem_sets.sha256_of(asked), "plan": plan.to_json(),
    }, indent=1) + "\n")  # fmt: skip
    made.write_status(Status(total=len(made.tasks)))
    return made


def read(path: Path) -> Evaluation:
    """Raises EvaluationError where there is none."""
    try:
        row = json.loads((path / PLAN).read_text(encoding="utf-8"))
        if row["format"] != FORMAT:
            raise ValueError(f"it is a {row['format']}")
        asked = tuple(problem_sets.from_jsonl((path / PROBLEMS).read_text(encoding="utf-8")))
        return Evaluation(
            path, row["eval_id"], row["name"], Plan.from_json(row["plan"]), asked, row["created_at"], row["created_by"]
        )
    except FileNotFoundError:
        raise EvaluationError(f"{path} is not the folder of an evaluation: it has no {PLAN}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EvaluationError(f"the evaluation in {path} cannot be read: {error}") from None


def remove(evaluation: Evaluation) -> None:
    """Delete what it wrote, for good, and its folder unless something else lies there. Raises EvaluationError while it is at work."""
    path = evaluation.path
    try:
        with evaluation.held():
            (path / PLAN).unlink(missing_ok=True)  # first: without a plan it is no evaluation, whatever happens next
            shutil.rmtree(path / SEARCHES, ignore_errors=True)
            for file in [file for name in _WRITTEN for file in path.glob(name)]:
                file.unlink(missing_ok=True)
    except FileNotFoundError:  # somebody else has deleted it
        return
    with suppress(OSError):
        path.rmdir()


def same(parent: Path, plan: Plan, problems: Sequence[Asked]) -> Evaluation | None:
    """The newest evaluation in a folder of them that is of this very plan and these problems."""
    wanted = problem_sets.sha256_of(problems)
    for path in sorted(parent.glob(f"[!.]*/{PLAN}"), reverse=True):
        try:
            found = read(path.parent)
        except EvaluationError:
            continue
        if not found.plan.difference(plan) and problem_sets.sha256_of(found.problems) == wanted:
            return found
    return None


def whole_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a JSONL file up to one that a kill cut short."""
    try:
        with path.open("rb") as file:
            for line in file:
                try:
                    row = json.loads(line) if line.endswith(b"\n") else None
                except ValueError:
                    row = None
                if not isinstance(row, dict):
                    return
                yield row
    except FileNotFoundError:
        return


def cut_torn(path: Path) -> None:
    """Drop what follows the last whole line, before more is written."""
    kept = 0
    try:
        with path.open("r+b") as file:
            for line in file:
                try:
                    whole = line.endswith(b"\n") and isinstance(json.loads(line), dict)
                except ValueError:
                    whole = False
                if not whole:
                    break
                kept += len(line)
            file.truncate(kept)
    except FileNotFoundError:
        return


def _write(path: Path, text: str) -> None:
    """Readers see the old file or the new one, never half of one."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with partial.open("w", encoding="utf-8", errors="surrogatepass", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
