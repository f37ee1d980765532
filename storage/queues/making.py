"""A new queue, with a rubric of its own, in one go. Knows no HTTP and no terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import duckdb

from storage import rubrics
from storage.pairs import PAIR_CRITERIA, PAIR_GUIDELINES
from storage.queues.settings import Queue, save_queues
from storage.rubrics import Questions, Rubric

# What a new queue asks until somebody writes its own guidelines.
STANDARD = {
    "trace": (rubrics.GUIDELINES, Questions()),
    "pair": (PAIR_GUIDELINES, Questions(criteria=PAIR_CRITERIA)),
}


@dataclass(frozen=True)
class NewQueue:
    """guidelines None: the standard ones of its unit. by: who makes it."""

    queue: Queue
    guidelines: str | None
    by: str


def make_queues(con: duckdb.DuckDBPyConnection, wanted: Sequence[NewQueue]) -> list[Queue]:
    """Writer's operation. Raises WrongValue (SettingError, RubricError), and then nothing is left behind."""
    made = []
    for new in wanted:
        words, questions = STANDARD.get(new.queue.unit, STANDARD["trace"])
        words = words if new.guidelines is None else new.guidelines
        rubric = Rubric(f"rubric-{new.queue.queue_id}", 1, words, questions, new.by)
        (added,) = rubrics.add_versions(con, [rubric])
        made += save_queues(con, [replace(new.queue, rubric_id=added.rubric_id, rubric_version=added.version)])
    return made
