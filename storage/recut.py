"""Steps as people re-cut them: cuts inside a step, steps joined with the one before, and the tree over the new pieces.

Pure functions over snapshot rows; knows no file. What was inferred stays the frame: a rater's `cuts` and `joined` are
said of inferred steps, and so are corrected parents and kinds. The rules:

* A step without a cut is a piece; n cuts make n + 1 of it; the first piece of a joined step goes to the piece before.
  So the pieces cover the characters of the steps, each once and in order (and what lay between two joined steps).
* A piece stands for the first inferred step that begins in it. A step whose beginning fell to a piece that stands for an
  earlier step keeps its place with the first piece that begins inside it: a boundary that was moved takes its step along.
* A piece that stands for a step has that step's parent and kind, as corrected. It hangs from the piece that holds the
  *end* of that parent; where that is itself, from the piece before. Every other piece hangs from the piece before and
  has no kind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from storage.rater_names import raters_of

Row = Mapping[str, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class Piece:
    """`response[start:end]` (code points) and its place. parent: a piece, None the question. of: the inferred step it
    stands for, None when it is new.
    """

    start: int
    end: int
    parent: int | None
    kind: str
    is_backtrack: bool
    of: int | None


def corrections(row: Row) -> tuple[list[list[int]], list[bool]]:
    """(cuts, joined) of a snapshot row, one entry a step; snapshots of before re-cutting have neither."""
    n = len(row["rating"])
    return row.get("cuts") or [[] for _ in range(n)], row.get("joined") or [False] * n


def n_recut(row: Row) -> int:
    """How many of the inferred steps were cut or joined with the one before."""
    cuts, joined = corrections(row)
    return sum(bool(c) or j for c, j in zip(cuts, joined, strict=True))


def pieces(row: Row) -> list[Piece]:
    """The steps of a snapshot row as the rater left them: re-cut, with corrected parents and kinds."""
    starts, ends = row["step_start"], row["step_end"]
    cuts, joined = corrections(row)
    bounds: list[list[int]] = []  # [start, end]
    head: list[int] = []  # inferred step -> the piece with its first character
    tail: list[int] = []  # inferred step -> the piece with its last character
    for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
        inner = list(cuts[i])
        if joined[i] and bounds:
            bounds[-1][1] = inner[0] if inner else end
            head.append(len(bounds) - 1)
            begin = inner
        else:
            head.append(len(bounds))
            begin = [start, *inner]
        bounds += [[a, b] for a, b in zip(begin, [*begin[1:], end], strict=False)]
        tail.append(len(bounds) - 1)
    stands: list[int | None] = [None] * len(bounds)
    for i, at in enumerate(head):
        if stands[at] is None:
            stands[at] = i
        elif tail[i] > at:  # its beginning stands for an earlier step, but it was cut
            stands[at + 1] = i
    return [_place(row, k, start, end, stands[k], tail) for k, (start, end) in enumerate(bounds)]


def _place(row: Row, at: int, start: int, end: int, of: int | None, tail: Sequence[int]) -> Piece:
    before = at - 1 if at else None
    if of is None:
        return Piece(start, end, before, "", False, None)
    given = row["corrected_parent"][of]
    inferred = row["parent"][of]
    parent = inferred if given is None else None if given < 0 else given
    piece = None if parent is None else min(tail[parent], at - 1)
    if given is None:  # a turn back that now follows the piece before, because what lay between was joined, is none
        turned = row["is_backtrack"][of] and (piece != before or inferred == (of - 1 if of else None))
    else:
        turned = piece != before
    kind = row["corrected_kind"][of]
    if kind is not None:  # whoever names the kind says whether it turns back: a second way beside another does not
        turned = kind == "backtrack" and piece != before
    return Piece(start, end, piece, kind or row["kind"][of], turned, of)


def agreed(rows: Sequence[Row]) -> Row:
    """One row for all raters of a trace. A boundary, a parent or a kind is changed where more than half of those who saw
    the step (rated or corrected it) want the same change; a tie leaves it as inferred. One rater: the row itself.
    """
    if len(rows) == 1:
        return rows[0]
    first = rows[0]
    cuts: list[list[int]] = []
    joined: list[bool] = []
    parents: list[int | None] = []
    kinds: list[str | None] = []
    seen_by = [seen(row) for row in rows]
    corrected = [corrections(row) for row in rows]
    for i in range(len(first["rating"])):
        here = [n for n, saw in enumerate(seen_by) if saw[i]]
        votes = Counter(at for n in here for at in corrected[n][0][i])
        cuts.append(sorted(at for at, count in votes.items() if 2 * count > len(here)))
        joined.append(2 * sum(corrected[n][1][i] for n in here) > len(here))
        parents.append(_most([rows[n]["corrected_parent"][i] for n in here]))
        kinds.append(_most([rows[n]["corrected_kind"][i] for n in here]))
    merged = {"cuts": cuts, "joined": joined, "corrected_parent": parents, "corrected_kind": kinds}
    names = {"rater_id": raters_of(rows), "assignment_id": "+".join(sorted(row["assignment_id"] for row in rows))}
    return {**first, **merged, **names}


def seen(row: Row) -> list[bool]:
    """For each step whether the rater rated it, or corrected anything of it."""
    cuts, joined = corrections(row)
    said = zip(row["rating"], row["corrected_parent"], row["corrected_kind"], cuts, joined, strict=True)
    return [r is not None or p is not None or k is not None or bool(c) or j for r, p, k, c, j in said]


def _most(votes: Sequence[T | None]) -> T | None:
    """The value that more than half gave; None stands for "as inferred"."""
    counts = Counter(votes).most_common(1)
    return counts[0][0] if counts and 2 * counts[0][1] > len(votes) else None
