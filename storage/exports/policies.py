"""What an export makes of ratings, as one object: every choice with the values it may have and a sentence for each.

The options of a format are these and its own. A format names those that it honours (`Format.uses`); the others are refused,
so that a manifest never states a choice that changed nothing. Knows no row and no file.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Policies:
    """See SENTENCES for what each value means. min_raters counts those who rated the trace, and in a label made of several
    raters those who gave the step a value.
    """

    neutral_as: str = "positive"
    recovered_as: str = "bad"
    stop_at_first_error: bool = True
    raters: str = "each"
    ties: str = "drop"
    min_raters: int = 1
    adjudicated: str = "overrules"
    gold: str = "leave_out"
    split: str = "all"


# The first value of each is the default. Neutral as positive did best in "Let's Verify Step by Step" (78.2 %).
SENTENCES: dict[str, dict[str | bool, str]] = {
    "neutral_as": {
        "positive": "A neutral step counts as good.",
        "negative": "A neutral step counts as bad.",
        "drop": "A neutral step has no label: a row of steps ends before it.",
    },
    "recovered_as": {
        "bad": "A bad step stays bad, even where a later step put it right.",
        "neutral": "A bad step that a later step put right counts as neutral.",
        "good": "A bad step that a later step put right counts as good: the label says whether the way still led on.",
    },
    "stop_at_first_error": {
        True: "A row of steps ends with its first bad one.",
        False: "A row of steps goes on after a bad one, as far as it was rated.",
    },
    "raters": {
        "each": "One row for each rater.",
        "majority": "One row for all raters of a trace: a step is what most of them said.",
        "mean": "One row for all raters of a trace: a step is good where their mean is above 0, bad where it is below.",
        "dawid_skene": "One row for all raters of a trace: a step is what Dawid and Skene (1979) estimate from how each rater confuses the labels.",
        "mace": "One row for all raters of a trace: a step is what MACE (Hovy et al. 2013) estimates from how often each rater looks at all.",
    },
    "ties": {
        "drop": "Where raters tie there is no label.",
        "bad": "Where raters tie the step counts as bad.",
        "good": "Where raters tie the step counts as good.",
    },
    "adjudicated": {
        "overrules": "What an adjudicator settled stands in the place of what raters said.",
        "ignored": "What adjudicators settled is left aside: raters' own words alone count.",
    },
    "gold": {
        "leave_out": "Ratings of gold and screening items, whose answer was known beforehand, are left out.",
        "keep": "Ratings of gold and screening items are in it as any other.",
    },
    "split": {
        "all": "All problems; the column split says on which side each is. A problem is never on both.",
        "train": "Problems of the training side alone.",
        "test": "Problems of the held-out side (what other tools call validation) alone.",
    },
}
CHOICES = {name: tuple(values) for name, values in SENTENCES.items() if name != "stop_at_first_error"}
ESTIMATES = ("dawid_skene", "mace")  # of `raters`: looks at all raters before a step has a label
COUNTED = tuple(how for how in CHOICES["raters"] if how not in ESTIMATES)
COMMON = ("min_raters", "gold", "split")  # what nearly every format honours


def sentence(name: str, value: object) -> str:
    """What a choice means; empty for an option that is a format's own."""
    if name == "min_raters":
        return (
            "Traces of one rater are in it."
            if value == 1
            else f"At least {value} raters must have rated a trace, and given a step a value."
        )
    return SENTENCES.get(name, {}).get(value, "") if isinstance(value, str | bool) else ""


def in_words(policies: Policies, uses: Iterable[str]) -> list[str]:
    """The choices that a format honours, one sentence each, for a card."""
    return [text for name in uses if (text := sentence(name, getattr(policies, name)))]
