"""What a family of process reward models must say of itself, and what several of them share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from core.pretrained import library, load_weights
from core.scoring.encoding import EncodedSteps, EncodingError

# A forward pass that keeps nothing; a caller may say otherwise.
ALONE: dict[str, Any] = {"use_cache": False}
# How a server is asked: "labels" through pooling, "words" through the probability of the next token.
Reads = Literal["labels", "words"]


class FamilyError(ValueError):
    """A sentence: this folder is not a model of that family, or of none."""


class Family(Protocol):
    """One family. `load` gives z_of, a function from token ids (B, T) to z (B, T); P(good) = sigmoid(z). It hands further keyword
    arguments (a cache, a mask, positions) to the transformer."""

    name: str
    title: str
    reads: Reads

    def fits(self, config: Mapping[str, Any], folder: Path) -> bool:
        """Whether a model's configuration says that it belongs here."""
        ...

    def encode(self, tokenizer: Any, prompt: str, step_texts: Sequence[str]) -> EncodedSteps:
        """All steps, and the position at which each is scored. Raises EncodingError."""
        ...

    def windows(
        self, tokenizer: Any, prompt: str, step_texts: Sequence[str], max_tokens: int
    ) -> list[EncodedSteps]: ...

    def words(self, tokenizer: Any) -> tuple[int, int]:
        """Ids of the words for good and bad, where `reads` is "words"."""
        ...

    def load(self, folder: Path) -> tuple[Any, Callable[..., Any]]:
        """The model (for its `config`) and z_of. Raises FamilyError."""
        ...


class Common:
    """What most families do alike."""

    name = title = ""
    reads: Reads = "labels"

    def encode(self, tokenizer: Any, prompt: str, step_texts: Sequence[str]) -> EncodedSteps:
        raise NotImplementedError

    def windows(self, tokenizer: Any, prompt: str, step_texts: Sequence[str], max_tokens: int) -> list[EncodedSteps]:
        """Windows of at most `max_tokens` in which every step is scored once; later ones repeat what led to them."""
        whole = self.encode(tokenizer, prompt, step_texts)
        if len(whole.ids) <= max_tokens:
            return [whole]
        head = len(self.encode(tokenizer, prompt, []).ids)
        # A step behind another may cost more than the first: a chat answers that one and opens a turn.
        alone = [len(self.encode(tokenizer, prompt, [text]).ids) for text in step_texts]
        twice = [len(self.encode(tokenizer, prompt, [text, text]).ids) for text in step_texts]
        sizes = [max(one - head, two - one) + 1 for one, two in zip(alone, twice, strict=True)]
        room = max_tokens - head
        if max(sizes) > room:
            raise EncodingError(
                f"Step {sizes.index(max(sizes))} with the question has more than {max_tokens} tokens, the most that this model reads."
            )
        found, done = [], 0
        while done < len(sizes):
            start, used = done, sizes[done]
            while start > 0 and used + sizes[start - 1] <= room and used - sizes[done] < room // 2:
                start -= 1
                used += sizes[start]
            end = done + 1
            while end < len(sizes) and used + sizes[end] <= room:
                used += sizes[end]
                end += 1
            part = self.encode(tokenizer, prompt, step_texts[start:end])
            found.append(EncodedSteps(part.ids, part.separators[done - start :], done))
            done = end
        return found

    def words(self, tokenizer: Any) -> tuple[int, int]:
        raise FamilyError(f"{self.title} is read from labels, not from words.")


def ids_of(tokenizer: Any, text: str) -> list[int]:
    """Token ids of a text, nothing added."""
    ids: list[int] = tokenizer(text, add_special_tokens=False).input_ids
    return ids


def one_id(tokenizer: Any, text: str, what: str) -> int:
    """The id of a text that must be one token. Raises FamilyError."""
    ids = ids_of(tokenizer, text)
    if len(ids) != 1 or ids[0] == tokenizer.unk_token_id:
        raise FamilyError(f"This tokenizer does not know {text!r} as one token; {what} needs it.")
    return ids[0]


# ------------------------------------------------------------------------------------------------------------- models


def along(model: Any, **tensors: Any) -> None:
    """Give a model the tensors of its head as attributes, so that they go where it goes."""
    for name, tensor in tensors.items():
        model.register_buffer(name, tensor, persistent=False)


def load_labels(folder: Path) -> tuple[Any, Callable[..., Any]]:
    """A `*ForTokenClassification` with two labels (0 bad, 1 good): z = logit₁ − logit₀, so sigmoid(z) = softmax₁."""
    import torch

    model = load_weights("AutoModelForTokenClassification", folder, dtype=torch.float32).eval()
    if model.config.num_labels != 2:
        raise FamilyError(f"{folder} has {model.config.num_labels} labels; a step scorer has 2 (bad, good).")

    def z_of(ids_BT: Any, **how: Any) -> Any:
        logits_BT2 = model(input_ids=ids_BT, **(ALONE | how)).logits
        return logits_BT2[..., 1] - logits_BT2[..., 0]

    return model, z_of


def load_words(folder: Path, words: Callable[[Any], tuple[int, int]]) -> tuple[Any, Callable[..., Any]]:
    """A causal language model that says one of two words: z = logit(good) − logit(bad) of the next token.

    Only the difference of the two rows of the output matrix is multiplied: no logits of a whole vocabulary are made.
    """
    import torch

    model = load_weights("AutoModelForCausalLM", folder, dtype=torch.float32).eval()
    good, bad = words(library().AutoTokenizer.from_pretrained(folder))
    head = model.get_output_embeddings()
    bias = 0.0 if head.bias is None else float(head.bias[good] - head.bias[bad])
    along(model, step_row=(head.weight[good] - head.weight[bad]).detach())

    def z_of(ids_BT: Any, **how: Any) -> Any:
        hidden_BTD = model.base_model(input_ids=ids_BT, **(ALONE | how)).last_hidden_state
        return hidden_BTD @ model.step_row + bias

    return model, z_of


def load_body(folder: Path) -> tuple[Any, dict[str, Any]]:
    """The transformer without a head, and those weights that are not its own (the head's, by their names in the file)."""
    import torch
    from safetensors.torch import load_file

    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise FamilyError(f"{folder} has no *.safetensors; save the model in that format.")
    body = load_weights("AutoModel", folder, dtype=torch.float32, trust_remote_code=False).eval()
    heads = {}
    for file in files:
        for name, tensor in load_file(file).items():
            if not name.startswith(("model.", "lm_head.", "pretrained_model.")):
                heads[name] = tensor.float()
    return body, heads
