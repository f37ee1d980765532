"""Fine-tuning: questions with responses worth imitating, as `prompt` and `completion` or as chat `messages`.

What is worth imitating: traces that raters approved, or that were solved without a step called bad. On request also repaired
beginnings: the response up to the first step for which a rater wrote a better one, with that in its place; such a row ends
there, and `complete` is false.

Backtracks are kept as the model wrote them, or the response is straightened: the steps on the way from the question to the
end along the tree, as if the model had never turned off. Only Steiner's format can be straightened, because there a step says
by its own tokens where it begins; other responses stay whole, and are counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.formats import steiner_tokens as t
from core.turns import Message
from storage.exports.history import ALONE, Histories, alone_warning, chat
from storage.exports.labels import SEARCHED, groups, mean_votes, searched
from storage.exports.leads import as_step, lead_of, without_lead
from storage.exports.policies import Policies
from storage.exports.prm800k import way_to_the_end
from storage.exports.writing import Format, Looking, Plan, Row
from storage.rater_names import raters_of
from storage.snapshots import Snapshot

if TYPE_CHECKING:
    import pyarrow as pa

READ = (
    "trace_id", "problem_id", "prompt", "earlier", "response", "model", "format", "solved", "finish_reason", "segmentation_id",
    "rater_id", "rating", "verdict", "split", *SEARCHED,
)  # fmt: skip
READ_STEPS = ("step_text", "step_start", "step_end", "parent", "better")  # where a response is not written whole

NOT_CHOSEN = {"approved": "not approved", "solved": "not solved", "either": "neither approved nor solved"}


@dataclass(frozen=True)
class SftOptions(Policies):
    """choose: approved by the mean verdict, solved without a bad step, or either. max_length: as in the other formats."""

    choose: str = "approved"
    repaired: str = "leave_out"
    backtracks: str = "keep"
    shape: str = "prompt_completion"
    max_length: int = 4096


def schema(options: SftOptions) -> pa.Schema:
    import pyarrow as pa

    text = pa.string()
    pair = (
        [("prompt", text), ("completion", text), ("history", chat())]
        if options.shape == "prompt_completion"
        else [("messages", chat())]
    )
    return pa.schema([
        *pair, ("how", text), ("complete", pa.bool_()), ("straightened", pa.bool_()), ("n_steps", pa.int32()),
        ("problem_id", text), ("trace_id", text), ("model", text), ("raters", text), ("split", text), ("snapshot_id", text), *((name, text) for name in SEARCHED),
    ])  # fmt: skip


def rows(snapshot: Snapshot, options: SftOptions, left: Counter[str]) -> Iterator[Row]:
    """One row a trace, and one more for each repaired beginning."""
    histories = Histories.of(snapshot)
    whole = options.repaired == "leave_out" and options.backtracks == "keep"
    for group in groups(snapshot, options, (*READ, *(() if whole else READ_STEPS)), left):
        first = group[0]
        history = histories.before(first.get("earlier"), first["prompt"], first["split"])
        made = 0
        how = _how(group, options)
        if how:
            straight = options.backtracks == "linearise" and first["format"] == "steiner"
            way = way_to_the_end(first["parent"]) if straight else list(range(len(first["rating"])))
            text = straightened(first, way) if straight else first["response"]
            made += 1
            liked = [row for row in group if (row["verdict"] or 0) > 0]
            yield _row(
                snapshot,
                options,
                liked if how == "approved" else group,
                history or [],
                text,
                how,
                True,
                straight and len(way) < len(first["rating"]),
                len(way),
            )
        elif options.repaired == "leave_out":
            left[_why_not(group, options)] += len(group)
        if options.repaired == "keep":
            for step, text in _repairs(group):
                made += 1
                yield _row(snapshot, options, group, history or [], text, "repaired", False, False, step + 1)
        if history is None and made:
            left[ALONE] += made


def _how(group: Sequence[Row], options: SftOptions) -> str:
    """Why a trace is worth imitating; empty when it is not."""
    verdict = mean_votes(row["verdict"] for row in group)
    approved = verdict is not None and verdict[0] > 0 and verdict[1] >= options.min_raters
    solved = group[0]["solved"] is True and not _has_bad(group)
    if approved and options.choose in ("approved", "either"):
        return "approved"
    return "solved" if solved and options.choose in ("solved", "either") else ""


def _has_bad(group: Sequence[Row]) -> bool:
    return any(value == -1 for row in group for value in row["rating"])


def _why_not(group: Sequence[Row], options: SftOptions) -> str:
    if options.choose != "approved" and group[0]["solved"] is True:
        return "solved, with a step called bad"
    return NOT_CHOSEN[options.choose]


def straightened(row: Row, way: Sequence[int]) -> str:
    """The response as if only these steps had been thought: each with the token that leads on, and the answer."""
    leads = [t.PROCEED if at else t.REASONING_START for at in range(len(way))]
    steps = "".join(lead + without_lead(row["step_text"][i]) for lead, i in zip(leads, way, strict=True))
    tail: str = row["response"][row["step_end"][-1] :]
    return steps + tail


def _repairs(group: Sequence[Row]) -> Iterator[tuple[int, str]]:
    """(step, the response up to it and the better step): one for each text that a rater wrote for a first bad step."""
    first = group[0]
    given = set[tuple[int, str]]()
    for row in group:
        written = [(i, text) for i, text in enumerate(row.get("better") or ()) if text and row["rating"][i] == -1]
        if not written or written[0] in given or -1 in row["rating"][: written[0][0]]:
            continue
        given.add(written[0])
        step, text = written[0]
        head = first["response"][: first["step_start"][step]] + lead_of(first["step_text"][step])
        yield step, head + as_step(text, first["step_text"][step])


def _row(
    snapshot: Snapshot,
    options: SftOptions,
    group: Sequence[Row],
    history: list[Message],
    text: str,
    how: str,
    complete: bool,
    straight: bool,
    n: int,
) -> Row:
    first = group[0]
    messages = [*history, {"role": "user", "content": first["prompt"]}, {"role": "assistant", "content": text}]
    pair = (
        {"prompt": first["prompt"], "completion": text, "history": history}
        if options.shape == "prompt_completion"
        else {"messages": messages}
    )
    return {
        **pair, "how": how, "complete": complete, "straightened": straight, "n_steps": n,
        "problem_id": first["problem_id"], "trace_id": first["trace_id"], "model": first["model"],
        "raters": raters_of(group), "split": first["split"],
        "snapshot_id": snapshot.snapshot_id, **searched(first),
    }  # fmt: skip


def look(at: Looking) -> Plan:
    """Why rows were chosen, how many were straightened, and how long they are."""
    options: SftOptions = at.options
    plan = Plan(histogram={"approved": 0, "solved": 0, "repaired": 0})
    straight = long = longest = 0
    for row in at.made:
        plan.rows += 1
        plan.histogram[row["how"]] += 1
        straight += row["straightened"]
        prompt, text = (
            (row["prompt"], row["completion"]) if "prompt" in row else (m["content"] for m in row["messages"][-2:])
        )
        before = row["history"] if "prompt" in row else row["messages"][:-2]
        length = sum(at.count_tokens(t) for t in (*(m["content"] for m in before), prompt, text))
        long += length > options.max_length
        longest = max(longest, length)
    plan.figures = {
        "straightened": straight, "longest_row_tokens": longest, "token_counts": "estimated" if at.estimated else "by tokenizer",
    }  # fmt: skip
    plan.warnings += alone_warning(at.left.pop(ALONE, 0))
    if not plan.rows:
        plan.warnings.append(
            f"There is no row to write: {', '.join(f'{n} {why}' for why, n in sorted(at.left.items())) or 'nothing was rated'}. Give verdicts on the Rate "
            'page, or choose other traces (choose = "solved" takes those that were solved without a step called bad).'
        )
    if options.backtracks == "linearise" and plan.rows:
        others = sum(row["format"] != "steiner" for row in at.snapshot.rows(("format",)))
        if others:
            plan.warnings.append(
                f"{others} rated traces are in formats whose steps do not say where they begin: those that are chosen keep "
                "their backtracks."
            )
    if long:
        plan.warnings.append(
            f"{long} of {plan.rows} rows are longer than max_length={options.max_length} tokens (the longest has {longest}): a "
            "trainer with that limit would cut them. Raise its max_length."
        )
    return plan


FORMAT = Format(
    name="sft",
    summary="Questions with responses worth imitating, for fine-tuning.",
    options=SftOptions,
    uses=("recovered_as", "min_raters", "adjudicated", "gold", "split"),
    choices={
        "choose": ("approved", "solved", "either"),
        "repaired": ("leave_out", "keep"),
        "backtracks": ("keep", "linearise"),
        "shape": ("prompt_completion", "messages"),
    },
    schema=schema,
    rows=rows,
    look=look,
    columns={
        "prompt": "the question (string); with shape=messages: messages, a list of role and content",
        "history": "with shape=prompt_completion: what was said before a later turn's question, a list of role and content; empty "
        "otherwise",
        "completion": "the response, whole, straightened or repaired (string)",
        "how": "approved, solved or repaired",
        "complete": "false where the row ends with a repaired step (boolean)",
    },
    cannot=("ratings: only that a response was chosen, and why", "traces that were not chosen"),
)
