"""One label from the votes of many raters, and how far each rater can be relied on.

`majority` and `mean` count; Dawid-Skene (1979) estimates for each rater how they confuse the labels, MACE (Hovy et al. 2013)
how often they do not look at all. Both come from crowd-kit (Ustalov et al. 2024). Knows no database: a vote is (unit, rater,
value), and a unit may be anything that can be a key. A new method is one function and one line in METHODS.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from core.workers import processes
from storage.errors import StoreError

if TYPE_CHECKING:
    import pandas as pd

Vote = tuple[Hashable, str, float]
# It stops by itself when nothing changes any more; labels drawn at random never do (469,000 of them: a minute on a busy core).
DAWID_SKENE_ROUNDS = 50
# crowd-kit's own 10 restarts of 50 rounds take a minute over a million votes; 3 of 20 take 20 s and find the same labels
# (330,000 units, 20 simulated raters: 94.7 % right either way).
MACE_RESTARTS, MACE_ROUNDS, MACE_SEED = 3, 20, 0
LARGE = 100_000  # votes: an estimate of more takes longer than a process of its own needs to start
ONE_RATER = "Undefined: one rater alone cannot be compared with anybody."
NO_VOTE = "Undefined: there is no vote yet."


@dataclass(frozen=True)
class Aggregated:
    """labels: the value of each unit; a tie of a majority has none. sure: how sure, 0 to 1 (of a mean: the share of votes
    within half a point of it). competence: for each rater the chance that they give a unit its label, 0 to 1; empty where
    `sentence` says why there is none.
    """

    method: str
    labels: dict[Hashable, float] = field(default_factory=dict)
    sure: dict[Hashable, float] = field(default_factory=dict)
    competence: dict[str, float] = field(default_factory=dict)
    sentence: str = ""


def aggregate(votes: Iterable[Vote], method: str) -> Aggregated:
    """Raises StoreError for a method that is not known."""
    import pandas as pd

    return of_frame(pd.DataFrame(list(votes), columns=["task", "worker", "label"]), method)


def of_frame(frame: pd.DataFrame, method: str) -> Aggregated:
    """The same from a table with the columns task, worker, label: one row a vote."""
    compute = METHODS.get(method)
    if compute is None:
        raise StoreError(f'"method" is {method[:60]!r}; it must be one of {", ".join(METHODS)}.')
    if frame.empty:
        return Aggregated(method, sentence=NO_VOTE)
    frame = frame.sort_values("worker", kind="stable")  # MACE numbers raters as they come
    found = _apart(method, frame) if len(frame) > LARGE else compute(frame)
    alone = frame["worker"].nunique() < 2
    return Aggregated(method, *found[:2], {} if alone else found[2], ONE_RATER if alone else "")


def aggregated(method: str, votes: pd.DataFrame) -> dict[tuple[str, int], tuple[float, float]]:
    """One label for every judged step: {(segmentation_id, step_idx): (label, how sure, 0 to 1)}.

    votes: one row a vote, with the columns segmentation_id, step_idx (never null), rater_id and value (never null), in any
    order: the same votes give the same labels. A label is a value that somebody gave (of `mean`: their mean); a tie of a
    majority is left out. A step with one vote has a label too: how far to trust it, the method takes from the rater's other
    votes. Raises StoreError for a method that is not known.
    """
    votes = votes.sort_values(["segmentation_id", "step_idx", "rater_id"], kind="stable")
    steps = votes.groupby(["segmentation_id", "step_idx"], sort=False, observed=True)
    frame = votes[["rater_id", "value"]].set_axis(["worker", "label"], axis=1).assign(task=steps.ngroup())
    found = of_frame(frame, method)
    units = votes.loc[~votes.duplicated(["segmentation_id", "step_idx"]), ["segmentation_id", "step_idx"]]
    at = zip(units["segmentation_id"], units["step_idx"], strict=True)
    return {
        (segmentation, int(step)): (found.labels[task], found.sure[task])
        for task, (segmentation, step) in enumerate(at)
        if task in found.labels
    }


_Found = tuple[dict[Hashable, float], dict[Hashable, float], dict[str, float]]


def _apart(method: str, frame: pd.DataFrame) -> _Found:
    """In a process that ends with it: what an estimate over a million votes needs is not held by the server ever after."""
    with processes(1) as process:
        try:
            return process.submit(_compute, method, frame).result()
        except BrokenProcessPool:
            raise StoreError(
                f"The estimate over {len(frame):,} votes was ended from outside, most likely for want of memory; try again when "
                "there is more."
            ) from None


def _compute(method: str, frame: pd.DataFrame) -> _Found:
    return METHODS[method](frame)


def _majority(frame: pd.DataFrame) -> _Found:
    counts = frame.groupby(["task", "label"]).size()
    most, votes = counts.groupby("task").max(), counts.groupby("task").sum()
    top = counts[counts == most.reindex(counts.index.get_level_values("task")).to_numpy()].reset_index("label")
    alone = top[~top.index.duplicated(keep=False)]["label"]
    share = most / votes
    # Against the others' votes: with one's own among them everybody agrees with a majority of two.
    of_unit = frame["task"].map(votes) - 1
    pairs = counts.reindex(list(zip(frame["task"], frame["label"], strict=True))).to_numpy()
    others = (pairs - 1) / of_unit.where(of_unit > 0)
    return _plain(alone), _plain(share), _plain(others.groupby(frame["worker"]).mean().dropna())


def _mean(frame: pd.DataFrame) -> _Found:
    mean = frame.groupby("task")["label"].mean()
    near = (frame["label"] - frame["task"].map(mean)).abs() <= 0.5
    return _plain(mean), _plain(near.groupby(frame["task"]).mean()), _plain(near.groupby(frame["worker"]).mean())


def _dawid_skene(frame: pd.DataFrame) -> _Found:
    from crowdkit.aggregation import DawidSkene

    model = DawidSkene(n_iter=DAWID_SKENE_ROUNDS).fit(frame)
    assert model.errors_ is not None  # fit has run
    right = model.errors_.reset_index().melt(["worker", "label"], var_name="truth", value_name="p")
    right = right[right["label"] == right["truth"]]
    # The chance to be right on a unit drawn from the queue: each label's own chance, weighted by how common it is.
    weighted = right["p"] * right["truth"].map(model.priors_).astype(float)
    return _best(model.probas_, weighted.groupby(right["worker"]).sum())


def _mace(frame: pd.DataFrame) -> _Found:
    import pandas as pd
    from crowdkit.aggregation import MACE

    model = MACE(n_restarts=MACE_RESTARTS, n_iter=MACE_ROUNDS, random_state=MACE_SEED)
    model.fit(frame)
    # Column 0: the chance that a rater does not look; they are in the order in which they first come.
    looked = pd.Series(1 - model.spamming_[:, 0], index=frame["worker"].unique())
    return _best(model.probas_, looked)


def _best(chances: pd.DataFrame | None, competence: pd.Series[Any]) -> _Found:
    assert chances is not None  # fit has run
    return _plain(chances.idxmax(axis=1)), _plain(chances.max(axis=1)), _plain(competence)


def _plain(series: pd.Series[Any]) -> dict[Any, float]:
    return {key: float(value) for key, value in series.items()}


METHODS: dict[str, Callable[[pd.DataFrame], _Found]] = {
    "majority": _majority,
    "mean": _mean,
    "dawid_skene": _dawid_skene,
    "mace": _mace,
}
