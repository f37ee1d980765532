"""DAGs of steps, and the paths that are sampled from them, against brute force and the exact rules."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path
from typing import Any

import networkx as nx
import pytest

from core.engines.base import Chunk, EngineError
from core.formats import parse_response
from core.formats import steiner_tokens as t
from core.tasks import countdown as game
from core.tasks import countdown_text as words
from core.trace import Trace
from tests.training.rigged import RiggedEngine, step, trace_of
from tests.training.synthetic import examples
from training.labels.rollouts import answer_is
from training.synthesis import clusters, countdown_dags, dag, reveal
from training.synthesis.countdown import walk
from training.synthesis.lengths import Lengths, quantiles


def searches(prompt_of: int = 3, n: int = 12) -> list[Trace]:
    """Several searches of one question."""
    rng = random.Random(prompt_of)
    problem = game.sample(rng, 4, held_out=False)
    from core.run import TraceReader
    from core.trace import Problem

    found = []
    for i in range(n):
        one = walk(problem, rng, step_limit=60, insight=0.3, phrasing=0)
        reader = TraceReader(Problem.ask(one.prompt), "written", f"t{i}")
        reader.feed(one.response)
        reader.close()
        found.append(reader.trace("stop" if one.path else "step_limit", sampling={}, stats={}))
    return found


def graph(found: dag.StepDag) -> nx.DiGraph:
    return nx.DiGraph([(a, b) for a, children in found.children.items() for b in children])


def test_steps_that_reach_one_state_are_one_node_and_nothing_goes_round() -> None:
    traces = searches()
    found = dag.build(traces[0].prompt, list(zip(traces, clusters.exact(traces), strict=True)))
    assert nx.is_directed_acyclic_graph(graph(found))
    assert len(found.nodes) - 1 < 0.7 * sum(len(x.steps) for x in traces)
    problem = words.understand(traces[0].prompt)
    exact = game.state_dag(problem.numbers)
    state = {dag.QUESTION: tuple(sorted(problem.numbers))}
    by_id = {x.trace_id: x for x in traces}
    for node in found.nodes[1:]:
        lefts = {tuple(sorted(words.read_list(by_id[i].steps[k].summary))) for i, k in node.members}
        assert len(lefts) == 1
        state[node.id] = lefts.pop()
    assert all(exact.has_edge(state[a], state[b]) for a, b in graph(found).edges)
    for node, (e_i, e_o, d_s, d_e) in found.degrees().items():
        g = graph(found)
        assert (e_i, e_o) == (g.in_degree(node), g.out_degree(node))
        assert d_s == nx.shortest_path_length(g, dag.QUESTION, node)
        ends = [n.id for n in found.nodes if n.right and nx.has_path(g, node, n.id)]
        assert d_e == min((nx.shortest_path_length(g, node, e) for e in ends), default=None)
    assert found.hopeful() == {n for n, (*_, d_e) in found.degrees().items() if d_e is not None}


def test_sampled_paths_are_right_different_and_turn_back_truly() -> None:
    traces = searches()
    found = dag.build(traces[0].prompt, list(zip(traces, clusters.exact(traces), strict=True)))
    paths = list(dag.sample_many(found, random.Random(1), 40))
    assert all(p.borrowed == 0 for p in paths)
    any_words = list(dag.sample_many(found, random.Random(1), 40, most_borrowed=60))
    assert len(any_words) >= len(paths) and any(p.borrowed for p in any_words)
    assert 5 < len(paths) <= min(40, dag.paths_of(found))
    assert len({p.nodes for p in paths}) == len(paths)
    assert any(p.backtracks for p in paths)
    for path in paths:
        steps, *_ = parse_response(found.prompt, path.response)
        assert len(steps) == len(path.nodes)
        assert found.nodes[path.nodes[-1]].right
        check = words.check(words.understand(found.prompt), steps)
        assert check.solved and all(s.ok for s in check.steps)
        for i, (node, how) in enumerate(zip(path.nodes, path.entered, strict=True)):
            before = path.nodes[i - 1] if i else dag.QUESTION
            if how == t.PROCEED:
                assert node in found.children[before]
            else:  # it goes on from a node that was visited, and what it left has nothing new
                assert any(node in found.children[v] for v in (dag.QUESTION, *path.nodes[:i]))
                assert all(c in path.nodes[:i] for c in found.children[before])


def test_a_graph_is_written_with_what_the_reward_is_made_of() -> None:
    traces = searches()
    found = dag.build(traces[0].prompt, list(zip(traces, clusters.exact(traces), strict=True)))
    row = json.loads(json.dumps(found.to_json()))
    nodes = {n["id"]: n for n in row["nodes"]}
    assert {tuple(edge) for edge in row["edges"]} == set(graph(found).edges)
    assert all(a in nodes and b in nodes for a, b in row["edges"])
    assert {k: (n["e_i"], n["e_o"], n["d_s"], n["d_e"]) for k, n in nodes.items()} == found.degrees()
    by_id = {x.trace_id: x for x in traces}
    for node in row["nodes"][1:]:
        trace_id, step_index = node["members"][0]
        assert sorted(words.read_list(by_id[trace_id].steps[step_index].summary)) == sorted(node["state"])


def test_a_node_that_lost_its_steps_with_a_cut_edge_is_left_out_of_the_file() -> None:
    """z follows a step whose edge was cut, so it hangs from nowhere."""
    a, b = trace_of("x", "y", answer="right"), trace_of("y", "x", "z", answer="right", trace_id="other")
    found = dag.build("What?", [(a, ["x", "y"]), (b, ["y", "x", "z"])])
    assert found.degrees()[3] == (0, 0, None, None)
    assert [n["id"] for n in found.to_json()["nodes"]] == [0, 1, 2]
    assert found.to_json()["nodes"][1]["state"] is None


def test_an_edge_that_would_close_a_circle_is_cut_and_counted() -> None:
    a, b = trace_of("x", "y", answer="right"), trace_of("y", "x", answer="right", trace_id="other")
    found = dag.build("What?", [(a, ["x", "y"]), (b, ["y", "x"])])
    assert nx.is_directed_acyclic_graph(graph(found))
    assert found.cut == 1
    with pytest.raises(ValueError, match="2 steps and 1 cluster names"):
        dag.build("What?", [(a, ["x"])])


def test_embeddings_join_what_is_near_and_part_what_is_far() -> None:
    vectors = {"a": [1, 0], "a'": [0.99, 0.05], "b": [0, 1]}
    found = clusters.by_embedding([trace_of("a", "b"), trace_of("a'", "b")], lambda xs: [vectors[x] for x in xs])
    assert found == [[0, 1], [0, 1]]
    apart = clusters.by_embedding([trace_of("a", "a'")], lambda xs: [vectors[x] for x in xs], same=0.9999)
    assert apart == [[0, 1]]


def test_a_language_model_embeds_the_same_text_the_same(tiny_base: Path) -> None:
    embed = clusters.model_embedder(tiny_base, batch=2)
    e = examples(2, longest=5)
    texts = [e[0].step_texts[0], e[1].step_texts[0], e[0].step_texts[0], "Left: 4"]
    vectors = embed(texts)
    assert vectors[0] == pytest.approx(vectors[2], abs=1e-5)
    assert abs(vectors[0] - vectors[3]).max() > 1e-3


def test_the_exact_dag_of_a_question_is_that_of_the_rules() -> None:
    rng = random.Random(5)
    for count in (3, 4):
        problem = game.sample(rng, count, held_out=False)
        ours, exact = countdown_dags.build(problem), game.state_dag(problem.numbers)
        assert set(ours.edges) == set(exact.nodes)
        assert {(a, b) for a, bs in ours.edges.items() for b in bs} == set(exact.edges)
        assert tuple(sorted(problem.numbers)) in ours.alive


def test_written_paths_solve_their_question_whatever_the_number_of_processes(tmp_path: Path) -> None:
    one = countdown_dags.write(tmp_path / "a.jsonl", dags=12, paths=4, seed=3, workers=1)
    two = countdown_dags.write(tmp_path / "b.jsonl", dags=12, paths=4, seed=3, workers=2)
    assert one == two
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert len(rows) == one["paths"] == one["lengths"]["kept"] > 30
    assert len({(r["prompt"], r["response"]) for r in rows}) == len(rows)
    tokenizer = countdown_dags._tokenizer()
    reasoning = []
    for row in rows:
        problem = words.understand(row["prompt"])
        steps, *_ = parse_response(row["prompt"], row["response"])
        check = words.check(problem, steps)
        assert check.solved and all(s.ok for s in check.steps)
        assert not problem.held_out
        reasoning.append(len(tokenizer(row["response"].removesuffix(row["answer"])).input_ids))
    assert one["lengths"]["reasoning_tokens"] == quantiles(reasoning)
    # However a question is put, it is one question: on one side of a split, and one of those that an interval is over.
    questions = {
        (tuple(sorted(p.numbers)), p.target): r["problem_id"] for r in rows for p in [words.understand(r["prompt"])]
    }
    assert (
        len(set(questions.values()))
        == len(questions)
        == len({r["problem_id"] for r in rows})
        < len({r["prompt"] for r in rows})
    )


def test_the_limits_are_steiners_and_what_they_drop_is_counted() -> None:
    lengths = Lengths()
    assert [lengths.keep(*x) for x in ((4095, 8191), (4096, 5000), (4000, 8192))] == [True, False, False]
    assert lengths.report()["dropped"] == {"reasoning": 1, "total": 1}
    assert quantiles([3, 1, 2]) == {"p0": 1, "p5": 1, "p25": 1, "p50": 2, "p75": 3, "p95": 3, "p100": 3}
    assert quantiles([]) == {}


# ------------------------------------------------------------------------------------------- turning back, revealed


class Strong(RiggedEngine):
    """Goes astray until it is told the answer."""

    def __init__(self) -> None:
        super().__init__(lambda k: 0.0, extra=t.PROCEED + step("a wrong idea") + t.PROCEED + step("a worse one"))

    async def stream(self, request):  # type: ignore[no-untyped-def]
        told = "The correct answer is right." in request.prompt
        self.chance, before = (lambda k: float(told)), self.extra
        self.extra = step("now it works") if told else before
        async for chunk in super().stream(request):
            yield chunk
        self.extra = before


def turned_back(
    engine: RiggedEngine, paths: list[Trace], how: reveal.How | None = None, **options: Any
) -> tuple[reveal.Made, list[Trace]]:
    kept: list[Trace] = []
    tasks = [reveal.Task(path, "right", answer_is("right"), how or reveal.How()) for path in paths]
    made = asyncio.run(reveal.turn_backs(engine, tasks, lambda trace: kept.append(trace) or "", **options))
    return made, kept


def test_the_turn_back_is_written_knowing_the_answer_and_shows_nothing_of_it() -> None:
    path = trace_of("one", "two", "three", answer="right")
    engine = Strong()
    made, (trace,) = turned_back(engine, [path])
    assert (made.traces, made.left_out) == (1, {})
    assert trace.prompt == path.prompt and "correct answer" not in trace.response
    assert engine.asked[0].prompt == path.prompt
    where = trace.stats["turn_back"]
    first, last = where["astray"]
    assert path.response.startswith(trace.response[: trace.steps[where["cut"]].end])
    assert [s.thought for s in trace.steps[first : last + 1]] == ["a wrong idea", "a worse one"]
    assert trace.steps[last].decision == "backtrack"
    assert trace.steps[last + 1].thought == "now it works"
    assert (trace.answer, trace.model) == ("right", "rigged")


def test_many_are_asked_at_once_and_one_failure_loses_nothing() -> None:
    class Slow(Strong):
        now = most = 0

        async def stream(self, request):  # type: ignore[no-untyped-def]
            self.now += 1
            self.most = max(self.most, self.now)
            await asyncio.sleep(0.01)
            self.now -= 1
            if "unlucky" in request.prefix:
                raise EngineError("The server is gone.")
            async for chunk in super().stream(request):
                yield chunk

    engine = Slow()
    names = ["one", "unlucky", "three", "four", "five", "six"]
    paths = [trace_of(name, "two", "three", answer="right", trace_id=name) for name in names]
    made, kept = turned_back(engine, paths, at_once=3)
    assert {trace.trace_id for trace in kept} == {f"{name}-back" for name in names if name != "unlucky"}
    assert (made.left_out, made.error) == ({"the model could not be asked": 1}, "The server is gone.")
    assert engine.most == 3


def test_what_cannot_be_used_is_counted() -> None:
    def made_by(engine: RiggedEngine, path: Trace) -> dict[str, int]:
        made, kept = turned_back(engine, [path], reveal.How(attempts=2))
        assert not kept and not made.traces
        return made.left_out

    path = trace_of("one", "two", answer="right")
    wrong = RiggedEngine(lambda k: 0.0, extra=t.PROCEED + step("wrong"))
    assert made_by(RiggedEngine(lambda k: 1.0), path) == {"right without the answer": 1}
    assert made_by(wrong, path) == {"not right in 2 attempts with the answer": 1}
    assert made_by(RiggedEngine(lambda k: 0.0), path) == {"no step was written without the answer": 1}
    assert made_by(wrong, trace_of("one")) == {"fewer than two steps": 1}

    class Long(RiggedEngine):
        async def stream(self, request):  # type: ignore[no-untyped-def]
            self.asked.append(request)
            yield Chunk(t.PROCEED + step("perhaps right") + t.PROCEED + "and so on", 3)
            yield Chunk("", 0, finish_reason="length")

    assert made_by(Long(lambda k: 0.0), path) == {"did not end without the answer": 1}


def test_the_pocket_model_as_the_strong_one() -> None:
    """One path after the other until one comes of it; about every second does, the first of these at once."""
    from core.engines.base import Bounds, Sampling
    from core.engines.local import LocalEngine
    from core.run import TraceReader
    from core.trace import Problem
    from training.labels import oracle
    from training.labels.rollouts import by_rules

    how = reveal.How(Sampling(max_tokens=1500), Bounds(0, 30), hint=False, attempts=3, lost=oracle.lost)
    kept: list[Trace] = []

    async def first() -> Trace | None:
        engine = LocalEngine()
        try:
            for seed in (4, 0, 5, 7, 8, 9):
                rng = random.Random(seed)
                one = walk(game.sample(rng, 4, held_out=False), rng, step_limit=60, insight=0.1, phrasing=0)
                reader = TraceReader(Problem.ask(one.prompt), "written", f"t{seed}")
                reader.feed(one.response)
                reader.close()
                path = reader.trace("stop", sampling={}, stats={})
                task = reveal.Task(path, "", by_rules, how)
                made = await reveal.turn_backs(engine, [task], lambda trace: kept.append(trace) or "")
                assert made.traces + sum(made.left_out.values()) == 1
                if kept:
                    return kept[0]
        finally:
            await engine.close()
        return None

    trace = asyncio.run(first())
    assert trace is not None and trace.solved and trace.model == "pocket"
    last = trace.stats["turn_back"]["astray"][1]
    assert trace.steps[last].decision == "backtrack" and oracle.lost(trace, last)
    assert trace.nodes[last + 1].is_backtrack
