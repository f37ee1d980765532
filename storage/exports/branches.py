"""Siblings of a tree that were rated apart, as pairs: of many traces at once.

Two steps with the same parent, of which the mean of the raters says that one is better. Both continue what stands before the
first of their siblings; of one parent those furthest apart come first where there are too many. Ties and unsure make no pair.
Knows no format: `step_dpo` and `preference` write such pairs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

from core.formats import steiner_tokens as t
from storage import rater_names
from storage.exports.bulk import NONE, Traces
from storage.exports.columns import begins, few_at_once, packed, pieces, utf8
from storage.exports.leads import LEADS, leads_of, leads_on

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from storage.exports.bulk import Ints

READ = ("prompt", "response", "step_text", "rating", "parent", "rater_id", "prelabel_visible")
LEAD_TEXTS = [token.encode() for token in (*LEADS, "")]  # by the numbers of `leads_of`
BEYOND = "pairs beyond the most of a branching point"
# Counted on the way beside what is left out, and taken out again by `open_branches`: branching points, and of those how many have
# a side that nobody has rated.
BRANCHING, OPEN = "branching points", "branching points with an unrated side"


@dataclass(frozen=True)
class Apart:
    """Pairs of steps, (pairs,) each: the trace, both steps and their parent's first child, counted through all traces; how far
    apart they are and how many votes stand behind that. In the order of the traces.
    """

    trace: Ints
    better: Ints
    worse: Ints
    first_child: Ints
    margin: npt.NDArray[np.float64]
    votes: Ints

    def slice(self, first: int, end: int) -> Apart:
        return Apart(*(getattr(self, field.name)[first:end] for field in fields(Apart)))


@dataclass(frozen=True)
class _Steps:
    """Every step of some traces, one trace's after the other's, (steps,) each; where each trace begins, and the end, (traces + 1,)."""

    text: pa.StringArray
    at: Ints  # where each text begins in all of them one after the other, and the end, in bytes, (steps + 1,)
    lead: Ints  # the token that led into it, as `leads_of` has it
    trace: Ints
    begin: Ints
    parent: Ints  # counted within the trace, −1 for the question
    mean: npt.NDArray[np.float64]
    votes: Ints

    @classmethod
    def of(cls, found: Traces) -> _Steps:
        import numpy as np

        def flat(name: str) -> Any:
            return found.firsts[name].flatten()

        lengths = found.lengths()
        begin = np.concatenate([[0], np.cumsum(lengths)])
        _, step = found.where()
        given = found.ratings.values != NONE
        votes = np.bincount(step[given], minlength=begin[-1])
        total = np.bincount(step[given], weights=found.ratings.values[given], minlength=begin[-1])
        parent = flat("parent").fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        trace = np.repeat(np.arange(len(lengths)), lengths)
        text = flat("step_text")
        return cls(text, begins(text), leads_of(text), trace, begin, parent, total / np.maximum(votes, 1), votes)

    def parent_end(self, step: Ints) -> Ints:
        """Where the parents of these steps end in the response, in bytes: at its beginning where that is the question. Steps stand
        one after the other in it, so what is before one is as long as all before it are.
        """
        begin = self.begin[self.trace[step]]
        return self.at[begin + self.parent[step] + 1] - self.at[begin]

    def body_sizes(self, step: Ints) -> Ints:
        """How many bytes the texts of these steps have without the tokens that led into them."""
        return self.at[step + 1] - self.at[step] - self._lead_sizes[step]

    @cached_property
    def _lead_sizes(self) -> Ints:
        import numpy as np

        return np.array([len(text) for text in LEAD_TEXTS])[self.lead]

    def bodies(self, step: Ints) -> pa.StringArray:
        """Those texts."""
        import pyarrow as pa

        return self._halves.take(pa.array(2 * step + 1))

    @cached_property
    def _halves(self) -> pa.StringArray:
        """Of each step the token and the rest, (2 × steps,): where they are."""
        import numpy as np
        import pyarrow as pa

        cuts = np.append(np.stack([self.at[:-1], self.at[:-1] + self._lead_sizes], 1), self.at[-1])
        return pa.StringArray.from_buffers(
            len(cuts) - 1, pa.py_buffer(cuts.astype(np.int32)), pa.py_buffer(utf8(self.text))
        )


def pairs(found: Traces, min_raters: int, most: int, left: Counter[str]) -> Iterator[tuple[Ints, dict[str, Any]]]:
    """Of each pair the trace it is of, and what any format says of it, by column; as many at a time as can be held. `left` counts
    branching points, and pairs beyond `most` of one.
    """
    import pyarrow.compute as pc

    steps = _Steps.of(found)
    apart = _apart(steps, min_raters, most, left)
    raters, seen = _who_rated(apart, steps, found)
    asked = pc.binary_length(found.firsts["prompt"]).to_numpy(zero_copy_only=False)
    for first, end in few_at_once(asked[apart.trace] + steps.parent_end(apart.first_child)):
        some = apart.slice(first, end)
        columns = _columns(some, steps, found)
        yield some.trace, {**columns, "raters": raters[first:end], "prelabel_visible": seen[first:end]}


def _apart(steps: _Steps, min_raters: int, most: int, left: Counter[str]) -> Apart:
    import numpy as np
    import pyarrow.compute as pc

    order = np.lexsort((steps.parent, steps.trace))  # siblings side by side, each family in the order of its steps
    new = np.diff(steps.trace[order], prepend=-1).astype(bool) | np.diff(steps.parent[order], prepend=-2).astype(bool)
    first = np.flatnonzero(new)
    family = np.cumsum(new) - 1
    several = np.diff(first, append=len(order)) > 1
    unrated = np.bincount(family[steps.votes[order] == 0], minlength=len(first)) > 0
    left[BRANCHING] += int(several.sum())
    left[OPEN] += int((several & unrated).sum())
    scored = np.flatnonzero(several[family] & (steps.votes[order] >= max(min_raters, 1)))
    one, other = _two_of_each(family[scored])
    a, b, of = order[scored[one]], order[scored[other]], family[scored[one]]
    differ = steps.mean[a] != steps.mean[b]
    a, b, of = a[differ], b[differ], of[differ]
    # Equal texts make no pair, whatever was said of them; most are not even equally long.
    apart = steps.body_sizes(a) != steps.body_sizes(b)
    maybe = np.flatnonzero(~apart)
    unlike = pc.not_equal(steps.bodies(a[maybe]), steps.bodies(b[maybe]))
    apart[maybe] = unlike.to_numpy(zero_copy_only=False)
    a, b, of = a[apart], b[apart], of[apart]
    margin = np.abs(steps.mean[a] - steps.mean[b])
    counts = np.bincount(of, minlength=len(first))
    if many := int(np.maximum(counts - most, 0).sum()):
        left[BEYOND] += many
    first_child = order[first[of]]
    place = np.lexsort((b, a, np.where(counts[of] > most, -margin, 0), first_child))
    a, b, margin, first_child = a[place], b[place], margin[place], first_child[place]
    start = np.flatnonzero(np.diff(first_child, prepend=-1))
    nth = np.arange(len(a)) - np.repeat(start, np.diff(start, append=len(a)))
    keep = nth < most
    a, b, margin, first_child = a[keep], b[keep], margin[keep], first_child[keep]
    up = steps.mean[a] > steps.mean[b]
    votes = steps.votes[a] + steps.votes[b]
    return Apart(steps.trace[a], np.where(up, a, b), np.where(up, b, a), first_child, margin, votes)


def _two_of_each(family: Ints) -> tuple[Ints, Ints]:
    """Every two places with the same number, where equal numbers stand side by side."""
    import numpy as np

    ones, others = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    alive, apart = np.arange(len(family)), 1
    while len(alive):
        alive = alive[alive + apart < len(family)]
        alive = alive[family[alive + apart] == family[alive]]
        ones.append(alive)
        others.append(alive + apart)
        apart += 1
    return np.concatenate(ones), np.concatenate(others)


def _columns(apart: Apart, steps: _Steps, found: Traces) -> dict[str, Any]:
    import pyarrow as pa

    begin = steps.begin[apart.trace]
    return {
        "prompt": _prompts(apart, steps, found), "question": found.firsts["prompt"].take(pa.array(apart.trace)),
        "chosen": steps.bodies(apart.better), "rejected": steps.bodies(apart.worse), "margin": apart.margin.round(4), "n_votes": apart.votes,
        "chosen_step": apart.better - begin, "rejected_step": apart.worse - begin,
    }  # fmt: skip


def _prompts(apart: Apart, steps: _Steps, found: Traces) -> pa.StringArray:
    """Of each pair the question, the response up to the end of the parent, and the token by which a model goes on from there.

    Our promise: where the first child follows its parent, that with the child without its lead is the response, byte for byte,
    unless a backtrack led there.
    """
    import numpy as np
    import pyarrow as pa

    children, which = np.unique(apart.first_child, return_inverse=True)
    of, end = steps.trace[children], steps.parent_end(children)
    responses, questions = found.firsts["response"], found.firsts["prompt"]
    start, asked_at = begins(responses)[of], begins(questions)
    end = start + end
    entered = steps.lead[children] == LEADS.index(t.BACKTRACK)
    at = np.flatnonzero((children - steps.begin[of] == steps.parent[children] + 1) & ~entered)
    following = steps.text.take(pa.array(children[at]))
    there = pieces(responses, end[at], end[at] + np.diff(begins(following)))
    assert packed(there).equals(following), "the first child continues its parent"
    leads = leads_on(steps.lead[children], steps.parent[children] < 0)
    asked = pieces(questions, asked_at[of], asked_at[of + 1])
    prompts = packed(asked, pieces(responses, start, end), [LEAD_TEXTS[i] for i in leads.tolist()])
    return prompts.take(pa.array(which))


def _who_rated(apart: Apart, steps: _Steps, found: Traces) -> tuple[npt.NDArray[np.object_], npt.NDArray[np.bool_]]:
    """Of each pair those who rated both steps, or, where nobody did, one of them (an import makes ratings of each name); and
    whether one of those saw a model's scores.
    """
    import numpy as np

    names, saw = (found.rows[name].to_pylist() for name in ("rater_id", "prelabel_visible"))
    given = found.ratings.values != NONE
    spans = [range(*span) for span in zip(found.ends[:-1].tolist(), found.ends[1:].tolist(), strict=True)]
    everybody = [rater_names.joined(names[row] for row in rows) for rows in spans]
    anybody = [any(saw[row] for row in rows) for rows in spans]
    raters, seen = np.array(everybody, object)[apart.trace], np.array(anybody, bool)[apart.trace]
    n = np.diff(found.ends)[apart.trace]
    for i in np.flatnonzero((steps.votes[apart.better] < n) | (steps.votes[apart.worse] < n)).tolist():
        rows = spans[apart.trace[i]]
        x, y = (
            found.ratings.ends[rows] + side[i] - steps.begin[apart.trace[i]] for side in (apart.better, apart.worse)
        )
        those = (given[x] & given[y]) if (given[x] & given[y]).any() else given[x] | given[y]
        rated = [row for row, did in zip(rows, those.tolist(), strict=True) if did]
        raters[i], seen[i] = rater_names.joined(names[row] for row in rated), any(saw[row] for row in rated)
    return raters, seen


def beyond(left: Counter[str], most: int) -> list[str]:
    """How many pairs the bound leaves out, as a sentence."""
    if not left[BEYOND]:
        return []
    return [
        f"{left[BEYOND]} pairs are left out, because their branching point has more than max_pairs_per_branch={most}: those "
        "with the widest margin are kept. Raise it to have more."
    ]


def open_branches(left: Counter[str]) -> list[str]:
    """Branching points where a side has no rating, as a sentence."""
    branches, unrated = left.pop(BRANCHING, 0), left.pop(OPEN, 0)
    if not unrated:
        return []
    return [
        f"{unrated} of {branches} branching points have a branch that nobody rated, or only as unsure: it makes no pair."
    ]
