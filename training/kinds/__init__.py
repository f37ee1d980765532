"""The kinds of training jobs. A new one is a file here, a line here, and a recipe in `training/recipes/`."""

from __future__ import annotations

from training.kind import Kind
from training.kinds import cpt, dpo, orm, prm, rl, sft

KINDS: dict[str, Kind] = {kind.name: kind for kind in (prm.KIND, orm.KIND, sft.KIND, cpt.KIND, dpo.KIND, rl.KIND)}
