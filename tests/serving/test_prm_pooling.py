"""Reward models served by a real vLLM score as they do in this process, to four decimals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from core.formats import steiner_tokens as t
from core.scoring import families
from core.scoring.encoding import EncodedSteps, encode_prompt
from core.scoring.families.base import Common, Reads, ids_of, load_words, one_id
from core.scoring.families.skywork import convert
from core.scoring.prm import PrmScorer, ScorerError
from core.scoring.served import ServedPrm
from tests.core import scoring_models as tiny
from tests.serving.conftest import Vllm, started

FOUR = 5e-5
TRACES = [(tiny.PROMPT, tiny.STEPS[:n]) for n in (4, 1, 3)] + [(tiny.PROMPT, tiny.STEPS * 12)]


def same(ours: list[list[float]], theirs: list[list[float]]) -> None:
    for a, b in zip(ours, theirs, strict=True):
        assert a == pytest.approx(b, abs=FOUR)
    assert max(ours[0]) - min(ours[0]) > 0.01


def test_labels_are_pooled_at_the_steps(vllm_python: str, tmp_path: Path) -> None:
    """As `worldline serve FOLDER` starts it; the last trace is longer than the model reads, so windows are pooled, too."""
    folder = tmp_path / "tiny-prm"
    tiny.token_classifier(folder)
    here = PrmScorer(folder)
    with started(vllm_python, str(folder), tmp_path / "vllm.log") as server:
        there = ServedPrm(server.url, folder.name, folder)
        assert (there.family.name, there.max_tokens) == ("worldline", 1024)
        same(here.score_many(TRACES), there.score_many(TRACES))
        with pytest.raises(ScorerError, match='does not serve "other"; it serves tiny-prm'):
            ServedPrm(server.url, "other", folder)
        there.close()


def _as_trl(folder: Path) -> None:
    """Without the separator of our own family, by which `worldline serve` would know it."""
    import json

    tiny.token_classifier(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        path = folder / name
        path.write_text(path.read_text().replace("<|step_score|>", "<|nothing|>"))
    assert "<|step_score|>" not in json.dumps(json.loads((folder / "tokenizer.json").read_text()))


def _as_skywork(folder: Path) -> None:
    tiny.skywork(folder.with_name("published"))
    convert(folder.with_name("published"), folder)


@pytest.mark.parametrize(("name", "make"), [("trl", _as_trl), ("qwen", tiny.qwen_prm), ("skywork", _as_skywork)])
def test_the_labels_of_other_families(vllm_python: str, tmp_path: Path, name: str, make: Callable[[Path], Any]) -> None:
    """Each as `worldline serve FOLDER` starts it: TRL's and Skywork's line breaks are pooled here, Qwen's tag by the server."""
    folder = tmp_path / "tiny-prm"
    make(folder)
    here = PrmScorer(folder)
    assert here.family.name == name
    with started(vllm_python, str(folder), tmp_path / "vllm.log") as server:
        there = ServedPrm(server.url, folder.name, folder)
        same(here.score_many(TRACES), there.score_many(TRACES))
        there.close()


def test_the_words_of_other_families(vllm_python: str, tmp_path: Path) -> None:
    """Math-Shepherd and RLHFlow are language models: one server for both."""
    folder = tmp_path / "tiny-lm"
    tiny.language_model(folder)
    with started(vllm_python, str(folder), tmp_path / "vllm.log") as server:
        for name in ("math-shepherd", "rlhflow"):
            here = PrmScorer(folder, family=name)
            there = ServedPrm(server.url, folder.name, folder, family=name)
            same(here.score_many(TRACES), there.score_many(TRACES))
            there.close()


class _PocketWords(Common):
    """A family of two words that the pocket model knows: whether it would go on or turn back after a step."""

    name, title = "pocket-words", "go on or turn back"
    reads: Reads = "words"

    def fits(self, config: Any, folder: Path) -> bool:
        return False

    def encode(self, tokenizer: Any, prompt: str, step_texts: Sequence[str]) -> EncodedSteps:
        ids, at = encode_prompt(tokenizer, prompt), []
        for text in step_texts:
            ids += ids_of(tokenizer, text)
            at.append(len(ids) - 1)
        return EncodedSteps(ids, at)

    def words(self, tokenizer: Any) -> tuple[int, int]:
        return one_id(tokenizer, t.PROCEED, self.title), one_id(tokenizer, t.BACKTRACK, self.title)

    def load(self, folder: Path) -> tuple[Any, Callable[[Any], Any]]:
        return load_words(folder, self.words)


def test_words_are_read_from_the_next_token(vllm: Vllm, monkeypatch: pytest.MonkeyPatch) -> None:
    from core.pocket import model_dir
    from tests.training.synthetic import examples

    monkeypatch.setattr(families, "FAMILIES", (*families.FAMILIES, _PocketWords()))
    traces = [(e.walk.prompt, e.step_texts) for e in examples(3, longest=6)]
    here = PrmScorer(model_dir(), family="pocket-words").score_many(traces)
    there = ServedPrm(vllm.url, "pocket", model_dir(), family="pocket-words").score_many(traces)
    for a, b in zip(here, there, strict=True):
        assert a == pytest.approx(b, abs=FOUR)
    assert max(map(max, here)) - min(map(min, here)) > 0.1
