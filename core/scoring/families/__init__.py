"""Process reward models in use elsewhere, one file a family: how each is asked, and where its score is read.

Every family comes down to one number z a position, P(good) = sigmoid(z): the difference of two labels' logits, the
difference of two words' logits, or a value head. So they share batching, windows, aggregation and serving.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.scoring.families import math_shepherd, qwen_prm, rlhflow, separator, skywork, trl
from core.scoring.families.base import Family, FamilyError

# The order in which a folder is tried; what fits several is named by --family.
FAMILIES: tuple[Family, ...] = (
    qwen_prm.FAMILY, skywork.FAMILY, separator.FAMILY, trl.FAMILY, math_shepherd.FAMILY, rlhflow.FAMILY,
)  # fmt: skip


# In config.json: the family of a model that was imported, whatever its folder is called now.
NAMED = "worldline_family"


def named(name: str) -> Family:
    """A family by its name. Raises FamilyError."""
    for family in FAMILIES:
        if family.name == name:
            return family
    raise FamilyError(f'"{name}" is no family of reward models; there are: {", ".join(f.name for f in FAMILIES)}.')


def family_of(folder: Path) -> Family:
    """The family of a model's folder, from its configuration. Raises FamilyError when none fits."""
    config = read_config(folder)
    if isinstance(config.get(NAMED), str):
        return named(config[NAMED])
    for family in FAMILIES:
        if family.fits(config, folder):
            return family
    kind = ", ".join(config.get("architectures") or ["no architecture"])
    raise FamilyError(
        f"{folder} ({kind}) does not say how it scores steps. Name its family (--family): "
        f"{', '.join(f'{f.name} ({f.title})' for f in FAMILIES)}."
    )


def read_config(folder: Path) -> Mapping[str, Any]:
    """A folder's `config.json`. Raises FamilyError."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        within = folder / "model"
        mend = (
            f"Its model is in {within}."
            if within.is_dir()
            else "Train one: worldline train prm. A model behind an endpoint that writes critiques is --family judge."
        )
        raise FamilyError(f"{folder} holds no model (config.json is missing). {mend}") from None
    except (OSError, ValueError) as error:
        raise FamilyError(f"{folder / 'config.json'} cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise FamilyError(f"{folder / 'config.json'} is not an object.")
    return config
