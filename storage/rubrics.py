"""Rubrics: the guidelines raters read, and what they are asked beside the fixed judgements. Versioned, never changed.

An assignment keeps the version it was handed out with, so old judgements can always be read beside the words they were
made under. Knows no queue.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import duckdb

from storage.errors import WrongValue
from storage.events import format_utc
from storage.ratings import utc_now

GUIDELINES = """**Good**: a person who knows the subject would accept this step; it is true and it helps.

**Neutral**: true, but it brings nothing, or it is odd without being wrong.

**Bad**: it holds an error, or it leads the wrong way.

**Unsure**: you cannot tell. Marking the first error leaves the later steps unrated.

At a **turn back**: was the branch worth exploring, was it left at the right time, did it return to the right place?"""
MOST_GUIDELINES = 50_000  # characters: a long manual; it travels with every item that is handed out
MOST_QUESTIONS = 40
MOST_WORDS = 80  # characters of a choice on screen
_NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")  # as events name a criterion: preference.NAME


class RubricError(WrongValue):
    """A rubric that cannot be kept; the message is a sentence naming the field and the mend."""


@dataclass(frozen=True)
class Questions:
    """What a rubric asks. error_types: of a bad step; tags: of a trace; criteria: of a pair, each (name, words), where the
    name is what events call it (`preference.NAME`). Empty lists: the pages' own.
    """

    error_types: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    criteria: tuple[tuple[str, str], ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "error_types": list(self.error_types),
            "tags": list(self.tags),
            "criteria": [{"name": name, "words": words} for name, words in self.criteria],
        }

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Questions:
        criteria = tuple((c["name"], c["words"]) for c in row.get("criteria", ()))
        return cls(tuple(row.get("error_types", ())), tuple(row.get("tags", ())), criteria)


@dataclass(frozen=True)
class Rubric:
    """One version. `guidelines` is Markdown; `created_by` empty: it came with Worldline."""

    rubric_id: str
    version: int
    guidelines: str
    questions: Questions = field(default_factory=Questions)
    created_by: str = ""
    created_at: str = ""

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "questions": self.questions.to_json()}


def read_rubric(con: duckdb.DuckDBPyConnection, rubric_id: str, version: int) -> Rubric | None:
    found = [r for r in read_versions(con, rubric_id) if r.version == version]
    return found[0] if found else None


def read_versions(con: duckdb.DuckDBPyConnection, rubric_id: str) -> list[Rubric]:
    """All versions of a rubric, newest first."""
    rows = con.execute(
        "select rubric_id, version, guidelines, questions, created_by, created_at from rubric where rubric_id = ? "
        "order by version desc",
        [rubric_id],
    ).fetchall()
    return [Rubric(*(*row[:3], Questions.from_json(json.loads(row[3])), row[4], format_utc(row[5]))) for row in rows]


def add_versions(con: duckdb.DuckDBPyConnection, rubrics: Sequence[Rubric]) -> list[Rubric]:
    """Writer's operation: each becomes the next version of its rubric, whatever its `version` says. Raises RubricError."""
    added = []
    for rubric in rubrics:
        check(rubric)
        row = con.execute(
            "select coalesce(max(version), 0) + 1 from rubric where rubric_id = ?", [rubric.rubric_id]
        ).fetchone()
        version = int(row[0]) if row else 1
        now = utc_now()
        con.execute(
            "insert into rubric (rubric_id, version, guidelines, questions, created_by, created_at) values (?, ?, ?, ?, ?, ?)",
            [rubric.rubric_id, version, rubric.guidelines, json.dumps(rubric.questions.to_json()), rubric.created_by, now],
        )  # fmt: skip
        added.append(
            Rubric(rubric.rubric_id, version, rubric.guidelines, rubric.questions, rubric.created_by, format_utc(now))
        )
    return added


def check(rubric: Rubric) -> None:
    """Raises RubricError, a sentence naming the field."""
    if not rubric.guidelines.strip() or len(rubric.guidelines) > MOST_GUIDELINES:
        raise RubricError(f'"guidelines" must be 1 to {MOST_GUIDELINES} characters of Markdown.')
    asked = rubric.questions
    for name, words in (
        ("error_types", asked.error_types),
        ("tags", asked.tags),
        ("criteria", tuple(words for _, words in asked.criteria)),
        ("criteria", tuple(name for name, _ in asked.criteria)),
    ):
        _check_words(name, words)
    for criterion, _ in asked.criteria:
        if not _NAME.fullmatch(criterion):
            raise RubricError(
                f'"criteria" names {criterion[:60]!r}; a name is a small letter, then small letters, digits and _.'
            )


def _check_words(name: str, words: tuple[str, ...]) -> None:
    if len(words) > MOST_QUESTIONS:
        raise RubricError(f'"{name}" has {len(words)} entries; at most {MOST_QUESTIONS} can be shown.')
    if len(set(words)) < len(words):
        twice = next(w for w in words if words.count(w) > 1)
        raise RubricError(f'"{name}" has {twice[:60]!r} twice; each entry must be another.')
    for word in words:
        if not word.strip() or len(word) > MOST_WORDS or not word.isprintable():
            raise RubricError(f'"{name}": each entry must be 1 to {MOST_WORDS} printable characters.')
