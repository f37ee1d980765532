"""What `test_in_process.py` asks of an engine; as a program, of vLLM in this process: prints the answers as JSON in its last line.

    python -m tests.serving.in_process

Runs with the Python of vLLM's environment, so it imports nothing that is not there.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from core.engines.base import Bounds, EngineError, Sampling
from core.engines.sampling import Sample, Sampler, SampleRequest
from core.formats.steiner_tokens import REASONING_END, STEP_END
from core.search.scheduler import Limits, Scheduler, Team
from core.search.scorers import CountdownOracle
from core.search.search import Search
from core.search.strategies import make
from core.trace import Problem

QUESTIONS = ("Reach 24 from 4, 7, 8 and 8.", "Reach 31 from 9, 11 and 12.", "Reach 20 from 4, 5 and 1.")
MARK = (STEP_END,)


def _asked(written: tuple[int, ...] = (), temperature: float = 0, tokens: int = 300, **how: Any) -> SampleRequest:
    return SampleRequest(
        how.pop("prompt", QUESTIONS[0]), written, sampling=Sampling(temperature, 1.0, 3, tokens), **how
    )


def _shown(sample: Sample) -> list[Any]:
    return [sample.text, list(sample.ids), sample.end, sample.tokens]


async def equal(engine: Sampler) -> dict[str, Any]:
    """What every engine must answer alike: greedy texts, ends, sizes."""
    out: dict[str, Any] = {}
    for prompt in QUESTIONS[:2]:
        pieces: list[Sample] = []
        while not pieces or pieces[-1].end == "step":
            written = tuple(i for p in pieces for i in p.ids)
            pieces += (await engine.sample(_asked(written, bounds=Bounds(0, 5), stop=MARK, prompt=prompt))).samples
        out[prompt] = [_shown(p) for p in pieces]
    first = (await engine.sample(_asked(stop=MARK))).samples[0]
    ends = [
        _asked(stop=MARK, tokens=first.tokens), _asked(stop=MARK, tokens=first.tokens - 1), _asked(bounds=Bounds(0, 2)),
        _asked(tokens=60), _asked(tokens=20, insert=REASONING_END),
        _asked(bounds=Bounds(0, 2), stop=(REASONING_END,), keep_stop=False),
    ]  # fmt: skip
    out["ends"] = [[_shown(s) for s in (await engine.sample(request)).samples] for request in ends]
    marks, size = await engine.marks(), await engine.size()
    out["about"] = [marks.step_end, marks.thinking_end, marks.wait, size.parameters if size else None]
    return out


async def drawn(engine: Any) -> dict[str, Any]:
    """What only vLLM in this process is asked."""
    four = await engine.sample(_asked(temperature=1, n=4, tokens=60))
    again = await engine.sample(_asked(temperature=1, n=4, tokens=60))
    twice = await engine.sample(_asked(tokens=60, n=2))
    known = await engine.sample(_asked(four.samples[0].ids, tokens=5))
    task = asyncio.create_task(engine.sample(_asked(temperature=1, n=8, tokens=3500, bounds=Bounds(300, 300))))
    await asyncio.sleep(1)
    over = task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    llm = (await engine._load()).llm
    for _ in range(100):
        if not llm.get_num_unfinished_requests():
            break
        await asyncio.sleep(0.1)
    marks, scheduler = await engine.marks(), Scheduler()
    searches = [
        Search(Problem.ask(q), make("beam", {"width": 2, "branch": 2, "max_depth": 4}), seed=i, marks=marks)
        for i, q in enumerate(QUESTIONS)
    ]
    team = Team(engine, CountdownOracle())
    await asyncio.gather(*(scheduler.run(s, team, limits=Limits(max_tokens=1000)) for s in searches))
    return {
        "texts": len({s.ids for s in four.samples}), "repeats": four.samples == again.samples,
        "greedy": [s.tokens for s in twice.samples], "cached": [known.cached_tokens, known.prompt_tokens], "over": over, "left": llm.get_num_unfinished_requests(),
        "searches": [[s.reason, s.spent.generated, s.spent.flops > 0] for s in searches],
    }  # fmt: skip


async def _main() -> None:
    from core.engines.vllm_process import VllmInProcess
    from core.pocket import model_dir

    missing = VllmInProcess("/no/such/model")
    try:
        await missing.marks()
        refused = ""
    except EngineError as error:
        refused = str(error)
    engine = VllmInProcess(model_dir(), "pocket", enforce_eager=True, distributed_executor_backend="uni")
    try:
        answers = {"equal": await equal(engine), "drawn": await drawn(engine), "refused": refused}
    finally:
        await engine.close()
    print("\n" + json.dumps(answers))


if __name__ == "__main__":
    asyncio.run(_main())
