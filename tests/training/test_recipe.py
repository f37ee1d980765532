"""Recipes: strict, resolved, readable back."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.kinds import KINDS
from training.recipe import RecipeError, read_recipe, resolve_recipe, sensible_threads


@pytest.mark.parametrize("kind", KINDS)
def test_the_resolved_file_reads_back_to_the_same_recipe(kind: str, tmp_path: Path) -> None:
    recipe = resolve_recipe(kind, ['base="a \\"quoted\\" folder"', "learning_rate=1e-5"], "snap-1")
    (tmp_path / "recipe.toml").write_text(recipe.to_toml(), encoding="utf-8")
    assert read_recipe(tmp_path / "recipe.toml") == recipe
    assert recipe.snapshot == ("snap-1" if KINDS[kind].needs_snapshot(recipe) else "")  # what is not read is not named
    assert recipe.learning_rate == 1e-5
    assert recipe.threads == sensible_threads()  # a resumed job must not choose again


def test_an_unknown_key_is_named_with_the_nearest_known_one() -> None:
    with pytest.raises(
        RecipeError, match=r'"lerning_rate" is not a key of the prm recipe\. Did you mean "learning_rate"'
    ):
        resolve_recipe("prm", ["lerning_rate=1"])
    with pytest.raises(RecipeError, match=r'"neutral_as" is not a key of the sft recipe'):
        resolve_recipe("sft", ["neutral_as=bad"])


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("epochs=0", '"epochs" in the prm recipe cannot be 0'),
        ("epochs=2.5", '"epochs" in the prm recipe cannot be 2.5'),
        ("learning_rate=-1", '"learning_rate" in the prm recipe cannot be -1'),
        ("learning_rate=fast", "\"learning_rate\" in the prm recipe cannot be 'fast'"),
        ("neutral_as=maybe", "'good', 'bad' or 'ignore'"),
        ("epochs", "is not of the form key=value"),
    ],
)
def test_a_bad_value_is_a_sentence(override: str, says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        resolve_recipe("prm", [override])


def test_text_without_quotes_is_taken_as_it_is() -> None:
    assert resolve_recipe("prm", ["base=/models/mine", "neutral_as=bad"]).base == "/models/mine"


def test_an_unknown_kind_names_the_known_ones() -> None:
    with pytest.raises(RecipeError, match=r'no kind of job "prn"\. Did you mean "prm"\? Use one of: prm, '):
        resolve_recipe("prn")


def test_a_broken_recipe_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text("epochs = = 2")
    with pytest.raises(RecipeError, match=r"recipe\.toml is not valid TOML"):
        read_recipe(path)
    path.write_text('kind = "prm"\nepochs = 2\n')
    with pytest.raises(RecipeError, match=r"is missing in .*recipe\.toml"):
        read_recipe(path)


@pytest.mark.parametrize(("traces", "passes"), [(1000, 2), (200, 2), (100, 4), (7, 58), (1, 400)])
def test_few_traces_are_seen_often_enough_to_learn_from(traces: int, passes: int) -> None:
    recipe = resolve_recipe("prm", ["epochs=2", "min_steps=50", "batch=4", "accumulate=2"])
    assert recipe.passes(traces) == passes
    assert recipe.passes(traces) * traces >= 50 * recipe.traces_per_step
