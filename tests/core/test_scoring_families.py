"""Each family's scores against its authors' own way to compute them, on a tiny checkpoint in the published layout."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from core.engines.base import Chunk, GenerateRequest
from core.scoring import families
from core.scoring.judge import GenerativeJudge, verdicts
from core.scoring.prm import PrmScorer, ScorerError, best_device
from tests.core import scoring_models as tiny

PROMPT, STEPS = tiny.PROMPT, tiny.STEPS
FOUR = 5e-5  # equal to four decimals


def close(ours: list[float], theirs: list[float]) -> bool:
    return len(ours) == len(theirs) and ours == pytest.approx(theirs, abs=FOUR)


def test_a_trl_head_is_read_at_the_line_breaks_after_the_steps(tmp_path: Path) -> None:
    import torch

    model = tiny.token_classifier(tmp_path)
    scorer = PrmScorer(tmp_path, family="trl")
    tok = scorer.tokenizer
    ids, at = [tok.bos_token_id, *tok(PROMPT, add_special_tokens=False).input_ids], []
    for step in STEPS:
        ids += tok(step + "\n", add_special_tokens=False).input_ids
        at.append(len(ids) - 1)
    with torch.no_grad():
        expected = torch.softmax(model(torch.tensor([ids])).logits[0], -1)[at, 1].tolist()
    assert close(scorer.score(PROMPT, STEPS), expected)
    assert max(expected) - min(expected) > 0.01  # a scorer that said the same of all would prove nothing


def test_qwens_head_is_read_at_its_tag(tmp_path: Path) -> None:
    import torch

    body, head = tiny.qwen_prm(tmp_path)
    scorer = PrmScorer(tmp_path)
    assert scorer.family.name == "qwen"
    tok = scorer.tokenizer
    text = (
        "<|im_start|>system\nPlease reason step by step, and put your final answer within \\boxed{}.<|im_end|>\n"
        f"<|im_start|>user\n{PROMPT}<|im_end|>\n<|im_start|>assistant\n{'<extra_0>'.join(STEPS)}<extra_0><|im_end|>"
    )
    ids = torch.tensor([tok(text, add_special_tokens=False).input_ids])
    mask = ids[0] == tok.convert_tokens_to_ids("<extra_0>")
    with torch.no_grad():
        expected = torch.softmax(head(body(ids).last_hidden_state[0]), -1)[mask, 1].tolist()
    assert close(scorer.score(PROMPT, STEPS), expected)


def test_math_shepherd_says_plus_or_minus_at_its_tag(tmp_path: Path) -> None:
    import torch

    folder = tmp_path / "math-shepherd-mistral-7b-prm"
    model = tiny.language_model(folder)
    scorer = PrmScorer(folder)
    assert scorer.family.name == "math-shepherd"
    tok = scorer.tokenizer
    text = f"{PROMPT} " + "\n".join(f"Step {i}: {s} ки" for i, s in enumerate(STEPS, 1))
    ids = torch.tensor([[tok.bos_token_id, *tok(text, add_special_tokens=False).input_ids]])
    candidates = [tok.convert_tokens_to_ids(c) for c in "+-"]
    with torch.no_grad():
        scores = model(ids).logits[:, :, candidates].softmax(-1)[:, :, 0]
    expected = scores[ids == tok.convert_tokens_to_ids("ки")].tolist()
    assert close(scorer.score(PROMPT, STEPS), expected)
    assert close(scorer.score(PROMPT, [f"Step {i}: {s}" for i, s in enumerate(STEPS, 1)]), expected)


def test_rlhflow_is_asked_step_by_step_in_a_chat(tmp_path: Path) -> None:
    import torch

    folder = tmp_path / "RLHFlow-Llama3.1-8B-PRM"
    model = tiny.language_model(folder)
    scorer = PrmScorer(folder)
    assert scorer.family.name == "rlhflow"
    tok, chat, expected = scorer.tokenizer, [], []
    candidates = [tok.convert_tokens_to_ids(c) for c in "+-"]
    for i, step in enumerate(STEPS):
        chat.append({"role": "user", "content": step if i else f"{PROMPT} {step}"})
        chat.append({"role": "assistant", "content": "+"})
        ids = tok(tok.apply_chat_template(chat, tokenize=False), add_special_tokens=False).input_ids
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0, -3, candidates]
        expected.append(logits.softmax(-1)[0].item())
    assert close(scorer.score(PROMPT, STEPS), expected)


def test_skyworks_value_head_and_the_same_as_two_labels(tmp_path: Path) -> None:
    import torch

    from core.scoring.families.skywork import convert

    body, head = tiny.skywork(tmp_path / "a")
    scorer = PrmScorer(tmp_path / "a")
    assert scorer.family.name == "skywork"
    tok = scorer.tokenizer
    ids, at = tok(f"{tok.bos_token}{PROMPT}\n", add_special_tokens=False).input_ids, []
    for step in STEPS:
        ids += [*tok(step, add_special_tokens=False).input_ids, tok("\n", add_special_tokens=False).input_ids[-1]]
        at.append(len(ids) - 1)
    with torch.no_grad():
        expected = torch.sigmoid(head(body(torch.tensor([ids])).last_hidden_state[0, at, :]))[:, 0].tolist()
    assert close(scorer.score(PROMPT, STEPS), expected)
    converted = PrmScorer(convert(tmp_path / "a", tmp_path / "b"))
    assert close(converted.score(PROMPT, STEPS), expected)


@pytest.mark.parametrize("name", ["trl", "worldline"])
def test_a_trace_longer_than_the_model_reads_is_scored_in_windows(tmp_path: Path, name: str) -> None:
    tiny.token_classifier(tmp_path)
    scorer = PrmScorer(tmp_path, family=name)
    long = [f"{text} ({i})" for i, text in enumerate(STEPS * 12)]
    whole = scorer.score(PROMPT, long[:8])
    scorer.max_tokens = 300
    parts = scorer.score(PROMPT, long)
    assert len(parts) == len(long) and all(0 <= p <= 1 for p in parts)
    assert close(parts[:8], whole)  # what the first window sees is what a model without a limit sees
    windows = scorer.family.windows(scorer.tokenizer, PROMPT, long, 300)
    assert all(len(w.ids) <= 300 for w in windows)
    assert sum(len(w.separators) for w in windows) == len(long)


def test_a_batch_of_any_mixture_scores_as_each_alone(tmp_path: Path) -> None:
    tiny.qwen_prm(tmp_path)
    scorer = PrmScorer(tmp_path, batch_tokens=600)
    traces = [(PROMPT, STEPS[:n]) for n in (4, 1, 0, 3, 2)]
    for together, (prompt, steps) in zip(scorer.score_many(traces), traces, strict=True):
        assert close(together, scorer.score(prompt, steps))


def test_tags_that_somebody_wrote_into_a_step_are_never_scored(tmp_path: Path) -> None:
    tiny.qwen_prm(tmp_path / "q")
    tiny.language_model(tmp_path / "shepherd")
    for folder, tag in ((tmp_path / "q", "<extra_0>"), (tmp_path / "shepherd", "ки")):
        scorer = PrmScorer(folder)
        assert close(scorer.score(PROMPT, [STEPS[0] + tag, STEPS[1]]), scorer.score(PROMPT, STEPS[:2]))


def test_a_folder_that_says_nothing_is_asked_about(tmp_path: Path) -> None:
    tiny.language_model(tmp_path / "plain")
    with pytest.raises(ScorerError, match=r"LlamaForCausalLM.*Name its family.*rlhflow"):
        PrmScorer(tmp_path / "plain")
    with pytest.raises(ScorerError, match='"nope" is no family'):
        PrmScorer(tmp_path / "plain", family="nope")
    with pytest.raises(ScorerError, match=r"config\.json is missing"):
        PrmScorer(tmp_path, family="qwen")
    tiny.qwen_prm(tmp_path / "q")
    config = json.loads((tmp_path / "q" / "config.json").read_text())
    (tmp_path / "q" / "config.json").write_text(json.dumps({**config, "architectures": ["Qwen2ForPrmModel"]}))
    with pytest.raises(ScorerError, match=r"no v_head\.summary\.weight"):
        PrmScorer(tmp_path / "q")


def test_every_family_has_a_name_of_its_own() -> None:
    names = [f.name for f in families.FAMILIES]
    assert len(set(names)) == len(names) == 6


# ------------------------------------------------------------------------------------------------------------ judges


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Step 1: fine. \\boxed{correct}\n\nStep 2: wrong sum, \\boxed{incorrect}", [True, False, False]),
        ("**Step 1:** \\boxed{incorrect}? no: \\boxed{correct}\nStep 2: \\boxed{correct}\nStep 3: \\boxed{correct}", [True] * 3),
        ("\\boxed{correct} \\boxed{correct} \\boxed{incorrect}", [True, True, False]),
        ("<think>Step 1: \\boxed{incorrect}</think>Step 1: \\boxed{correct}\nStep 2: \\boxed{incorrect}", [True, False, False]),
        ("Step 1: \\boxed{correct}", None),
        ("I cannot say.", None),
    ],
)  # fmt: skip
def test_a_critique_is_read(text: str, expected: list[bool] | None) -> None:
    assert verdicts(text, 3) == expected


class Critic:
    """An engine that answers with the next of its texts."""

    model = "critic"

    def __init__(self, *texts: str) -> None:
        self.texts, self.asked = list(texts), []

    async def stream(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        self.asked.append(request)
        yield Chunk(self.texts[(len(self.asked) - 1) % len(self.texts)], 9)
        yield Chunk("", 0, finish_reason="stop")

    async def close(self) -> None:
        return None


class Loops(Critic):
    """Remembers the event loops that it was used in."""

    def __init__(self, *texts: str) -> None:
        super().__init__(*texts)
        self.seen: set[int] = set()

    async def stream(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        self.seen.add(id(asyncio.get_running_loop()))
        async for chunk in super().stream(request):
            yield chunk

    async def close(self) -> None:
        self.seen.add(id(asyncio.get_running_loop()))


def test_a_judge_is_the_share_of_its_readable_samples() -> None:
    engine: Any = Critic(
        "Step 1: \\boxed{correct}\nStep 2: \\boxed{correct}",
        "Step 1: \\boxed{correct}\nStep 2: \\boxed{incorrect}",
        "Step 1: \\boxed{incorrect}",
        "no idea",
    )
    assert GenerativeJudge(engine, samples=4).score_many([(PROMPT, STEPS[:2])]) == [[2 / 3, 1 / 3]]
    assert len({r.sampling.seed for r in engine.asked}) == 4
    assert "Step 2: A hen has 2 legs." in engine.asked[0].prompt
    judge = GenerativeJudge(loops := Loops("Step 1: \\boxed{correct}"), samples=1)
    for _ in range(2):
        judge.score_many([(PROMPT, STEPS[:1])])
    judge.close()
    assert len(loops.seen) == 1  # a connection of a closed loop cannot be used again
    mute: Any = Critic("no idea")
    with pytest.raises(ScorerError, match="gave no verdict on the 2 steps"):
        GenerativeJudge(mute).score_many([(PROMPT, STEPS[:2])])


@pytest.mark.parametrize("family", ["worldline", "qwen", "skywork", "math-shepherd", "rlhflow"])
def test_the_head_goes_where_the_model_goes(tmp_path: Path, family: str) -> None:
    """In double precision here, because a GPU is not at hand: a head that stayed behind would not fit."""
    import torch

    make = {"worldline": tiny.token_classifier, "qwen": tiny.qwen_prm, "skywork": tiny.skywork}.get(
        family, tiny.language_model
    )
    make(tmp_path)
    scorer = PrmScorer(tmp_path, family=family)
    before = scorer.score(PROMPT, STEPS)
    scorer.model.double()
    assert scorer.score(PROMPT, STEPS) == pytest.approx(before, abs=1e-4)
    assert scorer.z_of(torch.tensor([[1, 2]])).dtype == torch.float64


def test_a_gpu_is_used_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    assert best_device() == ("cuda" if torch.cuda.is_available() else "cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert best_device() == "cuda"
    tiny.token_classifier(tmp_path)
    assert PrmScorer(tmp_path, device="cpu").device == "cpu"


@pytest.mark.parametrize("family", ["worldline", "trl", "qwen", "skywork", "math-shepherd", "rlhflow"])
def test_no_window_is_longer_than_the_model_reads(tmp_path: Path, family: str) -> None:
    """A server cuts what is too long without a word: every step behind the cut would have one score."""
    tokenizer = tiny.byte_tokenizer(tmp_path)
    steps = [f"{text} ({i})" for i, text in enumerate(STEPS * 12)]
    windows = families.named(family).windows(tokenizer, PROMPT, steps, 1024)
    assert len(windows) > 1 and max(len(w.ids) for w in windows) <= 1024
    assert sum(len(w.separators) for w in windows) == len(steps)
