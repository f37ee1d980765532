"""One import from file to batches of new traces and of what people said, with a count of everything on the way.

The same pass serves the dry run and the import: `fresh` yields what is neither stored nor met before in the file; the
caller stores it, or does not. What is the same is told by content, SHA-256 of prompt and response, under whatever id.
Asks a database only through `held`, in batches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from core.answers.outcome import judged as judged_by
from core.trace import Trace
from storage.errors import ImportProblem
from storage.imports import gathered, known_family, read, read_as
from storage.imports.judged import Rated, rater_name
from storage.imports.reading import rows
from storage.traces import Held, content_hash

BATCH = 100  # traces looked up and stored in one go: few commits, and little in memory
BATCH_CHARS = 8_000_000  # long traces make a batch full earlier
MOST_ERRORS = 100  # sentences that are kept; beyond that they are only counted
SHOWN_ERRORS = 20  # of them, those that the terminal prints


class Batch(NamedTuple):
    """New traces; what was said of these, of earlier or of stored ones; and their problems' reference answers, by problem_id."""

    traces: list[Trace]
    said: list[Rated]
    references: dict[str, str]


@dataclass
class Report:
    """What an import found. `traces`, `formats`, `steps`, `backtracks` count new traces only; `families` counts rows,
    `raters` judged traces (or comparisons) by rater, `judgements` what they said of them. rater: who is meant where the file
    names nobody.
    """

    name: str
    rows: int = 0
    families: Counter[str] = field(default_factory=Counter)
    formats: Counter[str] = field(default_factory=Counter)
    steps: int = 0
    backtracks: int = 0
    known: int = 0  # already stored
    repeated: int = 0  # a second time in this file
    n_errors: int = 0
    errors: list[str] = field(default_factory=list)
    trace_ids: list[str] = field(default_factory=list)
    rater: str = ""
    raters: Counter[str] = field(default_factory=Counter)
    judgements: int = 0
    references: int = 0  # problems with an answer beside them

    @property
    def traces(self) -> int:
        """New ones."""
        return len(self.trace_ids)

    def note(self, problem: ImportProblem | str) -> None:
        """Count an error, and keep its sentence while there are few."""
        self.n_errors += 1
        if len(self.errors) < MOST_ERRORS:
            # A sentence may repeat what was in the file, and that may not be text.
            self.errors.append(str(problem).encode("utf-8", "replace").decode())

    def count(self, trace: Trace) -> None:
        """A new trace."""
        self.trace_ids.append(trace.trace_id)
        self.formats[trace.format] += 1
        self.steps += len(trace.steps)
        self.backtracks += sum(n.is_backtrack for n in trace.nodes)

    def count_said(self, said: Sequence[Rated]) -> None:
        """Judgements that came with a row."""
        for one in said:
            self.raters[rater_name(one.rater, self.rater or self.name)] += 1
            self.judgements += len(one.judgements)

    def drop(self, trace: Trace, why: str) -> None:
        """A trace that was counted as new and could not be stored after all."""
        self.trace_ids.remove(trace.trace_id)
        self.formats = self.formats - Counter([trace.format])
        self.steps -= len(trace.steps)
        self.backtracks -= sum(n.is_backtrack for n in trace.nodes)
        self.note(f"{self.name}: {why}")

    def to_json(self) -> dict[str, Any]:
        """As the API answers it."""
        return {
            "name": self.name, "rows": self.rows, "traces": self.traces, "families": dict(self.families),
            "formats": dict(self.formats), "steps": self.steps, "backtracks": self.backtracks,
            "already_stored": self.known, "twice_in_file": self.repeated, "judgements": self.judgements,
            "references": self.references, "raters": dict(self.raters.most_common()), "n_errors": self.n_errors,
            "errors": self.errors, "trace_ids": self.trace_ids,
        }  # fmt: skip

    def lines(self) -> list[tuple[str, str]]:
        """(what, how many), for a table."""

        def of(counts: Counter[str]) -> list[tuple[str, str]]:
            return [(f"  {name}", f"{n:,}") for name, n in counts.most_common()]

        return [
            ("rows read", f"{self.rows:,}"), *of(self.families),
            ("new traces", f"{self.traces:,}"), *of(self.formats),
            ("steps", f"{self.steps:,}"), ("backtracks", f"{self.backtracks:,}"),
            ("judgements", f"{self.judgements:,}"), ("traces judged", f"{self.raters.total():,}"), *of(self.raters),
            ("reference answers", f"{self.references:,}"),
            ("already stored", f"{self.known:,}"), ("twice in the file", f"{self.repeated:,}"),
            ("errors", f"{self.n_errors:,}"),
        ]  # fmt: skip


def fresh(
    path: Path,
    report: Report,
    held: Callable[[Sequence[Trace]], Held],
    *,
    family: str | None = None,
    format: str | None = None,
) -> Iterator[Batch]:
    """Batches of new traces with what was said, while `report` fills. `held` says which of a batch are stored already.

    Raises ImportProblem where the file cannot be read at all, and ValueError for a family or format that is not known.
    """
    if family is not None:
        known_family(family)
    seen: dict[str, str] = {}  # trace id -> content hash
    contents: set[str] = set()
    waiting: list[tuple[str, Trace, str, str]] = []  # where, trace, content hash, the right answer beside it
    said: list[Rated] = []
    references: dict[str, str] = {}  # of this batch
    referred: set[str] = set()  # problems with one so far
    chars = 0

    def settled() -> Batch:
        nonlocal chars
        stored = held([trace for _, trace, _, _ in waiting])
        new = list[Trace]()
        for where, trace, content, answer in waiting:
            if content in stored.contents:
                report.known += 1
            elif content in contents:
                report.repeated += 1
            elif trace.trace_id in stored.ids or seen.get(trace.trace_id, content) != content:
                report.note(
                    f'{where}: "trace_id" is {trace.trace_id[:60]!r}, and another text has that id already; '
                    "give this one an id of its own, or leave it out."
                )
            else:
                contents.add(content)
                seen[trace.trace_id] = content
                report.count(trace)
                new.append(judged_by(trace, answer or None))
        waiting.clear()
        batch = Batch(new, list(said), dict(references))
        said.clear()
        references.clear()
        chars = 0
        return batch

    for found, n in gathered(rows(path, report.name), family):
        report.rows += n
        if found.problem is not None:
            report.note(found.problem)
            continue
        try:
            name, traces, judged, reference = read(found.row, found.where, family)
        except ImportProblem as problem:
            report.note(problem)
            continue
        report.families[name] += n
        if format is None:  # ratings are of the steps that came with them
            said += judged
            report.count_said(judged)
        for trace in traces:
            made = trace if format is None else read_as(trace, format)
            # What says itself whether it is right (a snapshot's rows) is stored as it says.
            answer = "" if "solved" in found.row else reference
            waiting.append((found.where, made, content_hash(made.prompt, made.response), answer))
            chars += len(made.response)
            if reference and made.problem_id not in referred:
                referred.add(made.problem_id)
                references[made.problem_id] = reference
                report.references += 1
        if (len(waiting) >= BATCH or chars >= BATCH_CHARS) and any(batch := settled()):
            yield batch
    if waiting and any(batch := settled()):
        yield batch
