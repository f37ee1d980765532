"""What vLLM does with a request of a search, over HTTP (`completions.py`) as in this process (`vllm_process.py`). Knows neither way."""

from __future__ import annotations

from collections.abc import Container, Sequence

from core.control import xargs
from core.control.bounds import STEP_END
from core.engines.sampling import PieceEnd, Sample, SampleRequest


def bounds(request: SampleRequest, written: Sequence[int], step_end: int) -> dict[str, int] | None:
    """What our control class in vLLM is told, or None: a single step that comes before the last allowed one meets no bound, and need not be
    watched. written: what stands before it; step_end: the token that ends a step."""
    least, most = request.bounds.min_steps, request.bounds.max_steps
    if not least and STEP_END in request.stop and written.count(step_end) < most:
        return None
    return {xargs.MIN: least, xargs.MAX: most, xargs.PREFIX: len(written)}


def piece(
    request: SampleRequest,
    text: str,
    ids: Sequence[int],
    reason: str | None,
    met: str | int | None,
    marks: Container[int],
    insert: tuple[int, ...],
) -> Sample:
    """A continuation as vLLM tells it. reason: why it ended ("stop", "length"); met: the stop text or token that it met, None at the end
    of the answer, and of the tokens too: that the reason tells; marks: the tokens it was to stop at; insert: those of `request.insert`."""
    end: PieceEnd = "eos"
    if reason == "length":
        end = "length"
    elif isinstance(met, str) or met in marks:
        end = "step"
    kept = ids[:-1] if end == "step" and not request.keep_stop else ids
    return Sample(request.insert + text, (*insert, *kept), end, len(ids))


def keeps_end_text(request: SampleRequest, sample: Sample) -> bool:
    """Asked to keep the mark of a step, it keeps the text of the end token too."""
    return sample.end == "eos" and bool(request.stop) and request.keep_stop
