"""Several raters in one column, as rows made from several people name them: with a + between, which a name may hold too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any


def raters_of(rows: Iterable[Mapping[str, Any]]) -> str:
    """Whose rows these are."""
    return joined(str(row["rater_id"]) for row in rows)


def joined(raters: Iterable[str]) -> str:
    """Names as one text."""
    return _joined(tuple(raters))


@lru_cache(1024)  # the same few people, trace after trace
def _joined(raters: tuple[str, ...]) -> str:
    return "+".join(sorted(name.replace("%", "%25").replace("+", "%2B") for name in raters))


def several(said: str) -> list[str]:
    """The names in it; one without a name where there is none."""
    return [name.replace("%2B", "+").replace("%25", "%") for name in said.split("+")]
