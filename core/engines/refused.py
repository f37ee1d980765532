"""What a server refuses by name, renamed or left out, and remembered: hosted APIs each take their own part of the OpenAI protocol.

OpenAI's reasoning models want `max_completion_tokens` and take no temperature but their own; `transformers serve` and others refuse
the keys that keep special tokens. Each says so in a 400 or 422, one key at a time.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from core.engines.base import Sampling

MOST_TRIES = 6
NEWER_NAMES = {"max_tokens": "max_completion_tokens"}
MAY_BE_LEFT_OUT = ("temperature", "top_p", "seed", "stream_options")
_SAYS_NO = re.compile(
    r"unsupported|not support|does ?n[o']t support|deprecated|only the default|unrecognized|not permitted|not allowed|unexpected",
    re.I,
)


class Refused:
    """What one server was found to refuse for one model: keys, with the name that it wants instead (None: left out)."""

    def __init__(self) -> None:
        self._keys: dict[str, str | None] = {}

    async def asked(
        self, post: Callable[[dict[str, Any]], Awaitable[Any]], body: Mapping[str, Any], extra: Mapping[str, Any]
    ) -> Any:
        """The reply to `body` with `extra` keys, which nobody need know. Raises openai's error where it is of something else."""
        import openai

        keys = dict(self._keys)
        for _ in range(MOST_TRIES):
            sent = _without({**body, **extra}, keys)
            try:
                reply = await post(sent)
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                told = _told(str(error.body or error), sent, extra)
                if not told:
                    raise
                keys |= told
            else:
                self._keys = keys
                return reply
        raise AssertionError("there are fewer keys than tries")

    def sentences(self, sampling: Sampling) -> list[str]:
        """What of the sampling was left out."""
        asked = {"temperature": sampling.temperature, "top_p": sampling.top_p, "seed": sampling.seed}
        return [
            f"This server takes no {key} for this model: {value} was left out, and its own was used."
            for key, value in asked.items()
            if key in self._keys and value is not None
        ]


def _told(message: str, sent: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, str | None]:
    """The keys that a refusal names; where it names none, the extra ones."""
    for key, newer in NEWER_NAMES.items():
        if key in sent and newer in message:
            return {key: newer}
    named = [key for key in MAY_BE_LEFT_OUT if key in sent and re.search(rf"\b{key}\b", message)]
    if named and _SAYS_NO.search(message):
        return dict.fromkeys(named)
    return dict.fromkeys(key for key in extra if key in sent)


def _without(body: Mapping[str, Any], keys: Mapping[str, str | None]) -> dict[str, Any]:
    return {name: value for key, value in body.items() if (name := keys.get(key, key))}
