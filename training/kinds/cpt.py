"""Continued pre-training: next-token loss on every token of plain text, or of traces as they were written.

Documents are tokenised, closed with the end token, cut into pieces of at most `max_tokens`, and packed; no piece sees
another (`packing.py`). With `pause_share`, pause tokens stand at random places (Goyal et al. 2024, "Think before you
speak", section 3.1): the model is never asked to write one, so the prediction before each has no loss. Knows documents;
knows no ratings.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from core.scoring.encoding import encode_prompt
from training.kind import Card, Kind, Outcome
from training.kinds.sft import LanguageRecipe, language_tokenizer, train_language_model
from training.new_tokens import token_files
from training.rows import IGNORE, JudgedTrace, Rows, RowsError, TokenRow, pause_id, read_traces
from training.run_folder import Run

# Every tenth document is held out, by its hash: the same document is always on the same side.
HELD_OUT = 10
# Characters of a document that a look at the rows reads.
LOOK = 20_000


class CptRecipe(LanguageRecipe):
    """Continued pre-training on plain text or traces."""

    kind: ClassVar[str] = "cpt"
    texts: str
    pause_share: Annotated[float, Field(ge=0, le=0.5)]


def documents(path: Path) -> Iterator[str]:
    """The documents of a file: a `.jsonl` has one a line under "text", any other is one document. Raises RowsError."""
    try:
        if path.suffix != ".jsonl":
            yield path.read_text(encoding="utf-8")
            return
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    try:
                        text = json.loads(line)["text"]
                    except (ValueError, KeyError, TypeError) as error:
                        raise RowsError(f'{path}:{number}: not a JSON object with "text" ({error}).') from error
                    if not isinstance(text, str):
                        raise RowsError(f'{path}:{number}: "text" must be a string, not {type(text).__name__}.')
                    yield text
    except UnicodeDecodeError as error:
        raise RowsError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}.") from error
    except OSError as error:
        raise RowsError(f"{path} cannot be read: {error.strerror}.") from error


def cpt_rows(
    texts: Sequence[list[int]], end: int | None, recipe: CptRecipe, pause: int | None, splits: Sequence[str]
) -> Rows:
    """Tokenised documents as rows of at most `max_tokens`; a row's first token is read, not predicted."""
    sides: dict[str, list[TokenRow]] = {"train": [], "test": []}
    rng = random.Random(recipe.seed)
    for number, (ids, split) in enumerate(zip(texts, splits, strict=True)):
        whole = [*ids, end] if end is not None else ids
        if pause is not None:
            whole = with_pauses(whole, pause, recipe.pause_share, rng)
        for start in range(0, len(whole), recipe.max_tokens):
            piece = whole[start : start + recipe.max_tokens]
            labels: list[float] = [IGNORE if i == pause else i for i in piece]
            sides[split].append(TokenRow(piece, labels, str(number), str(number)))
    if not sides["train"]:
        raise RowsError("There is no text to train on: every document is held out or empty. Give more of them.")
    counts = {"documents": len(texts), "rows": sum(map(len, sides.values())), "tokens": sum(map(len, texts))}
    return Rows(tuple(sides["train"]), tuple(sides["test"]), counts)


def with_pauses(ids: list[int], pause: int, share: float, rng: random.Random) -> list[int]:
    """`ids` with `share` · len(ids) pauses at uniformly random places, also several at one; the order of `ids` stays."""
    places = sorted(rng.randrange(len(ids) + 1) for _ in range(round(share * len(ids))))
    found: list[int] = []
    at = 0
    for place in places:
        found += [*ids[at:place], pause]
        at = place
    return found + ids[at:]


def rows_of(snapshot: Path | None, recipe: CptRecipe, most: int | None = None) -> tuple[Rows, Any]:
    """See `training.kind.Kind`."""
    tokenizer, _ = language_tokenizer(recipe)

    def encoded(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False).input_ids

    if recipe.texts:
        some = islice(documents(Path(recipe.texts).expanduser()), most)
        texts = [text if most is None else text[:LOOK] for text in some if text]
        splits = [_split(text) for text in texts]
        ids = [encoded(text) for text in texts]
    else:
        assert snapshot is not None
        unique: dict[str, JudgedTrace] = {trace.trace_id: trace for trace in read_traces(snapshot, most)}
        splits = [trace.split for trace in unique.values()]
        ids = [encode_prompt(tokenizer, trace.prompt) + encoded(trace.response) for trace in unique.values()]
    pause = pause_id(tokenizer, recipe.pause_token) if recipe.pause_share else None
    return cpt_rows(ids, tokenizer.eos_token_id, recipe, pause, splits), tokenizer


def train(snapshot: Path | None, recipe: CptRecipe, run: Run) -> Outcome:
    """Train on nine tenths of the documents, measure on the rest, save to the run's `model/`."""
    run.phase("reading the text")
    rows, _ = rows_of(snapshot, recipe)
    return train_language_model(rows, recipe, run)


def _split(text: str) -> str:
    return "test" if int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) % HELD_OUT == 0 else "train"


KIND = Kind(
    name="cpt",
    title="Pre-trained reasoner",
    does="goes on pre-training a language model on plain text or on traces as they are",
    recipe=CptRecipe,
    train=train,
    used_as="model",
    hint="texts=/path/to/texts.jsonl\nepochs=1",
    needs_snapshot=lambda recipe: not recipe.texts,
    rows=rows_of,
    files=lambda recipe: [
        *([Path(recipe.texts).expanduser()] if recipe.texts else []),
        *token_files(recipe.new_tokens),
    ],
    card=Card(
        tag="text-generation",
        use="An ordinary `*ForCausalLM` with the tokenizer of its base model.",
        figures="loss: mean negative log-likelihood a token, on held-out documents, before and after.",
        limits="It has read more; nobody has said that what it read was right.",
    ),
)
