"""What was said before the question of a later turn, as messages: a row is then trained on as it was asked.

The traces of the earlier turns are looked for in the same snapshot, and given as they were given then (`core/turns.py`).
Knows no format.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from core.run import TraceReader
from core.trace import Earlier, Problem
from core.turns import Message, Turn, Turns
from storage.exports.columns import BATCH
from storage.exports.labels import Row
from storage.snapshots import Snapshot

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Histories:
    """The earlier turns that later turns of a snapshot name, by trace id, and which of them are held out."""

    turns: dict[str, Turn]
    held_out: frozenset[str] = frozenset()

    @classmethod
    def of(cls, snapshot: Snapshot) -> Histories:
        """Reads the texts of earlier turns alone; nothing at all where no row is a later turn."""
        # Labels made without people know no turns.
        rows = (batch["earlier"].drop_null() for batch in snapshot.batches(("earlier",), BATCH) if batch.num_columns)
        said = chain(
            chain.from_iterable(texts.to_pylist() for texts in rows),
            (row.get("earlier") for row in snapshot.pairs(("earlier",))),
        )
        named = {trace_id for text in said if text for trace_id in Earlier.from_json(json.loads(text)).trace_ids}
        turns: dict[str, Turn] = {}
        held_out = set[str]()
        if named:
            for row in snapshot.rows(("trace_id", "prompt", "response", "format", "finish_reason", "split")):
                if row["trace_id"] in named and row["trace_id"] not in turns:
                    turns[row["trace_id"]] = _turn(row)
                    held_out |= {row["trace_id"]} if row["split"] == "test" else set()
        return cls(turns, frozenset(held_out))

    def before(self, earlier: str | None, prompt: str, split: str = "") -> list[Message] | None:
        """The messages before a question: none for a first turn; None where one of the turns is not in the snapshot, or is of a
        problem that is held out while the question is trained on (split "train").
        """
        if not earlier:
            return []
        asked = Earlier.from_json(json.loads(earlier))
        hidden = self.held_out if split == "train" else frozenset()
        found = [self.turns[i] for i in asked.trace_ids if i in self.turns and i not in hidden]
        if len(found) < len(asked.trace_ids):
            return None
        return Turns(tuple(found), asked.given_as).messages(prompt)[:-1]

    def of_batch(self, rows: pa.RecordBatch, left: Counter[str], *, split: bool) -> list[list[Message]]:
        """The same of each row: of one whose turns are not known no message, and it is counted. split: whether what is held out
        is kept from what is trained on.
        """
        if "earlier" not in rows.schema.names or rows["earlier"].null_count == rows.num_rows:
            return [[]] * rows.num_rows
        sides = rows["split"].to_pylist() if split else [""] * rows.num_rows
        said = zip(rows["earlier"].to_pylist(), sides, strict=True)
        found = [self.before(earlier, "", side) for earlier, side in said]
        if alone := found.count(None):
            left[ALONE] += alone
        return [messages or [] for messages in found]


def _turn(row: Row) -> Turn:
    """A snapshot has no names and summaries of steps, so the response is read once more."""
    reader = TraceReader(Problem.ask(row["prompt"]), "", row["trace_id"], row["format"])
    reader.feed(row["response"])
    reader.close()
    return Turn.of(reader.trace(row["finish_reason"], sampling={}, stats={}))


def chat() -> pa.DataType:
    """The type of a list of messages."""
    import pyarrow as pa

    return pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))


def as_chat(row: Row, question: str, answers: Sequence[str]) -> Row:
    """A row of texts and their `history` as TRL's conversational one. What of the response stood in the prompt begins the
    answers: a chat template would end the turn between two messages of one side.
    """
    begun = row["prompt"][len(question) :]
    said = {name: [{"role": "assistant", "content": begun + row[name]}] for name in answers}
    prompt = [*row["history"], {"role": "user", "content": question}]
    return {**{name: value for name, value in row.items() if name != "history"}, "prompt": prompt, **said}


def spoken(said: str | list[Message]) -> list[str]:
    """The texts of messages, or the one text."""
    return [said] if isinstance(said, str) else [message["content"] for message in said]


ALONE = "later turns whose earlier turns are not in the snapshot, or held out"


def told(row: Row, left: Counter[str]) -> Row:
    """A row whose history is not known has none, and is counted."""
    if row["history"] is None:
        left[ALONE] += 1
        row["history"] = []
    return row


def alone_warning(n: int, what: str = "rows") -> list[str]:
    """What has a question that stands alone although something came before it, as a sentence."""
    if not n:
        return []
    many = f"{n} {what} are later turns" if n > 1 else f"1 {what.removesuffix('s')} is a later turn"
    return [
        f"{many} of a conversation whose earlier turns are not all in this snapshot, or are held out while it is trained "
        f"on: {'their' if n > 1 else 'its'} question stands alone. Rate the earlier turns too, so that they are frozen with it."
    ]
