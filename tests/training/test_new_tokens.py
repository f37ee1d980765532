"""New tokens, low-rank pairs, and the proof of which rows moved: tied and untied tables, whole and low-rank training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.training.test_jobs import make
from training import jobs
from training.new_tokens import (
    Tables,
    add_to_tokenizer,
    moved,
    place,
    prove,
    read_descriptions,
    shipped,
    token_files,
)
from training.recipe import RecipeError, resolve_recipe
from training.rows import TokenRow
from training.run_folder import JobError

SHORT = ("choose=either", "epochs=1", "learning_rate=1e-2", "batch=8")


@pytest.fixture(scope="module")
def tied_base(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with one table for both, as Qwen2.5 up to 3B and Llama-3.2 1B have."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("tied") / "model"
    config = LlamaConfig.from_pretrained(tiny_base)
    config.tie_word_embeddings = True
    LlamaForCausalLM(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_base).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("words") / "words.toml"
    path.write_text('"<|pause|>" = "4 + 7"\n"<|unused|>" = "8"\n')
    return path


def tables(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    found = load_file(folder / "model.safetensors")
    return {name: found.get(key) for name, key in (("in", "model.embed_tokens.weight"), ("out", "lm_head.weight"))}


@pytest.mark.parametrize("tied", [True, False])
def test_with_lora_the_new_rows_move_and_no_other_bit(
    tied: bool, data_dir: Path, tied_base: Path, tiny_base: Path, words: Path
) -> None:
    base = tied_base if tied else tiny_base
    folder = make(data_dir, base, *SHORT, "lora_rank=4", f'new_tokens=["{words}"]', "pauses=3", kind="sft")
    status = jobs.run_job(folder)
    assert (status.state, status.error) == ("done", "")
    before, after = tables(base), tables(folder / "model")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    pause, unused = (tokenizer.convert_tokens_to_ids(t) for t in ("<|pause|>", "<|unused|>"))
    known = [i for i in range(len(before["in"])) if i not in (pause, unused)]
    assert bool((after["in"][known] == before["in"][known]).all())
    assert tokenizer.decode([pause], skip_special_tokens=True) == "<|pause|>"  # nobody strips it
    assert status.figures["n_new_tokens"] == 2
    first = before["in"][tokenizer("8").input_ids].mean(dim=0)
    if tied:
        assert after["out"] is None
        assert status.figures["embedding_rows_moved"] == 2  # every logit is in every loss, so the unused one moved too
    else:
        assert bool((after["out"][known] == before["out"][known]).all())
        assert status.figures["embedding_rows_moved"] == 1
        assert bool((after["in"][unused] == first).all())  # described, never read
        assert status.figures["head_rows_moved"] == 2
    assert status.figures["loss_after"] < status.figures["loss_before"]
    model = AutoModelForCausalLM.from_pretrained(folder / "model")
    assert not [name for name, _ in model.named_parameters() if "lora" in name]
    assert model.config.tie_word_embeddings is tied
    assert not (folder / "adapter").exists()  # an adapter has no room for the new rows


def test_low_rank_training_can_be_stopped_and_its_pairs_are_what_was_merged(data_dir: Path, tiny_base: Path) -> None:
    settings = (*SHORT, "batch=2", "accumulate=1", "lora_rank=2")
    folder = make(data_dir, tiny_base, *settings, kind="sft")

    def stop(status: jobs.JobStatus) -> None:
        if status.step == 3:
            jobs.RunFolder(folder).request_stop()

    assert jobs.run_job(folder, progress=stop).state == "stopped"
    status = jobs.run_job(folder)
    assert (status.state, status.error) == ("done", "")
    assert (status.figures["embedding_rows_moved"], status.figures["head_rows_moved"]) == (0, 0)
    unbroken = make(data_dir, tiny_base, *settings, kind="sft")
    jobs.run_job(unbroken)
    one, other = (f / "model" / "model.safetensors" for f in (folder, unbroken))
    assert one.read_bytes() == other.read_bytes()

    from safetensors.torch import load_file

    config = json.loads((folder / "adapter" / "adapter_config.json").read_text())
    pairs = load_file(folder / "adapter" / "adapter_model.safetensors")
    base, merged = (load_file(f / "model.safetensors") for f in (tiny_base, folder / "model"))
    assert sorted(config["target_modules"]) == [
        "down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj",
    ]  # fmt: skip
    scale = config["lora_alpha"] / config["r"]
    for name, weight in base.items():
        a = pairs.get(f"base_model.model.{name.removesuffix('.weight')}.lora_A.weight")
        if a is None:
            assert bool((merged[name] == weight).all()), name
        else:
            b = pairs[f"base_model.model.{name.removesuffix('.weight')}.lora_B.weight"]
            assert bool((b != 0).any())
            assert (merged[name] - (weight + scale * b @ a)).abs().max() < 1e-6


def test_new_tokens_begin_as_what_they_mean(tiny_base: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from training.base_model import load_tokenizer

    tokenizer = load_tokenizer(tiny_base)
    model = AutoModelForCausalLM.from_pretrained(tiny_base)
    described = {"<|a|>": "4 7", "<|b|>": "żółw", "<|begin|>": "is there already"}
    new = add_to_tokenizer(tokenizer, described)
    assert sorted(tokenizer.convert_ids_to_tokens(list(new))) == ["<|a|>", "<|b|>"]
    assert place(model, tokenizer, new) == ["<|b|>"]
    a, b = new
    ids = tokenizer("4 7").input_ids
    others = [i for i in range(len(tokenizer)) if i not in new]  # spare rows beyond them mean nothing
    for table in (model.get_input_embeddings().weight, model.get_output_embeddings().weight):
        assert torch.equal(table[a], table[ids].mean(dim=0))
        assert torch.allclose(table[b], table[others].mean(dim=0))


def test_a_row_that_moved_alone_or_did_not_is_an_error() -> None:
    import torch

    first = Tables(torch.zeros(6, 2), torch.zeros(6, 2))
    row = TokenRow([1, 2, 5, 3], [-100, -100, 5, 3], "", "")

    def after(embedding: set[int], head: set[int]) -> Tables:
        found = [torch.zeros(6, 2) for _ in range(2)]
        for table, rows in zip(found, (embedding, head), strict=True):
            table[sorted(rows)] = 1.0
        return Tables(found[0], found[1])

    assert moved(first.embedding, after({2, 4}, set()).embedding) == {2, 4}
    figures = prove(first, after({5}, {5}), [row], [5], alone=True, decays=False)
    assert figures == {"n_new_tokens": 1, "embedding_rows_moved": 1, "head_rows_moved": 1}
    prove(first, after({1, 2, 5}, {0, 1, 2, 3, 4, 5}), [row], [5], alone=False, decays=False)
    with pytest.raises(JobError, match=r"1 rows of the embedding moved that must not have: tokens 4\."):
        prove(first, after({4, 5}, {5}), [row], [5], alone=False, decays=False)
    with pytest.raises(JobError, match="rows of the head moved that must not have: tokens 1"):
        prove(first, after({5}, {1, 5}), [row], [5], alone=True, decays=False)
    with pytest.raises(JobError, match="did not move in the head: 5"):  # what TRL with PEFT leaves behind
        prove(first, after({5}, set()), [row], [5], alone=True, decays=False)


def test_what_is_wrong_with_a_list_of_tokens_is_named(tmp_path: Path) -> None:
    from core.formats import steiner_tokens as t

    assert shipped() == ["pause", "steiner"]
    steiner = read_descriptions(["steiner"])
    assert set(steiner) == {v for v in vars(t).values() if isinstance(v, str) and v.startswith("<|")}
    assert len(set(steiner.values())) == 14
    path = tmp_path / "mine.toml"
    path.write_text('"<|a|>" = ""\n')
    with pytest.raises(RecipeError, match=r'mine\.toml: "<\|a\|>" needs a description'):
        read_descriptions([str(path)])
    path.write_text('"<|pause|>" = "another"\n')
    with pytest.raises(RecipeError, match="has another description"):
        read_descriptions(["pause", str(path)])
    with pytest.raises(RecipeError, match=r"neither a shipped list \(pause, steiner\) nor a file"):
        read_descriptions(["stainer"])
    with pytest.raises(RecipeError, match=r'"stainer" is neither a shipped list'):  # said when the job is made
        token_files(["pause", "stainer"])
    with pytest.raises(RecipeError, match="weight_decay would move the rows of old tokens"):
        resolve_recipe("sft", ["lora_rank=4", 'new_tokens=["pause"]', "weight_decay=0.1"])
    with pytest.raises(RecipeError, match="are not sharded"):
        resolve_recipe("cpt", ["lora_rank=4", "processes=2", "parallel=fsdp2"])
