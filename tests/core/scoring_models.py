"""Tiny checkpoints of each family of reward models, random weights, with a tokenizer that knows their tags."""

from __future__ import annotations

from pathlib import Path
from typing import Any

CHATML = ("<|im_start|>", "<|im_end|>", "<extra_0>")
LLAMA3 = ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
CHAT = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n{{ m['content'] }}<|eot_id|>"
    "{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
PROMPT = "How many legs have 3 cats and 1 hen?"
STEPS = ["3 cats have 3 × 4 = 12 legs.", "A hen has 2 legs.", "Together 12 + 2 = 15.", "The answer is 15."]


def byte_tokenizer(folder: Path) -> Any:
    """One token a byte, and the tags of all families."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tok = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    tok.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in ("<s>", "<pad>", *CHATML, *LLAMA3)])
    tok.add_tokens([AddedToken(s, special=False, normalized=False) for s in ("ки", "<|step_score|>")])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tok, bos_token="<s>", pad_token="<pad>", clean_up_tokenization_spaces=False
    )
    fast.chat_template = CHAT
    fast.save_pretrained(folder)
    return fast


def _config(kind: str, size: int, **more: Any) -> Any:
    from transformers import LlamaConfig, Qwen2Config

    shape = {
        "vocab_size": size, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 2, "max_position_embeddings": 1024, "initializer_range": 0.2, "tie_word_embeddings": False,
    }  # fmt: skip
    return (Qwen2Config if kind == "qwen2" else LlamaConfig)(**shape, **more)


def token_classifier(folder: Path, *, seed: int = 0) -> Any:
    """TRL's head, and ours: two labels on a Llama."""
    import torch
    from transformers import LlamaForTokenClassification

    torch.manual_seed(seed)
    tokenizer = byte_tokenizer(folder)
    model = LlamaForTokenClassification(_config("llama", len(tokenizer), num_labels=2, classifier_dropout=0.0)).eval()
    model.save_pretrained(folder)
    return model


def qwen_prm(folder: Path) -> tuple[Any, Any]:
    """(body, head) of a Qwen2ForProcessRewardModel as it is published: `model.…`, `lm_head` and `score.0`, `score.2`."""
    import json

    import torch
    from safetensors.torch import save_file
    from transformers import Qwen2Model

    torch.manual_seed(1)
    tokenizer = byte_tokenizer(folder)
    config = _config("qwen2", len(tokenizer))
    body = Qwen2Model(config).eval()
    head = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 2))
    weights = {f"model.{k}": v for k, v in body.state_dict().items()}
    weights |= {f"score.{k}": v for k, v in head.state_dict().items()}
    save_file({k: v.contiguous() for k, v in weights.items()}, folder / "model.safetensors", metadata={"format": "pt"})
    config.architectures = ["Qwen2ForProcessRewardModel"]
    (folder / "config.json").write_text(json.dumps(config.to_dict(), default=str))
    return body, head


def skywork(folder: Path) -> tuple[Any, Any]:
    """(body, value head) of a Qwen2ForPrmModel."""
    import json

    import torch
    from safetensors.torch import save_file
    from transformers import Qwen2Model

    torch.manual_seed(2)
    tokenizer = byte_tokenizer(folder)
    config = _config("qwen2", len(tokenizer))
    body, head = Qwen2Model(config).eval(), torch.nn.Linear(64, 1)
    weights = {f"model.{k}": v for k, v in body.state_dict().items()}
    weights |= {f"v_head.summary.{k}": v for k, v in head.state_dict().items()}
    save_file({k: v.contiguous() for k, v in weights.items()}, folder / "model.safetensors", metadata={"format": "pt"})
    config.architectures = ["Qwen2ForPrmModel"]
    (folder / "config.json").write_text(json.dumps(config.to_dict(), default=str))
    return body, head


def language_model(folder: Path) -> Any:
    """A causal language model: Math-Shepherd and RLHFlow are such."""
    import torch
    from transformers import LlamaForCausalLM

    torch.manual_seed(3)
    tokenizer = byte_tokenizer(folder)
    model = LlamaForCausalLM(_config("llama", len(tokenizer))).eval()
    model.save_pretrained(folder)
    return model
