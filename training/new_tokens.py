"""New tokens: described, begun from their description, and proved to be all that moved where nothing else should.

A token's first rows (embedding and output head) are the means of the rows of its description's tokens, after
LLaMA-Factory's `desc_init`; a mean over the whole vocabulary where the tokenizer knows none of these words. Tokens are added
as ordinary ones (`special=False`), so that no server or decoder strips them. With LoRA the tables are frozen but for the new
rows, under a gradient mask; AdamW moves nothing whose gradient is always zero. After training `prove` reads the *saved*
tables back and compares them with the first ones bit by bit. Knows a model's two tables; knows no data format and no loop.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.base_model import fit_vocabulary
from training.recipe import RECIPES, RecipeError
from training.rows import IGNORE, TokenRow
from training.run_folder import JobError

SHIPPED = RECIPES / "tokens"
# Ids that an error names before it says how many more there are.
NAMED = 5


@dataclass(frozen=True)
class Tables:
    """Copies of the embedding and of the output head (None where both are one), (V, d) on the CPU."""

    embedding: Any
    head: Any | None


def shipped() -> list[str]:
    """Names that `new_tokens` takes beside files."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def token_files(sources: Sequence[str]) -> list[Path]:
    """The files of a recipe's `new_tokens` that are not shipped. Raises RecipeError for one that is not there."""
    return [_file(source) for source in sources if source not in shipped()]


def _file(source: str) -> Path:
    path = SHIPPED / f"{source}.toml" if source in shipped() else Path(source).expanduser()
    if not path.is_file():
        raise RecipeError(f'new_tokens: "{source}" is neither a shipped list ({", ".join(shipped())}) nor a file.')
    return path


def read_descriptions(sources: Sequence[str]) -> dict[str, str]:
    """Token → description from TOML files (or shipped ones by name). Raises RecipeError naming file, token and mend."""
    found: dict[str, str] = {}
    for source in sources:
        path = _file(source)
        try:
            read = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise RecipeError(f"{path} cannot be read as TOML: {error}.") from error
        for token, description in read.items():
            if not isinstance(description, str) or not description.strip() or not token.strip():
                raise RecipeError(f'{path}: "{token}" needs a description: "{token}" = "what it means".')
            if found.setdefault(token, description) != description:
                raise RecipeError(f'{path}: "{token}" has another description in another file of new_tokens. Keep one.')
    return found


def add_to_tokenizer(tokenizer: Any, descriptions: dict[str, str]) -> dict[int, str]:
    """Add what the tokenizer does not know yet; id → description of these."""
    from tokenizers import AddedToken

    known = tokenizer.get_vocab()
    unknown = {token: words for token, words in descriptions.items() if token not in known}
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in unknown])
    return {tokenizer.convert_tokens_to_ids(token): words for token, words in unknown.items()}


def place(model: Any, tokenizer: Any, new: dict[int, str]) -> list[str]:
    """Room for the tokens, and their first rows. Returns the new tokens whose description says nothing to the tokenizer."""
    import torch

    old = model.get_input_embeddings().num_embeddings
    fit_vocabulary(model, tokenizer)
    unsaid = []
    # Rows that a description may stand on: those of the base model, and no other new token's.
    known = [i for i in range(min(old, len(tokenizer))) if i not in new]
    with torch.no_grad():
        tables = _weights(model)
        means = [table[known].mean(dim=0) for table in tables]
        for token, words in new.items():
            ids = [i for i in tokenizer(words, add_special_tokens=False).input_ids if i != tokenizer.unk_token_id]
            ids = [i for i in ids if i not in new]
            if not ids:
                unsaid.append(tokenizer.convert_ids_to_tokens(token))
            for table, mean in zip(tables, means, strict=True):
                table[token] = table[ids].mean(dim=0) if ids else mean
    return unsaid


def train_rows_alone(model: Any, ids: Collection[int]) -> None:
    """Of the tables (frozen until now) train these rows: all other gradients become zero before anybody sees them."""
    import torch

    for table in _weights(model):
        mask = torch.zeros(table.shape[0], 1, dtype=table.dtype)
        mask[sorted(ids)] = 1.0
        table.requires_grad_(True)
        # The gradient may be on a device that the model is moved to later.
        table.register_hook(lambda gradient, mask=mask: gradient * mask.to(gradient))


def first_tables(model: Any) -> Tables:
    """What `prove` compares with: to be called when the rows are placed, before anything is trained."""
    tables = [table.detach().cpu().clone() for table in _weights(model)]
    return Tables(tables[0], tables[1] if len(tables) > 1 else None)


def saved_tables(model: Any, folder: Path) -> Tables:
    """The same two tables as they lie on the disk."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    tables = [_read_tensor(folder, names[id(table)]) for table in _weights(model)]
    return Tables(tables[0], tables[1] if len(tables) > 1 else None)


def moved(before: Any, after: Any) -> set[int]:
    """Rows that differ in any bit of their value."""
    return set((before != after).any(dim=1).nonzero().flatten().tolist())


def prove(
    before: Tables, after: Tables, rows: Iterable[TokenRow], new: Collection[int], *, alone: bool, decays: bool,
    padding: int | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Figures of which rows moved. Raises JobError when a row moved that must not have, or a new one did not.

    alone: only new rows may have moved (LoRA). Otherwise all rows of the head may (every logit is in every loss), and of
    an embedding of its own those of tokens that were read (all of them, where weight decay reaches the others).
    A new row must have moved in the embedding where the token was read before something learned, in the head where it
    was itself learned; where both are one table, in either case.
    """
    new = set(new)
    read: set[int] = set()
    learned: set[int] = set()
    seen: set[int] = set()
    for row in rows:
        seen.update(row.ids)
        targets = [t for t in range(1, len(row.ids)) if row.labels[t] != IGNORE]
        if targets:
            read.update(row.ids[: targets[-1]])
            learned.update(row.ids[t] for t in targets)
    read.discard(-1 if padding is None else padding)  # its embedding gets no gradient
    shared = before.head is None
    everything = set(range(len(after.embedding)))
    checks = [
        (
            "embedding", before.embedding, after.embedding, (read | learned if shared else read) & new,
            new if alone else everything if shared or decays else seen,
        )
    ]  # fmt: skip
    if before.head is not None:
        checks.append(("head", before.head, after.head, learned & new, new if alone else everything))
    figures: dict[str, Any] = {"n_new_tokens": len(new)}
    for name, first, last, must, may in checks:
        found = moved(first, last)
        if found - may:
            raise JobError(
                f"{len(found - may)} rows of the {name} moved that must not have: tokens {_some(found - may)}. The model is "
                "not what the recipe says, so do not use it; please report it with this job's folder."
            )
        if must - found:
            raise JobError(
                f"{len(must - found)} new tokens of the data did not move in the {name}: {_some(must - found)}. Train "
                "longer or with a higher learning_rate."
            )
        figures[f"{name}_rows_moved"] = len(found)
    return figures


def _weights(model: Any) -> list[Any]:
    """The embedding's weight, and the head's where it is another."""
    embedding = model.get_input_embeddings().weight
    head = model.get_output_embeddings()
    return [embedding] if head is None or head.weight is embedding else [embedding, head.weight]


def _read_tensor(folder: Path, name: str) -> Any:
    from safetensors import safe_open

    index = folder / "model.safetensors.index.json"
    file = "model.safetensors"
    if index.is_file():
        file = json.loads(index.read_text(encoding="utf-8"))["weight_map"][name]
    with safe_open(folder / file, framework="pt") as tensors:
        return tensors.get_tensor(name)


def _some(ids: set[int]) -> str:
    named = ", ".join(map(str, sorted(ids)[:NAMED]))
    return f"{named} and {len(ids) - NAMED} more" if len(ids) > NAMED else named
