"""From text to steps: one streaming parser a family, one file each."""

from __future__ import annotations

from core.formats import steiner
from core.trace import Placed, Step
from core.tree import build


def parse_response(
    prompt: str, response: str, finish_reason: str = "stop"
) -> tuple[list[Step], list[Placed], str, str]:
    """Cut a finished response into steps and place them: (steps, nodes, answer, format).

    A response in a format that is not known becomes one step that holds everything, so that nothing is lost.
    """
    if not steiner.detect(response):
        step = Step(0, 0, len(response), thought=response, decision="finish" if finish_reason == "stop" else None)
        return ([step] if response else []), build(prompt, [step] if response else []), "", "plain"
    parser = steiner.SteinerParser()
    parser.feed(response)
    parser.close()
    return parser.steps, build(prompt, parser.steps), parser.answer, parser.name
