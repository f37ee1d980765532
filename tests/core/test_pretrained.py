"""Models are read whole or not at all, quietly, and by threads that import the library at the same time."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from core.pocket import model_dir
from core.pretrained import WeightsError, load_weights


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(model_dir(), tmp_path / "model"))


def test_threads_that_import_the_library_at_once_get_all_of_it():
    threads = """
import threading
from core.pretrained import library
gate, found = threading.Barrier(4), []
def reach():
    gate.wait()
    found.append(library().AutoTokenizer.__name__)
threads = [threading.Thread(target=reach) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(found)
"""
    done = subprocess.run([sys.executable, "-c", threads], capture_output=True, text=True)
    assert done.stdout.strip() == str(["AutoTokenizer"] * 4), done.stderr


def test_a_fresh_head_is_drawn_without_a_table(copied, capfd):
    model = load_weights("AutoModelForTokenClassification", copied, fresh_head=True, num_labels=2)
    assert model.score.weight.shape[0] == 2
    assert capfd.readouterr() == ("", "")


def test_a_head_that_must_be_there_is_named(copied):
    with pytest.raises(
        WeightsError, match=r"not those of a LlamaForTokenClassification: score\.bias, score\.weight missing"
    ):
        load_weights("AutoModelForTokenClassification", copied, num_labels=2)


@pytest.mark.parametrize("fresh_head", [True, False])
def test_a_body_that_lacks_a_layer_is_no_model(copied, fresh_head):
    (file,) = copied.glob("*.safetensors")
    weights = load_file(file)
    lost = next(name for name in weights if "down_proj" in name)
    save_file({name: tensor for name, tensor in weights.items() if name != lost}, file, {"format": "pt"})
    with pytest.raises(WeightsError, match=f"{lost} missing"):
        load_weights("AutoModelForCausalLM", copied, fresh_head=fresh_head)


def test_a_damaged_file_is_a_sentence(copied):
    (file,) = copied.glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="could not be read"):
        load_weights("AutoModelForCausalLM", copied)


def test_weights_of_another_size_are_a_sentence(copied):
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(config | {"hidden_size": 2 * config["hidden_size"]}))
    size = config["hidden_size"]
    with pytest.raises(WeightsError, match=rf"do not fit its config\.json: .* {size}.* should have .* {2 * size}"):
        load_weights("AutoModelForCausalLM", copied)
