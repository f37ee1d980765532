"""Steiner's first stage: cut a reasoning path at random, hide the answer, let a model go on, reveal the answer, obtain the turn back.

    kept (a prefix of a path) + astray (what the model wrote without the answer) + the turn back + what it writes knowing the answer

Only what ends right is kept, and only where the part in the middle went wrong: otherwise there is nothing to turn back from. Ji
2024 describes the stage; his prompts were not published, so the wording here is ours. Any engine may be the strong
model; the trace says which it was.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from core.engines.base import Bounds, Engine, EngineError, Sampling
from core.formats import steiner_tokens as t
from core.run import TraceReader, run_trace
from core.trace import Problem, Trace
from training.labels.rollouts import Check

REVEALED = "{prompt}\n\nThe correct answer is {answer}. Where the reasoning so far went wrong, go back and mend it."
AT_ONCE = 16
MARKS = {"steiner": t.BACKTRACK, "think": "\n\nWait, that is not right. Let me go back. "}


@dataclass
class Made:
    """What came of a run: how many traces, why other attempts were left out, and the last thing that an engine could not do."""

    traces: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    error: str = ""

    def drop(self, why: str) -> None:
        self.left_out[why] = self.left_out.get(why, 0) + 1


@dataclass(frozen=True)
class How:
    """Settings. astray_steps: the model may go wrong for so many steps before the answer is revealed. hint: whether the
    strong model reads the answer in the question (a model of one fixed wording, as the pocket model, cannot).

    lost: where the task has an oracle, says of a trace and a step whether nothing can come of it any more. The model then goes on for
    `astray_steps` only, and there is a turn back only from what is truly lost. Without it the model writes to its end,
    and its end must be wrong.
    """

    sampling: Sampling = field(default_factory=Sampling)
    bounds: Bounds = field(default_factory=Bounds)
    astray_steps: int = 3
    attempts: int = 4
    hint: bool = True
    lost: Callable[[Trace, int], bool] | None = None


@dataclass(frozen=True)
class Task:
    """One attempt: a trace that ends right, its reference answer, and what says whether another answer is right."""

    path: Trace
    answer: str
    check: Check
    how: How


async def turn_backs(
    engine: Engine, tasks: Sequence[Task], keep: Callable[[Trace], str], *, at_once: int = AT_ONCE, seed: int = 0,
    progress: Callable[[int], None] = lambda done: None,
) -> Made:  # fmt: skip
    """One attempt a task, `at_once` in flight. `keep` takes a trace as soon as it is there, and says why it does not, or "".

    A task that the engine fails is left out like others, so that what has been made stays.
    """
    made, gate = Made(), asyncio.Semaphore(at_once)
    done = 0

    async def one(i: int, task: Task) -> None:
        nonlocal done
        async with gate:
            try:
                found = await _turn_back(engine, task, random.Random(f"{seed}/{i}"))
            except EngineError as error:
                made.error, found = str(error), "the model could not be asked"
        why = found if isinstance(found, str) else keep(found)
        if why:
            made.drop(why)
        else:
            made.traces += 1
        done += 1
        progress(done)

    await asyncio.gather(*(one(i, task) for i, task in enumerate(tasks)))
    return made


async def _turn_back(engine: Engine, task: Task, rng: random.Random) -> Trace | str:
    """The trace, or why there is none."""
    path, answer, check, how = task.path, task.answer, task.check, task.how
    mark = MARKS.get(path.format)
    if mark is None:
        return f"format {path.format} has no way to turn back"
    if len(path.steps) < 2:
        return "fewer than two steps"
    cut = rng.randrange(len(path.steps) - 1)  # the last step kept; the step that ends the path never is
    kept = path.response[: path.steps[cut].end]
    # 1. Without the answer.
    short = how if how.lost is None else replace(how, bounds=Bounds(0, cut + 1 + how.astray_steps))
    astray = await _go_on(engine, path, kept, short, rng, path.prompt)
    if await asyncio.to_thread(check, astray) is True:
        return "right without the answer"
    if how.lost is None and astray.finish_reason != "stop":
        return "did not end without the answer"  # cut off: its steps may all be right
    end = min(len(astray.steps), cut + 1 + how.astray_steps) - 1
    complete = [s for s in astray.steps[: end + 1] if s.complete]
    if len(complete) <= cut + 1:
        return "no step was written without the answer"
    if how.lost is not None and not how.lost(astray, complete[-1].index):
        return "not lost without the answer"
    wrong = astray.response[: complete[-1].end]
    # 2. With it: the same beginning, turned back.
    question = REVEALED.format(prompt=path.prompt, answer=answer) if how.hint else path.prompt
    for _ in range(how.attempts):
        back = await _go_on(engine, path, wrong + mark, how, rng, question)
        told = replace(_read(path, back.response), trace_id=f"{path.trace_id}-back", model=engine.model)
        told = replace(told, finish_reason=back.finish_reason, sampling=back.sampling)
        if back.finish_reason == "stop" and await asyncio.to_thread(check, told) is True:
            where = {"cut": cut, "astray": [cut + 1, complete[-1].index], "revealed": how.hint}
            return replace(told, stats={"turn_back": where})
    return f"not right in {how.attempts} attempts with the answer"


async def _go_on(engine: Engine, path: Trace, prefix: str, how: How, rng: random.Random, question: str) -> Trace:
    done = await run_trace(
        engine, Problem.ask(question), replace(how.sampling, seed=rng.randrange(2**31)), how.bounds, lambda _: None,
        trace_id=path.trace_id, stop=asyncio.Event(), prefix=prefix, format=path.format,
    )  # fmt: skip
    if done.finish_reason == "error":
        raise EngineError(done.error)
    return done


def _read(path: Trace, response: str) -> Trace:
    """A response as the answer to the question as it is asked of a learner: nothing in the trace shows the hint."""
    reader = TraceReader(Problem.ask(path.prompt), path.model, path.trace_id, path.format)
    reader.feed(response)
    reader.close()
    return reader.trace("stop", sampling={}, stats={})
