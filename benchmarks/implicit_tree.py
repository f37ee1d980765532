"""The inferred tree against what is known: exact parents of written-out searches, tags and dependencies of real traces,
backtracks marked by hand, and time.

Data (not part of the repository): `stream_of_search` and `thought_anchors` below DIR, as `--data DIR` says. Real traces are
taken chunk by chunk as their authors cut them, so that the segmenter has no part in the figures, but in the row that says so.
Their tags were written by a model and name no backtracks: see `_turns` for what is counted as one. The marks of
`data/backtracks.json` and of `data/written_traces.txt` are those of one reader.
"""

from __future__ import annotations

import ast
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.table import Row
from core.trace import Placed

DEFAULT = Path(__file__).parents[2] / "shared" / "data"
MARKS = Path(__file__).parent / "data" / "backtracks.json"
WRITTEN = Path(__file__).parent / "data" / "written_traces.txt"
NEAR = 1  # chunks: a turn is often said in two sentences, and either may be marked
SLACK = 8  # characters by which a chunk may begin after the step that it begins
CLOSE = 4  # chunks: about one paragraph
SPEED_CHARACTERS = 1_000_000
ROUNDS = 3
# Tags of thought_anchors beside our kinds. Neither list was made for the other.
# What a list of words alone finds, for comparison.
NARROW = re.compile(
    r"\b(?:alternatively|another (?:approach|way|method|idea|possibility)|different (?:\w+ )?approach|instead|start over|go back"
    r"|on second thought|let me (?:try|think again))\b", re.I,
)  # fmt: skip
BROAD = re.compile(NARROW.pattern + r"|\b(?:wait|hmm|actually|hold on)\b", re.I)
KINDS_OF_TAGS = (
    ("setup", "problem_setup"),
    ("plan", "plan_generation"),
    ("verify", "self_checking"),
    ("conclude", "final_answer_emission"),
)


def measure(data: Path | None = None) -> list[Row]:
    """All figures for the data that is there; says what is missing."""
    folder = data or DEFAULT
    rows = [*_written(), *_elsewhere()]
    searches = folder / "stream_of_search" / "countdown_search_200.jsonl"
    anchors = folder / "thought_anchors" / "deepseek-r1-distill-llama-8b"
    for path, work in ((searches, _searches), (anchors, _real_traces)):
        if path.exists():
            rows += work(path)
        else:
            print(f"{path} is not there: give the folder with --data DIR", file=sys.stderr)
    return rows


# ---- searches that name their nodes ---------------------------------------------------------------------------------


def _visits(text: str) -> list[tuple[str, tuple[str, ...]]]:
    """(node id, operations) of every visit, read without the parser that is measured."""
    visits, node = [], "#0"
    for line in text.splitlines():
        if line.startswith("Moving to Node "):
            node = line.removeprefix("Moving to Node ").strip()
        elif line.startswith("Current State: "):
            visits.append((node, tuple(ast.literal_eval(line.split("Operations: ", 1)[1]))))
    return visits


def _true_parent(visits: list[tuple[str, tuple[str, ...]]], i: int) -> int | None:
    """The first visit of the same node; for a node's first visit the latest one of its parent node."""
    node, operations = visits[i]
    if visits[i] in visits[:i]:
        return visits.index(visits[i])
    above = (node.rsplit(",", 1)[0], operations[:-1])
    return max((j for j in range(i) if visits[j] == above), default=None)


def _searches(path: Path) -> list[Row]:
    from core.formats import parse_response

    traces: Counter[str] = Counter()
    exact: Counter[str] = Counter()
    edges: Counter[str] = Counter()
    right: Counter[str] = Counter()
    goals = total = 0
    for line in path.read_text().splitlines():
        row = json.loads(line)
        visits = _visits(row["search_path"])
        states: dict[str, tuple[str, ...]] = {}
        reused = any(states.setdefault(node, operations) != operations for node, operations in visits)
        kind = row["algorithm"].upper() + (", ids reused" if reused else ", ids unique")
        _, nodes, _, _ = parse_response("", row["search_path"])
        hits = [n.parent == _true_parent(visits, i) for i, n in enumerate(nodes)][1:]
        whole = all(hits) and len(nodes) == len(visits)
        traces[kind] += 1
        exact[kind] += whole
        edges[kind] += len(visits) - 1
        right[kind] += sum(hits)
        goals += ("Goal Reached" in row["search_path"].splitlines()[-1]) == row["goal"]
        total += 1
    return [
        *(
            Row(f"{k}: traces with every parent exact", exact[k], "traces", traces[k], "all", f"{right[k]} of {edges[k]} edges")
            for k in sorted(traces)
        ),
        Row("searches whose last line agrees with the recorded goal", goals, "traces", total, "all"),
    ]  # fmt: skip


# ---- written for this benchmark -----------------------------------------------------------------------------------------


def _written() -> list[Row]:
    """Steps of `WRITTEN`, by group; the rules as they are now."""
    from core.implicit.tree import ImplicitTree
    from core.trace import Step

    groups: dict[str, list[tuple[int, int, int]]] = {}
    for block in ("\n" + WRITTEN.read_text()).split("\n= ")[1:]:
        title, *lines = block.strip("\n").split("\n")
        steps = [line[2:] for line in lines]
        builder = ImplicitTree(steps[0])
        found = {
            i
            for i, text in enumerate(steps)
            if builder.add(Step(i, i, i + 1, thought=text), "proceed" if i else None).is_backtrack
        }
        gold, debatable = ({i for i, line in enumerate(lines) if line[0] == mark} for mark in "<?")
        groups.setdefault(title.split(" | ")[1], []).append(_count(found, gold, debatable))
    return [_row(f"backtracks in written traces, now: {group}", counts) for group, counts in groups.items()]


def _elsewhere() -> list[Row]:
    """Recorded figures of groups that were each measured once, with the rules of that hour and with the narrow ones before."""
    groups = json.loads(MARKS.read_text())["first_sight_elsewhere"]
    rows = []
    for kind in ("written", "elsewhere", "later elsewhere"):
        for rules in ("now", "before"):
            counts = [tuple(c[rules]) for name, c in groups.items() if name.startswith(kind) and rules in c]
            if not counts:
                continue
            each = " ".join(f"{100 * _scores(*c)[2]:.0f}" for c in counts)
            name = f"backtracks {kind}, at first sight{'' if rules == 'now' else ', narrow rules'}"
            rows.append(_row(name, counts, f"recorded, a group: {each}", "groups"))
    return rows


# ---- real traces ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Trace:
    name: str
    prompt: str
    chunks: list[dict[str, Any]]

    def tags(self, i: int) -> list[str]:
        return self.chunks[i]["function_tags"] if 0 <= i < len(self.chunks) else []

    def depends_on(self, i: int) -> set[int]:
        return {int(d) for d in self.chunks[i]["depends_on"] if str(d).isdigit() and int(d) < i}


def _load(folder: Path) -> Iterator[_Trace]:
    for path in sorted(folder.glob("*/problem_*/chunks_labeled.json")):
        side = path.parent.parent.name.removesuffix("_base_solution")
        prompt = json.loads((path.parent / "problem.json").read_text()).get("problem", "")
        yield _Trace(f"{side}/{path.parent.name.removeprefix('problem_')}", prompt, json.loads(path.read_text()))


def _turns(trace: _Trace) -> set[int]:
    """Gold by the tags: doubt that is followed by a new plan, within two chunks. The chunk of the doubt is the turn."""
    doubt = [i for i in range(len(trace.chunks)) if "uncertainty_management" in trace.tags(i)]
    return {i for i in doubt if any("plan_generation" in trace.tags(j) for j in (i + 1, i + 2))}


def _doubts(trace: _Trace) -> set[int]:
    return {i for i in range(len(trace.chunks)) if "uncertainty_management" in trace.tags(i)}


def _pair(found: set[int], gold: set[int]) -> dict[int, int]:
    """found -> gold, one to one: exact pairs first, then pairs at most `NEAR` apart."""
    pairs: dict[int, int] = {}
    left = set(gold)
    for distance in range(NEAR + 1):
        for i in sorted(found - set(pairs)):
            near = next((g for g in (i - distance, i + distance) if g in left), None)
            if near is not None:
                pairs[i] = near
                left.discard(near)
    return pairs


def _scores(hits: int, found: int, gold: int) -> tuple[float, float, float]:
    """Precision, recall, F1."""
    p, r = hits / found if found else 0.0, hits / gold if gold else 0.0
    return p, r, 2 * p * r / (p + r) if p + r else 0.0


def _row(name: str, counts: list[tuple[int, int, int]], note: str = "", each: str = "traces") -> Row:
    """F1 pooled; precision, recall and the mean of the traces' own F1 in the note. `counts`: (hits, found, gold) a trace."""
    hits, found, gold = (sum(c[i] for c in counts) for i in range(3))
    p, r, f = _scores(hits, found, gold)
    own = [_scores(*c)[2] for c in counts if c[2] or c[1]]
    mean = sum(own) / len(own) if own else 0.0
    text = f"precision {p:.2f}, recall {r:.2f}; mean of {len(own)} {each} {mean:.2f}; {hits} hits, {found} found, {gold} gold"
    return Row(name, 100 * f, "% F1", note=f"{text}{'; ' + note if note else ''}")


def _real_traces(folder: Path) -> list[Row]:
    from core.implicit.tree import ImplicitTree
    from core.trace import Step

    traces = list(_load(folder))
    nodes_of: dict[str, list[Placed]] = {}
    for trace in traces:
        builder = ImplicitTree(trace.prompt)
        for i, chunk in enumerate(trace.chunks):
            builder.add(Step(i, i, i + 1, thought=chunk["chunk"]), "proceed" if i else None)
        nodes_of[trace.name] = builder.nodes

    def against(gold_of: Callable[[_Trace], set[int]]) -> list[tuple[int, int, int]]:
        counts = []
        for trace in traces:
            found = {i for i, n in enumerate(nodes_of[trace.name]) if n.is_backtrack}
            gold = gold_of(trace)
            counts.append((len(_pair(found, gold)), len(found), len(gold)))
        return counts

    turns = against(_turns)
    rows = [
        *_marked(traces, nodes_of),
        _whole(folder, traces),
        _row("backtracks, tags: doubt, then a new plan", turns, "a trace: " + " ".join(f"{_scores(*c)[2]:.2f}" for c in turns)),
        _row("backtracks, tags: any doubt", against(_doubts), "most doubts are checks"),
    ]  # fmt: skip
    for kind, tag in KINDS_OF_TAGS:
        counts = []
        for trace in traces:
            found = {i for i, n in enumerate(nodes_of[trace.name]) if n.kind == kind}
            gold = {i for i in range(len(trace.chunks)) if tag in trace.tags(i)}
            counts.append((len(found & gold), len(found), len(gold)))
        rows.append(_row(f"{kind} against the tag {tag}", counts))
    return [*rows, *_parents(traces, nodes_of), *_speed(folder)]


def _parents(traces: list[_Trace], nodes_of: dict[str, Any]) -> list[Row]:
    """How often the parent is among `depends_on`: in all, where the tree does not branch, and where the chunk before is not among them."""
    tagged = [(t, i) for t in traces for i in range(1, len(t.chunks)) if t.depends_on(i)]
    straight = [(t, i) for t, i in tagged if nodes_of[t.name][i].parent == i - 1]
    hard = [(t, i) for t, i in tagged if i - 1 not in t.depends_on(i)]
    turning = [(t, i) for t, i in tagged if nodes_of[t.name][i].parent != i - 1]

    def share(chunks: list[tuple[_Trace, int]]) -> float:
        return 100 * sum(nodes_of[t.name][i].parent in t.depends_on(i) for t, i in chunks) / max(1, len(chunks))

    def before(chunks: list[tuple[_Trace, int]]) -> float:
        return 100 * sum(i - 1 in t.depends_on(i) for t, i in chunks) / max(1, len(chunks))

    facts = sum("fact_retrieval" in t.tags(i) for t, i in hard)
    name, base = "parent among depends_on", "the chunk before"
    return [
        Row(name, share(tagged), "%", before(tagged), base, f"{len(tagged)} chunks"),
        Row(f"{name}, chunks that branch here", share(turning), "%", before(turning), base, f"{len(turning)} chunks: the tags name the chunk before"),
        Row(f"{name}, all other chunks", share(straight), "%", before(straight), base, f"{len(straight)} chunks"),
        Row(f"{name}, the chunk before is none of them", share(hard), "%", before(hard), base, f"{len(hard)} chunks, {facts} of them repeat a fact of the question"),
    ]  # fmt: skip


def _whole(folder: Path, traces: list[_Trace]) -> Row:
    """The hand-marked traces as the product reads them: cut by the segmenter. A found step is the chunk that it begins in."""
    from core.formats import parse_response

    marks = {
        name: marked for group in json.loads(MARKS.read_text())["groups"].values() for name, marked in group.items()
    }
    counts, begun = [], 0
    for trace in traces:
        if trace.name not in marks:
            continue
        side, problem = trace.name.split("/")
        solution = folder / f"{side}_base_solution" / f"problem_{problem}" / "base_solution.json"
        text = "<think>\n" + json.loads(solution.read_text())["full_cot"].removeprefix("<think>")
        begins, at = [], 0
        for chunk in trace.chunks:
            found_at = text.find(chunk["chunk"], at)
            begins.append(at if found_at < 0 else found_at)
            at = begins[-1] + (0 if found_at < 0 else len(chunk["chunk"]))
        steps, nodes, _, _ = parse_response(trace.prompt, text)
        chunk_of = [
            max((i for i, b in enumerate(begins) if b <= s.start + len(text[s.start :]) - len(text[s.start :].lstrip()) + SLACK), default=0)
            for s in steps
        ]  # fmt: skip
        gold = {at for at, _, _ in marks[trace.name]["certain"]}
        found = {c for c, n in zip(chunk_of, nodes, strict=True) if n.is_backtrack}
        begun += len(gold & set(chunk_of))
        counts.append(_count(found, gold, set(marks[trace.name]["debatable"])))
    total = sum(c[2] for c in counts)
    return _row("all groups, cut into steps by the segmenter", counts, f"{begun} of {total} turns begin a step")


def _marked(traces: list[_Trace], nodes_of: dict[str, Any]) -> list[Row]:
    """Against the marks of one reader: found or not, and whether it resumes from where the reader would."""
    marked_traces = json.loads(MARKS.read_text())
    rows = [_row(
        "backtracks marked by hand, at first sight", [tuple(c) for c in marked_traces["first_sight"].values()],
        "recorded: groups 2 to 4, each measured once before its misses were looked at", "groups",
    )]  # fmt: skip
    chunks = {t.name: t.chunks for t in traces}
    edges: dict[int, list[tuple[int, int, int]]] = {0: [], CLOSE: []}
    lists: dict[str, list[tuple[int, int, int]]] = {"a narrow list of words": [], "with wait, hmm, actually": []}
    for group, marks in marked_traces["groups"].items():
        counts, targets, right, close = [], 0, 0, 0
        for name, marked in marks.items():
            nodes = nodes_of[name]
            gold = {at: (low, high) for at, low, high in marked["certain"]}
            debatable = set(marked["debatable"])
            for cues, each in zip((NARROW, BROAD), lists.values(), strict=True):
                each.append(
                    _count({i for i, c in enumerate(chunks[name]) if cues.search(c["chunk"])}, set(gold), debatable)
                )
            found = {i for i, n in enumerate(nodes) if n.is_backtrack}
            counts.append(_count(found, set(gold), debatable))
            for slack, each in edges.items():
                each.append(_edges(nodes, gold, debatable, slack))
            for i, g in _pair(found, set(gold)).items():
                low, high = gold[g]
                if low is not None:
                    targets += 1
                    resumes = -1 if nodes[i].resumes is None else nodes[i].resumes
                    right += low <= resumes <= high
                    close += low - CLOSE <= resumes <= high + CLOSE
        rows.append(_row(f"backtracks marked by hand, now: {group}", counts))
        note = f"{right} of {targets}; {close} at most {CLOSE} chunks off"
        rows.append(Row(f"their targets: {group}", 100 * right / max(1, targets), "%", note=note))
    for slack, each in edges.items():
        name = "all groups, backtrack EDGES: the turn and where it resumes" + (
            f", at most {slack} chunks off" if slack else ""
        )
        rows.append(_row(name, each, "turns whose mark names no place to resume from are left out on both sides"))
    return rows + [_row(f"all groups, {name} alone", each) for name, each in lists.items()]


def _edges(
    nodes: Sequence[Placed], gold: dict[int, tuple[int | None, int | None]], debatable: set[int], slack: int
) -> tuple[int, int, int]:
    """(hits, found, gold) of edges: a hit is a turn that was found and resumes at most `slack` chunks off the marked range. The
    marks do not say which branch is given up, so `replaces` has no part in it."""
    found = {i for i, n in enumerate(nodes) if n.is_backtrack}
    pairs = _pair(found, set(gold))
    hits = 0
    for i, g in pairs.items():
        low, high = gold[g]
        resumes = nodes[i].resumes
        if low is not None and high is not None:
            hits += low - slack <= (-1 if resumes is None else resumes) <= high + slack
    unplaced = {g for g, (low, _) in gold.items() if low is None}
    left_out = (debatable - set(pairs)) | {i for i, g in pairs.items() if g in unplaced}
    return hits, len(found - left_out), len(set(gold) - unplaced)


def _count(found: set[int], gold: set[int], debatable: set[int]) -> tuple[int, int, int]:
    """(hits, found, gold), debatable ones left out unless they are hits."""
    pairs = _pair(found, gold)
    return len(pairs), len(found - (debatable - set(pairs))), len(gold)


# ---- time -------------------------------------------------------------------------------------------------------------


def _speed(folder: Path) -> list[Row]:
    """One trace of a million characters, made of real ones; processor time of one core, best of `ROUNDS`."""
    from core import tree
    from core.formats import choose

    texts = [json.loads(p.read_text())["full_cot"] for p in sorted(folder.glob("*/problem_*/base_solution.json"))]
    # The end of reasoning would make all the rest an answer.
    whole = "\n\n".join(t.split("</think>")[0] for t in texts).replace("<think>", "")
    text = "<think>\n" + (whole * (SPEED_CHARACTERS // len(whole) + 1))[:SPEED_CHARACTERS]

    def seconds(work: Callable[[], Any]) -> float:
        times = []
        for _ in range(ROUNDS):
            started = time.process_time()
            work()
            times.append(time.process_time() - started)
        return min(times)

    def parse() -> Any:
        parser = choose(text, ended=True)
        assert parser is not None
        parser.feed(text)
        parser.close()
        return parser

    parsing = seconds(parse)
    parser = parse()
    building = seconds(lambda: tree.build("", parser.steps, parser.name))
    note = f"{len(text):,} characters, {len(parser.steps):,} steps"
    return [
        Row("parse and tree", 1000 * (parsing + building), "ms", 1000 * parsing, "parsing alone", note),
        Row("parse and tree", len(text) / (parsing + building) / 1e6, "M characters/s"),
    ]
