"""Whole responses in every format, cut and placed, against the tree that a careful reader draws.

`golden/NAME.txt` is a response as a model prints it, `NAME.tree` what is to come of it: a line a step,

    index kind parent resumes replaces | its first words  ~ kind parent resumes replaces

with "?" for a kind that readers would not agree on and "-" for none. After "~" stands what is inferred where that differs from
the reader's tree: a known deviation, counted in docs/implicit-tree.md. All texts were written for these tests; Steiner's was
printed by the pocket model.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import NamedTuple

import pytest

from core.formats import FORMATS, parse_response
from core.run import TraceReader
from core.trace import Placed, Problem, Step

FOLDER = Path(__file__).parent / "golden"
NAMES = sorted(path.stem for path in FOLDER.glob("*.txt"))


class Place(NamedTuple):
    kind: str
    parent: str
    resumes: str
    replaces: str


class Golden(NamedTuple):
    question: str
    format: str
    answer: str
    words: list[str]
    reader: list[Place]
    inferred: list[Place]


def golden(name: str) -> Golden:
    head, body = (FOLDER / f"{name}.tree").read_text().split("\n\n")
    question, form, answer = (line.partition(": ")[2] for line in head.split("\n"))
    words, reader, inferred = list[str](), list[Place](), list[Place]()
    for i, line in enumerate(body.strip("\n").split("\n")):
        place, _, rest = line.partition(" | ")
        first, _, deviation = rest.partition("  ~ ")
        index, *parts = place.split()
        assert int(index) == i, line
        words.append(first)
        reader.append(Place(*parts))
        inferred.append(Place(*deviation.split()) if deviation else reader[-1])
        assert not deviation or inferred[-1] != reader[-1], line
    return Golden(question, form, answer, words, reader, inferred)


def places(nodes: list[Placed], like: list[Place]) -> list[Place]:
    """What was inferred, in the words of a `.tree` file; a kind that is not asserted stays "?"."""
    return [
        Place(
            "backtrack" if node.is_backtrack else "?" if want.kind == "?" else node.kind,
            *("-" if at is None else str(at) for at in (node.parent, node.resumes, node.replaces)),
        )
        for node, want in zip(nodes, like, strict=True)
    ]


def check(name: str, steps: list[Step], nodes: list[Placed], answer: str, form: str) -> None:
    want = golden(name)
    assert form == want.format
    assert " ".join(answer.split()[:6]) == want.answer
    assert [" ".join((s.thought or s.name).split()[:8]) for s in steps] == want.words
    for i, (found, expected) in enumerate(zip(places(nodes, want.inferred), want.inferred, strict=True)):
        assert found == expected, f"step {i}: {want.words[i]}"


@pytest.mark.parametrize("name", NAMES)
def test_the_tree_is_the_readers_but_for_the_deviations_that_are_marked(name: str) -> None:
    text = (FOLDER / f"{name}.txt").read_text()
    check(name, *parse_response(golden(name).question, text))


@pytest.mark.parametrize("name", NAMES)
def test_streamed_in_random_pieces_it_is_the_same(name: str) -> None:
    text, question = (FOLDER / f"{name}.txt").read_text(), golden(name).question
    whole = parse_response(question, text)
    for seed in range(5):
        rng = random.Random(seed)
        reader, rest = TraceReader(Problem.ask(question), "m"), text
        while rest:
            size = rng.choice((1, 2, 3, 5, 8, 40, 400))
            reader.feed(rest[:size])
            rest = rest[size:]
        reader.close()
        assert reader.parser is not None
        assert (reader.parser.steps, reader.tree.nodes, reader.parser.answer, reader.parser.name) == whole


def test_every_format_has_one_and_the_known_deviations_are_few() -> None:
    trees = {name: golden(name) for name in NAMES}
    assert {tree.format for tree in trees.values()} == set(FORMATS)
    assert sum(len(tree.reader) >= 30 for tree in trees.values()) >= 4
    steps = sum(len(tree.reader) for tree in trees.values() if tree.format not in ("steiner", "stream-of-search"))
    deviations = sum(a != b for tree in trees.values() for a, b in zip(tree.reader, tree.inferred, strict=True))
    assert (steps, deviations) == (159, 22)  # as docs/implicit-tree.md has it
