"""A name with settings as text, `beam width=4` or `judge model='my model'`, and back: how commands, plans and logs say it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping


def read(text: str, what: str, example: str) -> tuple[str, dict[str, str]]:
    """The name and its settings, as they stand. what: "strategy". Raises ValueError with a sentence."""
    try:
        name, *words = shlex.split(text) or [""]
    except ValueError as error:
        raise ValueError(f"{what} {text[:100]!r} cannot be read ({error}); close the quotation mark") from None
    settings = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f'{what} "{text[:100]}": "{word[:100]}" is not NAME=VALUE, as in "{example}"')
        settings[key] = value
    return name, settings


def written(name: str, settings: Mapping[str, str]) -> str:
    return " ".join([name, *(f"{key}={shlex.quote(value)}" for key, value in settings.items())])
