"""Models from folders by the transformers library: imported whole, read whole, and without its tables on the terminal."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any


class WeightsError(ValueError):
    """A sentence: why the weights in a folder are not those of the model that was asked for."""


def library() -> Any:
    """The module `transformers`, also while another thread is importing it, and without progress bars.

    The library puts another module in its place at the end of its import. A thread that waited for that import has the old one, which
    lacks everything ("cannot import name AutoTokenizer"); the one that is found afterwards is whole.
    """
    import transformers  # noqa: F401

    whole = sys.modules["transformers"]
    whole.utils.logging.disable_progress_bar()
    return whole


def load_weights(auto: str, folder: Path, *, fresh_head: bool = False, **options: Any) -> Any:
    """The model in `folder`, read by the library's class `auto`, such as "AutoModelForCausalLM".

    Every weight of that class must be in the folder; with `fresh_head`, what is no part of the body may be missing and starts at
    random. The library itself starts whatever is missing at random, and says so in a table on the terminal. Raises WeightsError.
    """
    from safetensors import SafetensorError

    logging.getLogger("transformers.modeling_utils").addFilter(_no_table)
    try:
        model, found = getattr(library(), auto).from_pretrained(
            folder, output_loading_info=True, ignore_mismatched_sizes=True, **options
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise WeightsError(f"The weights in {folder} could not be read: {error}") from error
    body = f"{model.base_model_prefix}."
    missing = sorted(name for name in found["missing_keys"] if not fresh_head or name.startswith(body))
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise WeightsError(
            f"The weights in {folder} are not those of a {type(model).__name__}: {', '.join(missing[:3])}{more} missing. "
            "Name the folder of such a model, saved whole."
        )
    for name, there, wanted in sorted(found["mismatched_keys"]):
        raise WeightsError(
            f"The weights in {folder} do not fit its config.json: {name} has the shape {tuple(there)} and should have {tuple(wanted)}."
        )
    return model


def _no_table(record: logging.LogRecord) -> bool:
    return "LOAD REPORT" not in record.getMessage()
