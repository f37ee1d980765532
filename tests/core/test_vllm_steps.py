"""Step control inside of vLLM, both of its interfaces driven by hand. The V1 one is run for real in tests/serving; for the V2
one (GPUs) this is what there is."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from types import SimpleNamespace as Of

import pytest
import torch

from app import serving
from core.control import vllm_steps
from core.control.bounds import StepIds
from core.control.vllm_steps import WorldlineSteps
from core.control.xargs import MAX, MIN, PREFIX, PROBE, SIGNATURE

STEP, PROCEED, BACK, END, EOS, ALSO_EOS, WORD = range(1, 8)
VOCABULARY = 8
SWAP, ONE_WAY = Of(name="SWAP"), Of(name="UNIDIRECTIONAL")


@pytest.fixture(autouse=True)
def ids(monkeypatch: pytest.MonkeyPatch) -> None:
    found = StepIds(STEP, PROCEED, BACK, END, EOS), (EOS, ALSO_EOS)
    monkeypatch.setattr(vllm_steps, "_step_ids", lambda config: found)


def config(**more) -> Of:
    return Of(model_config=None, **more)


def params(**xargs) -> Of:
    return Of(extra_args=xargs)


def allowed(row: torch.Tensor) -> set[int]:
    return set(torch.isfinite(row).nonzero().flatten().tolist())


def update(*, removed=(), added=(), moved=()) -> Of:
    return Of(removed=removed, added=added, moved=moved)


def free() -> set[int]:
    return set(range(VOCABULARY))


def v1() -> WorldlineSteps:
    return WorldlineSteps(config(), torch.device("cpu"), False)


def test_v1_counts_steps_as_they_are_written() -> None:
    steps, output = v1(), []
    steps.update_state(update(added=[(0, params(**{MIN: 1, MAX: 2}), [WORD], output)]))
    assert allowed(steps.apply(torch.zeros(1, VOCABULARY))[0]) == free() - {END, EOS, ALSO_EOS}
    output += [WORD, STEP]
    steps.update_state(None)
    assert allowed(steps.apply(torch.zeros(1, VOCABULARY))[0]) == free()
    output += [PROCEED, WORD, STEP]
    assert allowed(steps.apply(torch.zeros(1, VOCABULARY))[0]) == {END}
    output.append(END)
    assert allowed(steps.apply(torch.zeros(1, VOCABULARY))[0]) == free()


def test_v1_follows_requests_through_the_batch() -> None:
    steps = v1()
    one, two = params(**{MAX: 1}), params(**{MAX: 5})
    added = [(0, one, [WORD], [STEP]), (1, two, [WORD], [STEP]), (2, params(), [WORD], [STEP])]
    steps.update_state(update(added=added))
    assert [allowed(r) == {END} for r in steps.apply(torch.zeros(3, VOCABULARY))] == [True, False, False]
    steps.update_state(update(moved=[(0, 1, SWAP)]))
    assert [allowed(r) == {END} for r in steps.apply(torch.zeros(3, VOCABULARY))] == [False, True, False]
    steps.update_state(update(removed=[0], moved=[(1, 0, ONE_WAY)]))
    assert [allowed(r) == {END} for r in steps.apply(torch.zeros(2, VOCABULARY))] == [True, False]
    steps.update_state(update(added=[(0, params(), [WORD], [])]))
    assert allowed(steps.apply(torch.zeros(1, VOCABULARY))[0]) == free()


def test_v1_steps_of_a_prefix_count_and_those_of_the_question_do_not() -> None:
    for own, wanted in ((2, {END}), (0, free())):
        steps = v1()
        steps.update_state(update(added=[(0, params(**{MAX: 1, PREFIX: own}), [STEP, WORD, WORD, STEP], [])]))
        assert allowed(steps.apply(torch.zeros(1, VOCABULARY))[0]) == wanted


@dataclass
class State:
    """What V2 hands over, on the CPU: slots of token ids."""

    slots: int = 4
    prompt_len: Of = field(init=False)
    all_token_ids: Of = field(init=False)

    def __post_init__(self) -> None:
        self.prompt_len = Of(np=torch.zeros(self.slots, dtype=torch.int32).numpy())
        self.all_token_ids = Of(gpu=torch.zeros(self.slots, 32, dtype=torch.int32))
        self.length = [0] * self.slots

    def write(self, slot: int, tokens: list[int]) -> None:
        at = self.length[slot]
        self.all_token_ids.gpu[slot, at : at + len(tokens)] = torch.tensor(tokens, dtype=torch.int32)
        self.length[slot] += len(tokens)

    def step(self, steps: WorldlineSteps, *slots: int) -> list[set[int]]:
        context = Of(
            idx_mapping_np=torch.tensor(slots).numpy(),
            seq_lens_upper_bound_np=torch.tensor([self.length[s] for s in slots]).numpy(),
        )
        return [allowed(row) for row in steps.apply(torch.zeros(len(slots), VOCABULARY), context)]


def test_v2_reads_what_was_written_from_the_slots() -> None:
    state = State()
    steps = WorldlineSteps(config(), state)
    for slot, wish, prompt in ((3, params(**{MIN: 1, MAX: 2}), [STEP, WORD]), (0, params(), [WORD])):
        state.prompt_len.np[slot] = len(prompt)
        state.write(slot, prompt)
        assert steps.add_request(slot, wish) is (slot == 3)
    assert state.step(steps, 0, 3) == [free(), free() - {END, EOS, ALSO_EOS}]
    state.write(3, [WORD])
    state.write(3, [STEP])
    assert state.step(steps, 3) == [free()]
    state.write(3, [BACK])
    state.write(3, [STEP])
    assert state.step(steps, 3, 0) == [{END}, free()]


def test_v2_a_slot_that_is_used_again_starts_anew_and_a_resumed_request_is_read_again() -> None:
    state = State()
    steps = WorldlineSteps(config(), state)
    state.prompt_len.np[1] = 1
    state.write(1, [WORD, STEP])
    steps.add_request(1, params(**{MAX: 1}))
    assert state.step(steps, 1) == [{END}]
    steps.add_request(1, params(**{MAX: 2}))  # after a preemption: the same tokens, fed again
    assert state.step(steps, 1) == [free()]
    steps.add_request(1, params())
    assert state.step(steps, 1) == [free()]


def test_wrong_wishes_are_refused_before_they_reach_the_batch() -> None:
    WorldlineSteps.validate_params(params())
    WorldlineSteps.validate_params(Of(extra_args=None))
    for bad in ({MIN: 3, MAX: 2}, {MAX: "2"}, {MAX: 2, PREFIX: -1}, {MIN: True}):
        with pytest.raises(ValueError, match="min_steps"):
            WorldlineSteps.validate_params(params(**bad))
    with pytest.raises(ValueError, match=SIGNATURE):
        WorldlineSteps.validate_params(params(**{PROBE: 1}))


def test_speculative_decoding_is_refused_with_the_mend() -> None:
    with pytest.raises(ValueError, match="leave out --speculative-config"):
        WorldlineSteps(config(speculative_config=object()), None)


def test_what_vllm_loads_needs_nothing_else_of_ours() -> None:
    with serving.laid_out() as folder:
        code = (
            "import sys, core.control.vllm_steps as s; print(s.__file__, 'torch' in sys.modules, 'app' in sys.modules)"
        )
        asked = subprocess.run(
            [sys.executable, "-S", "-c", code], cwd="/", env={"PYTHONPATH": str(folder)}, capture_output=True, text=True
        )
        assert asked.stdout.split() == [str(folder / "core/control/vllm_steps.py"), "False", "False"], asked.stderr
