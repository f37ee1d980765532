"""The pocket model that ships with the package: weights, tokenizer and card are in `model/`."""

from __future__ import annotations

from pathlib import Path

POCKET = "pocket"  # its name, and its id where models are chosen


def model_dir() -> Path:
    """The folder of the shipped model. Raises FileNotFoundError with the mend when it is not there."""
    folder = Path(__file__).parent / "model"
    if not (folder / "model.safetensors").exists():
        raise FileNotFoundError(
            f"The pocket model is missing from {folder}: install the package again, or run `worldline pocket train`."
        )
    return folder
