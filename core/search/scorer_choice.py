"""A scorer as it is chosen: a name, and settings where it has any, as text: `judge model=qwen3-32b samples=4`.

That text is what logs, plans and labels say, so that the same scorer is made again from it. Knows no model: whether there is one of that
name is for whoever makes the scorer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from core.search import words
from core.search.base import param
from core.search.strategies import check_param


@dataclass(frozen=True)
class JudgeSettings:
    """Of a language model that writes critiques."""

    model: str = param("", "The model that judges.", needed=True)
    samples: int = param(4, "Critiques of each text; a score is the share that finds it right.", least=1, most=64)
    max_tokens: int = param(2048, "Most tokens of a critique.", least=1, most=100_000)


@dataclass(frozen=True)
class ServedSettings:
    """Of a process reward model behind a vLLM server."""

    endpoint: str = param("", "Address of the server, such as http://127.0.0.1:8000/v1.", needed=True)
    model: str = param("", "The reward model's name there.", needed=True)
    folder: str = param(
        "", "The same model on this machine, for its tokenizer and size: a folder or a job's id; empty: its name there."
    )


@dataclass(frozen=True)
class RolloutSettings:
    """Of the model's own completions."""

    k: int = param(8, "Completions of each text.", least=1, most=256)
    max_tokens: int = param(3500, "Most tokens of a completion.", least=1, most=100_000)


SETTINGS: dict[str, type[Any]] = {"judge": JudgeSettings, "served-prm": ServedSettings, "rollouts": RolloutSettings}


@dataclass(frozen=True)
class ScorerChoice:
    """`settings`: those that are not as they come. A name that has none (a job's id, a folder) is taken as it stands."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, said: Any) -> ScorerChoice:
        """From text such as `judge model=qwen3 samples=4`, or `{"name": "judge", "params": {"model": "qwen3"}}`. Raises ValueError
        naming the setting and what it takes."""
        if isinstance(said, str):
            name = said.strip().partition(" ")[0]
            if name not in SETTINGS:
                return cls(said.strip())
            given: Mapping[str, Any] = _read(name, said.strip())
        elif isinstance(said, Mapping) and isinstance(said.get("name"), str) and not set(said) - {"name", "params"}:
            name, given = said["name"].strip(), said.get("params", {})
            if not isinstance(given, Mapping):
                raise ValueError(f'scorer {name}: "params" is {str(given)[:60]!r}; it must be an object')
        else:
            raise ValueError(
                f'a scorer is text such as "judge model=NAME", or has "name" and "params"; this is {str(said)[:80]!r}'
            )
        there = {f.name: f for f in fields(SETTINGS[name])} if name in SETTINGS else {}
        for key, value in given.items():
            if key not in there:
                raise ValueError(
                    f'scorer {name[:100]} has no setting "{str(key)[:60]}"; it takes {", ".join(there) or "none"}'
                )
            check_param(f"scorer {name}", key, value, there[key])
        settings = {
            key: given[key].strip() if isinstance(given[key], str) else given[key] for key in there if key in given
        }
        for f in there.values():
            if f.metadata["needed"] and not settings.get(f.name):
                raise ValueError(
                    f'scorer {name}: "{f.name}" is missing. {f.metadata["help"]} As text: {name} {f.name}=…'
                )
        return cls(name, {key: value for key, value in settings.items() if value != there[key].default})

    def all(self) -> Any:
        """Its settings, those that are as they come included."""
        return SETTINGS[self.name](**self.settings)

    def __str__(self) -> str:
        return words.written(self.name, {key: str(value) for key, value in self.settings.items()})


def _read(name: str, text: str) -> dict[str, Any]:
    kinds = {f.name: type(f.default) for f in fields(SETTINGS[name])}
    _, settings = words.read(text, "scorer", f"{name} {next(iter(kinds))}=…")
    # What is no whole number is left as it is, and refused by name with the other settings.
    return {
        key: int(value) if kinds.get(key) is int and re.fullmatch("-?[0-9]{1,12}", value) else value
        for key, value in settings.items()
    }
