"""A Llama model with a word-level tokenizer, which the pocket model is, as a GGUF file: what llama.cpp reads.

llama.cpp has no word-level tokenizer; its RWKV one takes the longest token that fits, which is the same for words that are cut at blanks.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

OUTER = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
OF_A_LAYER = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}  # fmt: skip


def write(model: Path, out: Path) -> None:
    """All of a model's folder in one file, as 32-bit floats."""
    from gguf import GGUFWriter, LlamaFileType
    from safetensors.numpy import load_file

    config = json.loads((model / "config.json").read_text())
    file = GGUFWriter(out, "llama")
    file.add_context_length(config["max_position_embeddings"])
    file.add_embedding_length(config["hidden_size"])
    file.add_block_count(config["num_hidden_layers"])
    file.add_feed_forward_length(config["intermediate_size"])
    file.add_head_count(config["num_attention_heads"])
    file.add_head_count_kv(config["num_key_value_heads"])
    file.add_layer_norm_rms_eps(config["rms_norm_eps"])
    file.add_rope_dimension_count(config["head_dim"])
    file.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    file.add_vocab_size(config["vocab_size"])
    file.add_file_type(LlamaFileType.ALL_F32)
    _tokenizer(file, model, config)

    names = dict(OUTER)
    for layer in range(config["num_hidden_layers"]):
        names |= {f"model.layers.{layer}.{ours}": f"blk.{layer}.{theirs}" for ours, theirs in OF_A_LAYER.items()}
    tensors = load_file(model / "model.safetensors")
    assert set(tensors) == {f"{name}.weight" for name in names}
    heads, half = config["num_attention_heads"], config["head_dim"] // 2
    for ours, theirs in names.items():
        tensor = tensors[f"{ours}.weight"]
        if ours.endswith(
            ("q_proj", "k_proj")
        ):  # llama.cpp turns neighbours by an angle, transformers the two halves of a head
            tensor = tensor.reshape(heads, 2, half, -1).swapaxes(1, 2).reshape(tensor.shape).copy()
        file.add_tensor(f"{theirs}.weight", tensor)
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()


def _tokenizer(file: Any, model: Path, config: dict[str, Any]) -> None:
    from gguf import TokenType

    tokenizer = json.loads((model / "tokenizer.json").read_text())
    words = {number: (text, TokenType.NORMAL) for text, number in tokenizer["model"]["vocab"].items()}
    for added in tokenizer["added_tokens"]:
        words[added["id"]] = added["content"], TokenType.CONTROL if added["special"] else TokenType.USER_DEFINED
    unused = TokenType.UNUSED  # rows of the matrix beyond the tokens
    rows = [words.get(number, (f"<|unused {number}|>", unused)) for number in range(config["vocab_size"])]
    texts, kinds = zip(*rows, strict=True)
    file.add_tokenizer_model("rwkv")
    file.add_token_list([_escaped(text) for text in texts])
    file.add_token_types(kinds)
    file.add_bos_token_id(config["bos_token_id"])
    file.add_eos_token_id(config["eos_token_id"])
    file.add_chat_template((model / "chat_template.jinja").read_text())


def _escaped(text: str) -> str:
    """As llama.cpp reads the tokens of this tokenizer: what is not ASCII as its bytes."""
    return "".join(chr(byte) if byte < 128 else f"\\x{byte:02x}" for byte in text.encode())
