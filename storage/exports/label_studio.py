"""Label Studio's tasks: `tasks.json` to import into a project, and `label_config.xml` that shows them as they were rated.

A task is a trace: the question as Text, the steps as Paragraphs, and so what was said before a later turn. An annotation is
one rater: a label over a paragraph for every rated step, a choice for the verdict, text for rationales, better steps and the
note. `completed_by` holds the rater's name as an email, as Label Studio wants it: only people with such an address in its
project are taken; remove the key otherwise. What a model scored is a prediction, never an annotation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.exports.argilla import SCORED, UNSURE, WORDS, agent, suggested
from storage.exports.history import ALONE, Histories, alone_warning, told
from storage.exports.labels import groups
from storage.exports.policies import Policies
from storage.exports.writing import Format, Looking, Plan, Row, json_lines
from storage.snapshots import Snapshot

if TYPE_CHECKING:
    import pyarrow as pa

TASKS, CONFIG = "tasks.json", "label_config.xml"
READ = (
    "trace_id", "problem_id", "prompt", "earlier", "response", "answer", "model", "rater_id", "assignment_id", "segmentation_id",
    "step_text", "rating", "unsure", "first_error", "span", "step_start", "rationale", "better", "verdict", "note", "spent_ms",
    "split", "submitted_at", *SCORED,
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
    raise AssertionError("tasks are JSON: their results differ in shape, which no table has")


def rows(snapshot: Snapshot, options: LabelStudioOptions, left: Counter[str]) -> Iterator[Row]:
    """The tasks, one a trace."""
    histories = Histories.of(snapshot)
    for number, group in enumerate(groups(snapshot, options, READ, left), start=1):
        first = group[0]
        yield {
            "id": number,
            "data": {
                **told({"history": histories.before(first.get("earlier"), first["prompt"])}, left),
                "prompt": first["prompt"],
                "steps": [{"name": f"step {i}", "text": text} for i, text in enumerate(first["step_text"])],
                "answer": first["answer"], "model": first["model"], "trace_id": first["trace_id"],
                "problem_id": first["problem_id"], "step_gap": "", "split": first["split"],
                "snapshot_id": snapshot.snapshot_id,
            },
            "annotations": [_annotation(row) for row in group],
            "predictions": _predictions(first),
        }  # fmt: skip


def _annotation(row: Row) -> Row:
    results = [result for i in range(len(row["step_text"])) for result in _of_step(row, i)]
    if row["verdict"] is not None:
        results.append(_whole("verdict", "choices", {"choices": [WORDS[row["verdict"]]]}))
    if row["note"]:
        results.append(_whole("note", "textarea", {"text": [row["note"]]}))
    spent = row.get("spent_ms")
    return {
        "unique_id": row["assignment_id"], "completed_by": {"email": row["rater_id"]}, "created_at": row["submitted_at"],
        "lead_time": None if spent is None else spent / 1000, "was_cancelled": False, "ground_truth": False,
        "result": results,
    }  # fmt: skip


def _predictions(row: Row) -> list[Row]:
    """What a model's scores say of the steps; its `score` is that of the least sure, because tasks are sorted by it."""
    found = [suggested(row, i) for i in range(len(row["step_text"]))]
    results = [
        {**_label(i, row["step_text"][i], said[0]), "origin": "prediction", "score": said[1]}
        for i, said in enumerate(found) if said
    ]  # fmt: skip
    if not results:
        return []
    return [{"model_version": agent(row), "score": min(r["score"] for r in results), "result": results}]


def _of_step(row: Row, i: int) -> Iterator[Row]:
    """The label over a step, and what was written about it in the same region."""
    value = row["rating"][i]
    word = WORDS[value] if value is not None else UNSURE if row["unsure"][i] else None
    written = {name: row[name][i] for name in ("rationale", "better") if row.get(name) and row[name][i] is not None}
    if word is None and not written:
        return
    text = row["step_text"][i]
    if word is not None:
        yield _label(i, text, word)
    for name, said in written.items():
        yield _result(f"s{i}", name, "steps", "textarea", {**_region(i, text), "text": [said]})


def _label(i: int, text: str, word: str) -> Row:
    value = {**_region(i, text), "text": text, "paragraphlabels": [word]}
    return _result(f"s{i}", "correctness", "steps", "paragraphlabels", value)


def _region(i: int, text: str) -> Row:
    return {"start": str(i), "end": str(i), "startOffset": 0, "endOffset": _utf16(text)}


def _whole(name: str, kind: str, value: Row) -> Row:
    return _result(name, name, "prompt", kind, value)


def _result(region: str, name: str, to: str, kind: str, value: Row) -> Row:
    return {"id": region, "from_name": name, "to_name": to, "type": kind, "origin": "manual", "value": value}


def _utf16(text: str) -> int:
    """Length in UTF-16 units, which is what a browser counts."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


@contextmanager
def save(snapshot: Snapshot, options: LabelStudioOptions, work: Path) -> Iterator[Callable[[Row], None]]:
    """One JSON list, a task a line, and the labelling configuration."""
    with (work / TASKS).open("wb") as file:
        before = b"[\n"

        def put(task: Row) -> None:
            nonlocal before
            file.write(before + json_lines([task]))
            before = b","

        yield put
        file.write(b"]\n")
    (work / CONFIG).write_text(LABEL_CONFIG, encoding="utf-8")


def look(at: Looking) -> Plan:
    """How many tasks, annotations and labels."""
    plan = Plan(histogram=dict.fromkeys((*WORDS.values(), UNSURE), 0))
    annotations = predictions = 0
    people: set[str] = set()
    for task in at.made:
        plan.rows += 1
        annotations += len(task["annotations"])
        predictions += len(task["predictions"])
        for annotation in task["annotations"]:
            people.add(annotation["completed_by"]["email"])
            for result in annotation["result"]:
                if result["from_name"] == "correctness":
                    plan.histogram[result["value"]["paragraphlabels"][0]] += 1
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
    files=(TASKS, CONFIG),
)
