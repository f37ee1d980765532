"""Label Studio's tasks: `tasks.json` to import into a project, and `label_config.xml` that shows them as they were rated.

A task is a trace: the question as Text, the steps as Paragraphs, and so what was said before a later turn. An annotation is
one rater: a label over a paragraph for every rated step, a choice for the verdict, text for rationales, better steps and the
note. `completed_by` holds the rater's name as an email, as Label Studio wants it: only people with such an address in its
project are taken; remove the key otherwise. What a model scored is a prediction, never an annotation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from core.turns import Message
from storage.exports.argilla import SCORED, UNSURE, WORDS, WORDS_BY_CODE, suggestions
from storage.exports.bulk import Traces, traces
from storage.exports.columns import as_json, joined, record, utf8
from storage.exports.history import ALONE, Histories, alone_warning
from storage.exports.lines import has_line_breaks, one_line
from storage.exports.policies import Policies
from storage.exports.writing import Format, Looking, Plan, Row, Sums, aside, summed
from storage.snapshots import Snapshot

if TYPE_CHECKING:
    import pyarrow as pa

    from storage.exports.bulk import Ints

Columns = dict[str, Any]
_Part: TypeAlias = "pa.StringArray | str"
# Rows, places in them, and what makes the results from their marks.
_Made: TypeAlias = "tuple[Ints, Ints, Callable[[pa.StringArray], pa.StringArray]]"

TASKS, CONFIG = "tasks.json", "label_config.xml"
READ = (
    "trace_id", "problem_id", "prompt", "earlier", "answer", "model", "rater_id", "assignment_id", "step_text", "rating",
    "rationale", "better", "verdict", "note", "spent_ms", "split", "submitted_at", *SCORED,
)  # fmt: skip
# Colours that stay apart for every kind of colour vision, as on Worldline's own screen.
LABEL_CONFIG = """<View>
  <Header value="Said before"/>
  <Paragraphs name="history" value="$history" nameKey="role" textKey="content" layout="dialogue"/>
  <Header value="Question"/>
  <Text name="prompt" value="$prompt"/>
  <Header value="Steps: mark a whole step as good, neutral, bad or unsure"/>
  <ParagraphLabels name="correctness" toName="steps">
    <Label value="good" background="#0072B2"/>
    <Label value="neutral" background="#6B7280"/>
    <Label value="bad" background="#D55E00"/>
    <Label value="unsure" background="#CC79A7"/>
  </ParagraphLabels>
  <Paragraphs name="steps" value="$steps" nameKey="name" textKey="text" layout="dialogue"/>
  <TextArea name="rationale" toName="steps" perRegion="true" placeholder="what is wrong with the step"/>
  <TextArea name="better" toName="steps" perRegion="true" placeholder="a better step"/>
  <Header value="Verdict"/>
  <Choices name="verdict" toName="prompt" choice="single">
    <Choice value="good"/><Choice value="neutral"/><Choice value="bad"/><Choice value="unsure"/>
  </Choices>
  <TextArea name="note" toName="prompt" placeholder="a note"/>
</View>
"""


@dataclass(frozen=True)
class LabelStudioOptions(Policies):
    """Only the common policies: an annotation is what one rater said, as it was said."""

    adjudicated: str = "ignored"


def schema(options: Any) -> pa.Schema:
    """`task` is a line of JSON, for no table has results of different shapes; beside it what is counted."""
    import pyarrow as pa

    words = [(word, pa.int32()) for word in (*WORDS.values(), UNSURE)]
    return pa.schema([("task", pa.string()), ("predictions", pa.int32()), ("raters", pa.list_(pa.string())), *words])


def rows(snapshot: Snapshot, options: LabelStudioOptions, left: Counter[str]) -> Iterator[pa.RecordBatch]:
    """The tasks, one a trace."""
    histories, form = Histories.of(snapshot), schema(options)
    number = 0
    for found in traces(snapshot, options, READ, left):
        history = histories.of_batch(found.firsts, left, split=False)
        for part, said in found.parts(history, lambda texts, rows, steps: texts * (rows + 2)):
            yield record(_tasks(snapshot.snapshot_id, part, said, number), form)
            number += len(said)


def _tasks(snapshot_id: str, found: Traces, history: Sequence[list[Message]], number: int) -> Columns:
    """Tasks of some traces, those before being `number`."""
    import numpy as np
    import pyarrow as pa

    firsts = found.firsts
    steps = _Steps.of(found, firsts)
    annotations, counts = _annotations(found, steps)
    predictions, predicted = _predictions(firsts, steps)
    heads, tails = _data(snapshot_id, firsts, history, number)
    paragraphs = joined(_marks(steps.trace), '{"name":"step ', steps.nth, '","text":', steps.json, "}")
    ends = np.concatenate([[0], np.cumsum(found.lengths())])
    return {
        "task": joined(
            heads, _listed(paragraphs, ends), tails, ',"annotations":', _listed(annotations, found.ends),
            '],"predictions":', predictions, "}\n",
        ),
        "predictions": predicted, **counts,
        "raters": pa.ListArray.from_arrays(pa.array(found.ends, pa.int32()), found.rows["rater_id"]),
    }  # fmt: skip


def _data(
    snapshot_id: str, firsts: pa.RecordBatch, history: Sequence[list[Message]], number: int
) -> tuple[pa.StringArray, pa.StringArray]:
    """Of each task what stands before the steps and after them, up to the end of `data`."""
    heads, tails = [], []
    names = ("prompt", "answer", "model", "trace_id", "problem_id", "split")
    for nth, row in enumerate(firsts.select(names).to_pylist(), start=number + 1):
        head = {"id": nth, "data": {"history": history[nth - number - 1], "prompt": row["prompt"]}}
        tail = {name: row[name] for name in names[1:-1]}
        tail |= {"step_gap": "", "split": row["split"], "snapshot_id": snapshot_id}
        heads.append(b"," + _json(head)[:-2] + b',"steps":')
        tails.append(b"]," + _json(tail)[1:])
    return _strings(heads), _strings(tails)


@dataclass(frozen=True)
class _Steps:
    """Of every step of some traces, (steps,) each: the trace, the number in it, the text as JSON, and the region that it is: a
    paragraph, whose length is counted in UTF-16 units as a browser does.
    """

    trace: Ints
    nth: pa.StringArray
    json: pa.StringArray
    region: pa.StringArray

    @classmethod
    def of(cls, found: Traces, firsts: pa.RecordBatch) -> _Steps:
        import numpy as np
        import pyarrow as pa

        trace = np.repeat(np.arange(firsts.num_rows), found.lengths())
        nth = pa.array(np.arange(len(trace)) - np.searchsorted(trace, trace)).cast(pa.string())
        texts = firsts["step_text"].flatten()
        units = _utf16(texts).cast(pa.string())
        region = joined('"value":{"start":"', nth, '","end":"', nth, '","startOffset":0,"endOffset":', units)
        return cls(trace, nth, as_json(texts), region)

    def results(
        self, marks: pa.StringArray, at: Ints, name: str, kind: str, origin: str, *value: _Part
    ) -> pa.StringArray:
        """Results of these steps, each after its mark; value: what follows in each."""
        import pyarrow as pa

        which = pa.array(at)
        about = f'","from_name":"{name}","to_name":"steps","type":"{kind}","origin":"{origin}",'
        return joined(marks, '{"id":"s', self.nth.take(which), about, self.region.take(which), *value)

    def labels(
        self, marks: pa.StringArray, at: Ints, words: pa.StringArray, origin: str, *after: _Part
    ) -> pa.StringArray:
        """Labels over these steps."""
        import pyarrow as pa

        value = (',"text":', self.json.take(pa.array(at)), ',"paragraphlabels":["', words, '"]}', *after, "}")
        return self.results(marks, at, "correctness", "paragraphlabels", origin, *value)


def _annotations(found: Traces, steps: _Steps) -> tuple[pa.StringArray, Columns]:
    """One for each row; and how often each word is said of each trace. Of a step the label comes first, then what was written
    about it in the same region.
    """
    import numpy as np
    import pyarrow as pa

    row, step = found.where()
    code = found.codes()
    said = np.flatnonzero(code >= 0)
    words = _strings(WORDS_BY_CODE).take(pa.array(code[said]))
    made: list[_Made] = [(row[said], step[said], lambda marks: steps.labels(marks, step[said], words, "manual"))]
    for name in ("rationale", "better"):
        if name in found.rows.schema.names and found.rows[name].flatten().null_count < len(row):
            made.append(_written(name, found, steps, row, step))
    made.append(_of_traces(found, after=len(steps.trace)))
    of = np.concatenate([rows for rows, *_ in made])
    order = np.lexsort((np.concatenate([places for _, places, _ in made]), of))
    marks = _marks(of[order]).take(pa.array(np.argsort(order)))
    sizes = np.cumsum([0, *(len(rows) for rows, *_ in made)])
    results = [
        make(marks[first:end]) for (*_, make), first, end in zip(made, sizes, sizes[1:], strict=False) if first < end
    ]
    # Where there are labels alone they are in order.
    whole = results[0] if len(results) == 1 else pa.concat_arrays(results or [marks]).take(pa.array(order))
    ends = np.concatenate([[0], np.cumsum(np.bincount(of, minlength=found.rows.num_rows))])
    trace, n = steps.trace[step[said]], len(found.ends) - 1
    counts = {word: np.bincount(trace[code[said] == i], minlength=n) for i, word in enumerate(WORDS_BY_CODE)}
    trace_of = np.repeat(np.arange(n), np.diff(found.ends))
    return joined(_marks(trace_of), _annotation_heads(found.rows), _listed(whole, ends), "]}"), counts


def _written(name: str, found: Traces, steps: _Steps, row: Ints, step: Ints) -> _Made:
    """What was written about steps, with the rows and the steps."""
    import numpy as np
    import pyarrow as pa

    texts = found.rows[name].flatten()
    at = np.flatnonzero(texts.is_valid().to_numpy(zero_copy_only=False))
    value = (',"text":[', as_json(texts.take(pa.array(at))), "]}}")
    return row[at], step[at], lambda marks: steps.results(marks, step[at], name, "textarea", "manual", *value)


def _of_traces(found: Traces, after: int) -> _Made:
    """Verdicts and notes, with their rows; their place is after the results of all steps."""
    import numpy as np

    def result(name: str, kind: str, value: Row) -> bytes:
        return _json(
            {"id": name, "from_name": name, "to_name": "prompt", "type": kind, "origin": "manual", "value": value}
        )

    verdicts = {value: result("verdict", "choices", {"choices": [word]}) for value, word in WORDS.items()}
    made: list[tuple[int, bytes]] = []
    said = zip(*(found.rows[name].to_pylist() for name in ("verdict", "note")), strict=True)
    for i, (verdict, note) in enumerate(said):
        if verdict is not None:
            made.append((i, verdicts[verdict]))
        if note:
            made.append((i, result("note", "textarea", {"text": [note]})))
    whole = _strings(text for _, text in made)
    return np.array([i for i, _ in made], np.int64), np.full(len(made), after), lambda marks: joined(marks, whole)


def _annotation_heads(rows: pa.RecordBatch) -> pa.StringArray:
    """Of each annotation what stands before its results."""
    names = [name for name in ("assignment_id", "rater_id", "submitted_at", "spent_ms") if name in rows.schema.names]
    made = []
    for row in rows.select(names).to_pylist():
        spent = row.get("spent_ms")
        head = {
            "unique_id": row["assignment_id"], "completed_by": {"email": row["rater_id"]}, "created_at": row["submitted_at"],
            "lead_time": None if spent is None else spent / 1000, "was_cancelled": False, "ground_truth": False,
        }  # fmt: skip
        made.append(_json(head)[:-1] + b',"result":')
    return _strings(made)


def _predictions(firsts: pa.RecordBatch, steps: _Steps) -> tuple[pa.StringArray, Ints]:
    """What a model's scores say of the steps, and how many predictions that are; a prediction's `score` is that of the least
    sure step, because tasks are sorted by it.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    n = firsts.num_rows
    found = suggestions(firsts, steps.trace)
    if not found:
        return _strings(["[]"] * n), np.zeros(n, np.int64)
    words, scores, agents = found.values()
    at = np.flatnonzero(words.is_valid().to_numpy(zero_copy_only=False))
    trace, kept = steps.trace[at], pa.array(at)
    score = scores.take(kept).cast(pa.string())
    results = steps.labels(_marks(trace), at, words.take(kept), "prediction", ',"score":', score)
    counts = np.bincount(trace, minlength=n)
    ends = np.concatenate([[0], np.cumsum(counts)])
    least = np.full(n, np.inf)
    np.minimum.at(least, trace, scores.take(kept).to_numpy(zero_copy_only=False))
    by = np.zeros(n, np.int64)
    by[trace] = at  # one of its steps knows the model
    models = agents.take(pa.array(by, mask=counts == 0)).to_pylist()
    heads = _strings(b"[" + _json({"model_version": name})[:-1] for name in models)
    made = joined(heads, ',"score":', pa.array(least).cast(pa.string()), ',"result":', _listed(results, ends), "]}]")
    if not counts.all():
        made = pc.if_else(pa.array(counts > 0), made, "[]")
    return made, (counts > 0).astype(np.int64)


def _utf16(texts: pa.StringArray) -> pa.Array:
    """Lengths in UTF-16 units, which is what a browser counts."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if np.any(np.frombuffer(utf8(texts), np.uint8) >= 0xF0):  # characters of four bytes: these alone have two units
        return pa.array([len(text.encode("utf-16-le")) // 2 for text in texts.to_pylist()])
    return pc.utf8_length(texts)


def _json(value: Any) -> bytes:
    import orjson

    return orjson.dumps(value)


def _strings(values: Iterable[bytes | str]) -> pa.StringArray:
    """UTF-8, or texts; each one line to every reader."""
    import pyarrow as pa

    made = pa.array(list(values), pa.binary())
    if has_line_breaks(utf8(made)):
        made = pa.array(map(one_line, made.to_pylist()), pa.binary())
    return made.view(pa.string())


def _marks(of: Ints) -> pa.StringArray:
    """What stands before each item of lists that stand one after the other; `of` is the list of each."""
    import numpy as np
    import pyarrow as pa

    return pa.array([",", "["]).take(pa.array((np.diff(of, prepend=-1) != 0).astype(np.int8)))


def _listed(items: pa.StringArray, ends: Ints) -> pa.StringArray:
    """Items with their marks as lists that are yet open, each up to its end: the same bytes, of which nothing is copied."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    _, offsets, data = items.buffers()
    starts = np.frombuffer(offsets, np.int32)[items.offset : items.offset + len(items) + 1]
    lists = pa.StringArray.from_buffers(len(ends) - 1, pa.py_buffer(starts[ends]), data)
    return pc.if_else(pc.equal(lists, ""), "[", lists) if (np.diff(ends) == 0).any() else lists


@contextmanager
def save(
    snapshot: Snapshot, options: LabelStudioOptions, work: Path, sums: Sums
) -> Iterator[Callable[[pa.RecordBatch], None]]:
    """One JSON list, a task a line, and the labelling configuration."""
    with summed(work / TASKS, sums) as write:
        write(b"[\n")
        before = 1  # the first task follows no comma

        def tasks(batch: pa.RecordBatch) -> None:
            nonlocal before
            write(utf8(batch["task"])[before:])
            before = 0

        with aside(tasks) as put:
            yield put
        write(b"]\n")
    (work / CONFIG).write_text(LABEL_CONFIG, encoding="utf-8")


def shown(batch: pa.RecordBatch) -> list[Row]:
    """The tasks as they will be written."""
    import orjson

    return [orjson.loads(task[1:]) for task in batch["task"].to_pylist()]


def look(at: Looking) -> Plan:
    """How many tasks, annotations and labels."""
    import pyarrow.compute as pc

    plan = Plan(histogram=dict.fromkeys((*WORDS.values(), UNSURE), 0))
    annotations = predictions = 0
    people: set[str] = set()
    for batch in at.made:
        plan.rows += batch.num_rows
        annotations += len(batch["raters"].flatten())
        predictions += pc.sum(batch["predictions"]).as_py()
        people.update(batch["raters"].flatten().unique().to_pylist())
        for word in plan.histogram:
            plan.histogram[word] += pc.sum(batch[word]).as_py()
    plan.figures = {"annotations": annotations, "annotators": len(people), "predictions": predictions}
    plan.warnings += alone_warning(at.left.pop(ALONE, 0), "tasks")
    if not plan.rows:
        plan.warnings.append("There is no task to write: nothing of this snapshot is left by the policies above.")
    strangers = sorted(name for name in people if "@" not in name)
    if strangers:
        plan.warnings.append(
            f"{len(strangers)} of {len(people)} raters have no email address for a name ({', '.join(strangers[:3])}): Label Studio "
            "takes annotations only of people whom it knows by their email; remove completed_by to import them as your own."
        )
    return plan


FORMAT = Format(
    name="label_studio",
    summary="Label Studio's tasks with the annotations of all raters, and the configuration to show them.",
    options=LabelStudioOptions,
    uses=("min_raters", "adjudicated", "gold", "split"),
    choices={},
    schema=schema,
    rows=rows,
    look=look,
    columns={
        "data": "history (what was said before a later turn), prompt, steps (name and text of each), answer, and where the task comes from",
        "annotations": "one for each rater: completed_by, created_at, lead_time in seconds, result",
        "predictions": "what a model's scores say of the steps, where one scored them: model_version, score (of its least sure step), "
        "result (each with its own score)",
    },
    cannot=(
        "which bad step was marked as the first error; spans, error types, severity, recoveries, tags",
        "judgements of backtracks and corrections of the tree; the response after the steps but for its answer",
    ),
    save=save,
    shown=shown,
    files=(TASKS, CONFIG),
)
