"""One strategy on one problem: what it asked for, what it was told, and the events that everybody else sees.

A pure function of what it is told: no engine, no clock, no chance. The same results give the same tree, so the log of a search that
was killed replays to the state it was in (`replay`), and goes on from there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from core.answers import answers_for
from core.engines.sampling import Marks, Sample
from core.formats.steiner_tokens import REASONING_END
from core.scoring.prm import Aggregation, aggregate
from core.search import strategies
from core.search.base import Choice, Expand, State, Strategy
from core.search.ledger import Spent
from core.trace import Problem, new_id

Event = dict[str, Any]
# A prompt that asks for hundreds of answers is spread over requests of at most so many, so that others come in between.
PART = 32


@dataclass(frozen=True)
class Part:
    """A piece of an expansion that is one request: continuations `offset` to `offset + k` of it."""

    expand: Expand
    offset: int
    k: int


@dataclass
class _Asked:
    expand: Expand
    samples: dict[int, tuple[Sample, tuple[float, ...], Spent]] = field(default_factory=dict)
    missing: int = 0  # will not come: the budget does not allow them
    lost: Spent = Spent()  # for what never came
    # As it was when this was asked for, so that it does not depend on who was faster: the steps that the scorer had judged of the
    # text before, and what it had judged of what may follow.
    steps: tuple[str, ...] = ()
    judged: frozenset[tuple[str, str]] = frozenset()

    @property
    def complete(self) -> bool:
        return len(self.samples) + self.missing >= self.expand.k


class Search:
    """`aggregation` makes one score of a text from those of its steps."""

    def __init__(
        self, problem: Problem, strategy: Strategy, *, seed: int = 0, marks: Marks = Marks(),
        aggregation: Aggregation = "last", search_id: str | None = None,
    ) -> None:  # fmt: skip
        self.search_id = search_id or new_id()
        self.strategy, self.seed, self.marks, self.aggregation = strategy, seed, marks, aggregation
        self.state = State(problem, answers_for(problem), seed=seed, marks=marks)
        self.spent = Spent()
        self.node_spent: dict[int, Spent] = {}
        self.choice: Choice | None = None
        self.reason = ""  # why it ended, "" while it has not
        self.elapsed = 0.0  # seconds that it was at work, as far as its log knows
        self.short = False  # something that was asked for could not be paid for
        self._asked: dict[str, _Asked] = {}  # in the order of asking
        self._counts: dict[tuple[str, str], int] = {}
        self._wanted: list[Part] = []
        self._ask()

    # ---- what to do

    def wanted(self) -> list[Part]:
        """Requests to be made that were not handed out before."""
        found, self._wanted = self._wanted, []
        return found

    def want_again(self, parts: list[Part]) -> None:
        """Parts that were handed out and never came back. They are asked for in the order in which they were: a budget goes to the
        first of them."""
        order = {key: i for i, key in enumerate(self._asked)}
        live = [p for p in parts if p.expand.key in order]
        self._wanted = sorted([*live, *self._wanted], key=lambda p: (order[p.expand.key], p.offset))

    @property
    def idle(self) -> bool:
        """Nothing is asked for: the search has come to its end."""
        return not self._asked

    @property
    def settled(self) -> Spent:
        """What was paid for: also what came early and waits to be told."""
        early = (spent for asked in self._asked.values() for _, _, spent in asked.samples.values())
        return sum((asked.lost for asked in self._asked.values()), sum(early, self.spent))

    def seed_of(self, part: Part) -> int:
        """Below 2^31, from the search's seed and the part's name alone."""
        digest = hashlib.sha256(f"{self.seed} {part.expand.key}".encode()).digest()
        return int.from_bytes(digest[:4], "big") // 2 + part.offset

    def steps(self, expand: Expand, sample: Sample) -> tuple[str, ...]:
        """The steps of the response that ends in a sample, cut at the model's mark; what follows the thinking is no step."""
        before = "" if expand.prompt else self.state.tree.text(expand.node)
        return cut(before + sample.text, self.marks)

    def judged_of(self, expand: Expand, steps: tuple[str, ...]) -> int:
        """How many steps of a response, from its first, the scorer had judged when this was asked for: they were paid for."""
        known = 0
        for step, judged in zip(steps, self._asked[expand.key].steps, strict=False):
            if step != judged:
                break
            known += 1
        return known

    def has_judged(self, expand: Expand, sample: Sample) -> bool:
        """Whether the very text had a score already when this was asked for."""
        return (sample.text, sample.end) in self._asked[expand.key].judged

    # ---- what came

    def told(
        self, part: Part, samples: Iterable[Sample], scores: Iterable[tuple[float, ...]], spent: Iterable[Spent],
        *, last: bool = False, short: bool = False, lost: Spent = Spent(),
    ) -> list[Event]:  # fmt: skip
        """The result of a part. last: no more of this part will come. short: the budget cut a text off, or left one unjudged. lost: what
        was spent on what never came. Returns what is new to be seen."""
        asked = self._asked[part.expand.key]
        came = list(zip(samples, scores, spent, strict=True))
        asked.samples |= {part.offset + i: one for i, one in enumerate(came)}
        asked.lost += lost
        self.short |= short
        if last:
            asked.missing += part.k - len(came)
            self.short |= part.k > len(came)
        events: list[Event] = []
        # In the order of asking: what came early waits for what was asked before it.
        while self._asked and (first := next(iter(self._asked.values()))).complete:
            del self._asked[first.expand.key]
            events += self._tell(first)
            self._ask()
        return events

    def give_up(self, part: Part) -> list[Event]:
        """The budget does not allow this part: what else its expansion has is all it gets."""
        return self.told(part, (), (), (), last=True)

    def end(self, reason: str) -> list[Event]:
        """Decide with what there is, also with what waited for something that was asked for before it and will not come. reason:
        "finished", "budget", "cancelled" or "error"."""
        self.reason = reason
        events: list[Event] = []
        for asked in [a for a in self._asked.values() if a.samples or a.lost.calls]:
            events += self._tell(asked)
        self._asked.clear()
        self.choice = self.strategy.choose(self.state)
        if self.choice.node is not None:
            for node in self.state.tree.above(self.choice.node):
                self.state.tree.mark(node.id, chosen=True)
        return [*events, *self._touched(), self.done_event()]

    # ---- as data

    def start_event(self, **more: Any) -> Event:
        """The first line of a log; `more` is the caller's."""
        return {
            "type": "start", "search_id": self.search_id, "problem": asdict(self.state.problem),
            "strategy": self.strategy.NAME, "params": asdict(self.strategy), "seed": self.seed,  # type: ignore[call-overload]
            "marks": asdict(self.marks), "aggregation": self.aggregation, **more,
        }  # fmt: skip

    def done_event(self) -> Event:
        choice = self.choice or Choice(None)
        text = "" if choice.node is None else self.state.tree.text(choice.node)
        return {
            "type": "done", "reason": self.reason, "node": choice.node, "answer": choice.answer, "votes": choice.votes,
            "why": choice.why, "right": self.state.answers.right(text) if choice.node is not None else None,
            "ledger": self.ledger(),
        }  # fmt: skip

    def ledger(self) -> dict[str, Any]:
        """What was spent, and `elapsed`: seconds by the clock until the newest of it, as far as the log knows."""
        return {**self.spent.to_json(), "elapsed": self.elapsed}

    @classmethod
    def from_start(cls, event: Event) -> Search:
        """Raises ValueError where the line is not the beginning of a search that this version knows."""
        try:
            return cls(
                Problem(**event["problem"]), strategies.make(event["strategy"], event["params"]), seed=event["seed"],
                marks=Marks(**event["marks"]), aggregation=event["aggregation"], search_id=event["search_id"],
            )  # fmt: skip
        except (KeyError, TypeError) as error:
            raise ValueError(f"this is not the beginning of a search: {error}") from error

    # ---- inside

    def _ask(self) -> None:
        for expand in self.strategy.ask(self.state):
            key = expand.key or self._key(expand)
            named = replace(expand, key=key)
            self._asked[key] = _Asked(named, steps=self._judged_steps(expand), judged=self._judged_children(expand))
            self.state.waiting.append(named)
            self._wanted += [Part(named, at, min(PART, named.k - at)) for at in range(0, named.k, PART)]

    def _judged_steps(self, expand: Expand) -> tuple[str, ...]:
        line = [] if expand.prompt else self.state.tree.line(expand.node)
        while line and not line[-1].step_scores:
            line.pop()
        return cut("".join(n.text for n in line), self.marks) if line else ()

    def _judged_children(self, expand: Expand) -> frozenset[tuple[str, str]]:
        tree = self.state.tree
        children = (tree[c] for c in tree[expand.node].children)
        return frozenset((n.text, n.end) for n in children if n.prompt == expand.prompt and n.score is not None)

    def _key(self, expand: Expand) -> str:
        """From the place in the tree and how often it was asked there: not from the order in which results came."""
        path = self.state.tree[expand.node].path or "root"
        place = path, expand.label
        self._counts[place] = self._counts.get(place, -1) + 1
        return f"{path}/{expand.label or expand.unit}/{self._counts[place]}"

    def _tell(self, asked: _Asked) -> list[Event]:
        expand, tree = asked.expand, self.state.tree
        results = [asked.samples[i] for i in sorted(asked.samples)]
        known = len(tree)
        nodes = tree.grow(
            expand.node, tuple(sample for sample, _, _ in results), label=expand.label, prompt=expand.prompt,
            answers=expand.answers,
        )  # fmt: skip
        for node, (_, scores, spent) in zip(nodes, results, strict=True):
            self.node_spent[node] = self.node_spent.get(node, Spent()) + spent
            self.spent += spent
            self.state.spent += spent.generated
            if scores and tree[node].score is None:
                tree.mark(node, score=aggregate(scores, self.aggregation), step_scores=scores)
        if asked.lost.calls:
            self.node_spent[expand.node] = self.node_spent.get(expand.node, Spent()) + asked.lost
            self.spent += asked.lost
            tree.touched.add(expand.node)
        self.state.waiting = [e for e in self.state.waiting if e.key != expand.key]
        self.strategy.tell(self.state, expand, nodes)
        fresh = range(known, len(tree))
        tree.touched.update(nodes)
        tree.touched.difference_update(fresh)
        events = [{"type": "node", **self.node_json(i)} for i in fresh]
        return [*events, *self._touched(), {"type": "ledger", **self.ledger()}]

    def _touched(self) -> list[Event]:
        """What changed of nodes that were there before."""
        tree = self.state.tree
        touched, tree.touched = sorted(tree.touched), set()
        keys = ("id", "score", "value", "visits", "pruned", "chosen", "count", "ledger")
        return [{"type": "update", **{k: v for k, v in self.node_json(i).items() if k in keys}} for i in touched]

    def node_json(self, node: int) -> dict[str, Any]:
        """A node as everybody else sees it."""
        n = self.state.tree[node]
        return {
            "id": n.id, "parent": n.parent, "path": n.path, "text": n.text, "end": n.end, "label": n.label,
            "prompt": n.prompt, "count": n.count, "tokens": n.tokens, "score": n.score, "value": n.value,
            "visits": n.visits, "pruned": n.pruned, "chosen": n.chosen,
            "answer": self.state.answers.canonical(self.state.tree.text(node)) if n.ended and n.answers else None,
            "right": self.state.answers.right(self.state.tree.text(node)) if n.ended and n.answers else None,
            "ledger": self.node_spent.get(node, Spent()).to_json(),
        }  # fmt: skip


def cut(response: str, marks: Marks) -> tuple[str, ...]:
    """A response cut after each mark of a step's end; the steps together are its thinking, or all of it where nothing marks that."""
    thinking = response.partition(REASONING_END)[0] if marks.thinking_end == REASONING_END else response
    pieces = thinking.split(marks.step_end)
    whole = [piece + marks.step_end for piece in pieces[:-1]]
    return tuple(p for p in (*whole, pieces[-1]) if p.strip())


def result_event(
    part: Part, samples: Iterable[Sample], scores: Iterable[tuple[float, ...]], spent: Iterable[Spent], last: bool, short: bool = False,
    *, lost: Spent = Spent(), cut: str = "",
) -> Event:  # fmt: skip
    """A line of the log: what `told` was called with. cut: the reason for which the search ended before this had come to its end."""
    return {
        "type": "result", "key": part.expand.key, "offset": part.offset, "k": part.k, "last": last,
        "samples": [[s.text, list(s.ids), s.end, s.tokens] for s in samples],
        "scores": [list(s) for s in scores], "spent": [s.to_json() for s in spent], **({"short": True} if short else {}),
        **({"lost": lost.to_json()} if lost.calls else {}), **({"cut": cut} if cut else {}),
    }  # fmt: skip


def replay(log: Iterable[Event]) -> tuple[Search, list[Event]]:
    """A search from its log, and the events that it showed. One without an end can go on: `wanted` says with what.

    Raises ValueError for a log that does not begin as one, or tells of what was never asked.
    """
    lines = iter(log)
    search = Search.from_start(next(lines, {}))
    shown: list[Event] = []
    open_parts = {(p.expand.key, p.offset): p for p in search.wanted()}
    for line in lines:
        search.elapsed = max(search.elapsed, float(line.get("elapsed", 0.0)))
        if line["type"] == "result":
            part = open_parts.pop((line["key"], line["offset"]), None)
            if part is None:
                raise ValueError(f"the log tells of {line['key']!r}, which this search did not ask for")
            if part.k != line["k"]:  # the budget cut it in two
                rest = Part(part.expand, part.offset + line["k"], part.k - line["k"])
                open_parts[(part.expand.key, rest.offset)] = rest
                part = replace(part, k=line["k"])
            samples = [Sample(text, tuple(ids), end, tokens) for text, ids, end, tokens in line["samples"]]
            scores = [tuple(s) for s in line["scores"]]
            spent = map(Spent.from_json, line["spent"])
            lost = Spent.from_json(line.get("lost", {}))
            shown += search.told(
                part, samples, scores, spent, last=line["last"], short=line.get("short", False), lost=lost
            )
            open_parts |= {(p.expand.key, p.offset): p for p in search.wanted()}
        elif line["type"] == "error":
            shown.append({"type": "error", "error": line["error"]})
        elif line["type"] == "done":
            shown += search.end(line["reason"])
    search.want_again(list(open_parts.values()))
    return search, shown
