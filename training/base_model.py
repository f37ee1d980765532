"""Where a job's weights begin: the pocket model or a folder. Makes sure that the step separator is one token.

Knows nothing of rows, losses or jobs.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from core.pocket import POCKET
from core.pretrained import WeightsError, library
from core.pretrained import load_weights as read_weights
from core.scoring.encoding import SEPARATOR
from training.run_folder import JobError


def base_folder(base: str) -> Path:
    """The folder of a base model. Raises JobError with a sentence."""
    if base == POCKET:
        from core.pocket import model_dir

        try:
            folder = model_dir()
        except FileNotFoundError as error:
            raise JobError(str(error)) from error
    else:
        folder = Path(base).expanduser()
    if not (folder / "config.json").is_file():
        raise JobError(
            f'base = "{base}" is not a folder with a model ({folder / "config.json"} is missing). '
            'Use "pocket" or such a folder.'
        )
    return folder


def weights_sha256(folder: Path) -> str:
    """One SHA-256 over all safetensors of a model, for lineage."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def load_weights(auto: str, folder: Path, **options: Any) -> Any:
    """See `core.pretrained.load_weights`; in single precision, which training needs. Raises JobError."""
    import torch

    try:
        return read_weights(auto, folder, dtype=torch.float32, **options)
    except WeightsError as error:
        raise JobError(str(error)) from error


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer, with the step separator added where the base model has none."""
    from tokenizers import AddedToken

    tokenizer = library().AutoTokenizer.from_pretrained(folder)
    if SEPARATOR not in tokenizer.get_vocab():
        tokenizer.add_tokens([AddedToken(SEPARATOR, special=False, normalized=False)])
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def fit_vocabulary(model: Any, tokenizer: Any) -> None:
    """Room for added tokens, which start as the mean of the others: never drawn, for a resumed job must start alike.

    Never shrinks the vocabulary.
    """
    import torch

    old = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > old:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        with torch.no_grad():
            for table in filter(None, (model.get_input_embeddings(), model.get_output_embeddings())):
                table.weight[old:] = table.weight[:old].mean(dim=0)


def save_model(model: Any, tokenizer: Any, folder: Path) -> None:
    """Weights and tokenizer; the folder appears only when it is whole."""
    import shutil

    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
