"""Which traces are made into pairs: by hand, or all that fit a policy. Knows no queue's work and no judgement.

Only answers to the same question make a pair: the same prompt, asked after the same earlier turns. Two equal responses make
none, for there is nothing to choose between.
"""

from __future__ import annotations

from collections.abc import Sequence

import duckdb

from core.trace import new_id, utc_now
from storage.errors import StoreError
from storage.pairs import Pair, canonical

# A policy says, of two traces a and b of one question, which are worth comparing.
POLICIES = {
    "any": "true",
    "outcome": "a.solved is not null and b.solved is not null and a.solved <> b.solved",
    "models": "a.model <> b.model",
    # World lines of one family that both wrote on from a step they share. A fork shares what it kept.
    "siblings": "a.origin_root = b.origin_root and a.begins = b.begins",
}
ABOUT = {
    "any": "every two traces of a question",
    "outcome": "one that solved the question and one that did not",
    "models": "two models' traces of a question",
    "siblings": "two continuations of one beginning (a trace and its forks)",
}
BY_HAND = "by_hand"
MOST_A_PROBLEM = 1000
MOST_PAIRS = 20_000  # made at once: more than a team compares in months, and read back in seconds
# Traces of one question, model and outcome that are looked at: of 1,000 every two would be half a million.
_LOOKED_AT = 24


class PairError(StoreError):
    """Pairs that cannot be made; the message is a sentence naming what is wrong."""


def by_hand(con: duckdb.DuckDBPyConnection, queue_id: str, couples: Sequence[tuple[str, str]]) -> list[Pair]:
    """Pairs of named traces. Raises PairError for the first that cannot be one."""
    for at, (a, b) in enumerate(couples):
        if a == b:
            raise PairError(f'"pairs[{at}]" names the trace {a} twice; a pair needs two.')
    ids = sorted({trace_id for couple in couples for trace_id in couple})
    rows = con.execute(
        "select trace_id, prompt, coalesce(earlier, ''), response_sha256 from trace "
        "where trace_id in (select unnest(?::varchar[]))",
        [ids],
    ).fetchall()
    known = {row[0]: row[1:] for row in rows}
    for at, couple in enumerate(couples):
        for trace_id in couple:
            if trace_id not in known:
                raise PairError(f'"pairs[{at}]" names the trace {trace_id!r}, which there is not.')
        first, second = (known[trace_id] for trace_id in couple)
        if first[0] != second[0]:
            raise PairError(f'"pairs[{at}]" are answers to two questions; a pair is of one.')
        if first[1] != second[1]:
            raise PairError(f'"pairs[{at}]" were asked after different earlier turns; a pair is of one conversation.')
        if first[2] == second[2]:
            raise PairError(f'"pairs[{at}]" are the same text; there is nothing to choose between.')
    return _made(con, queue_id, BY_HAND, couples)


def under_policy(
    con: duckdb.DuckDBPyConnection,
    queue_id: str,
    policy: str,
    *,
    problem_id: str | None = None,
    most_a_problem: int = 4,
) -> list[Pair]:
    """The pairs that fit a policy, of one problem or of all, at most so many a problem; which of more is a hash, so that
    the same traces give the same pairs. Pairs that the queue has already are among them.
    """
    if policy not in POLICIES:
        raise PairError(f'"policy" is {policy!r}; it must be one of {", ".join(POLICIES)}.')
    if not 1 <= most_a_problem <= MOST_A_PROBLEM:
        raise PairError(f'"most_a_problem" is {most_a_problem}; it must be from 1 to {MOST_A_PROBLEM}.')
    forks, begins = "", "null"
    if policy == "siblings":
        forks = "and t.origin_root is not null"
        begins = (
            "(select any_value(char_end || text_sha256) from step join segmentation g using (segmentation_id) "
            "where g.trace_id = t.trace_id and step_idx = 0)"
        )
    rows = con.execute(
        f"""
        with roots as (select distinct origin_root from trace where origin_root is not null),
        known as (
            select t.trace_id, t.problem_id, sha256(t.prompt) as asked, coalesce(t.earlier, '') as earlier, t.model, t.solved,
                t.response_sha256, coalesce(t.origin_root, r.origin_root) as origin_root
            from trace t left join roots r on r.origin_root = t.trace_id
            where $problem::varchar is null or t.problem_id = $problem),
        looked_at as (
            select *, {begins} as begins from known t where true {forks}
            qualify row_number() over (
                partition by problem_id, origin_root, model, solved order by md5(trace_id), trace_id) <= {_LOOKED_AT}),
        couples as (
            select a.trace_id as left_id, b.trace_id as right_id, a.problem_id
            from looked_at a join looked_at b on a.problem_id = b.problem_id and a.asked = b.asked and a.earlier = b.earlier
                and a.trace_id < b.trace_id and a.response_sha256 <> b.response_sha256
            where {POLICIES[policy]}
            qualify row_number() over (
                partition by a.problem_id order by md5(a.trace_id || b.trace_id), a.trace_id, b.trace_id) <= $most)
        select left_id, right_id from couples order by problem_id, left_id, right_id limit {MOST_PAIRS}
        """,
        {"problem": problem_id, "most": most_a_problem},
    ).fetchall()
    return _made(con, queue_id, policy, rows)


def _made(con: duckdb.DuckDBPyConnection, queue_id: str, source: str, couples: Sequence[tuple[str, str]]) -> list[Pair]:
    ordered, now = [canonical(*couple) for couple in couples], utc_now()
    return [
        Pair(new_id(), queue_id, problem_id, left, right, shared, source, now)
        for (left, right), (problem_id, shared) in zip(ordered, _facts(con, ordered), strict=True)
    ]


def _facts(con: duckdb.DuckDBPyConnection, couples: Sequence[tuple[str, str]]) -> list[tuple[str, int]]:
    """(problem_id, shared_steps) of each couple: how many first steps are the same in both, byte for byte.

    Steps follow one another without a gap, so two that end at the same place with the same hashes up to there are the same
    text; no response is read.
    """
    return con.execute(
        """
        with couples as (
            select unnest($lefts::varchar[]) as l, unnest($rights::varchar[]) as r, unnest(range(len($lefts))) as place),
        cut as (
            select trace_id, step_idx, char_end, text_sha256 from step join segmentation using (segmentation_id)
            where trace_id in (select l from couples union select r from couples)),
        shared as (
            select place, coalesce(min(a.step_idx) filter (
                b.step_idx is null or a.char_end <> b.char_end or a.text_sha256 <> b.text_sha256), count(*)) as n
            from couples join cut a on a.trace_id = l left join cut b on b.trace_id = r and b.step_idx = a.step_idx
            group by place)
        select problem_id, coalesce(n, 0)::integer from couples join trace on trace_id = l left join shared using (place)
        order by place""",
        {"lefts": [couple[0] for couple in couples], "rights": [couple[1] for couple in couples]},
    ).fetchall()
