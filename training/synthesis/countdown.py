"""Walks through the state DAG of a numbers-game question, wrong turns and backtracks included, written in Steiner's format.

The explorer is a depth-first searcher that is sometimes lucky: with probability `insight` it picks a move the oracle
knows to be alive, otherwise it picks among the untried moves, likelier ones first. After a failed move it goes on from the same state,
or gives it up and returns to the question. A state that is dead it may leave early, a live one never. So the
written trace holds what a reasoner needs: hunches, checks, dead ends, returns. Idea: Steiner's second stage (sample many
paths with backtracks from a DAG); the explorer is ours.

Each trace gets its own `insight`, so that long and short searches are both in the data, up to the full step limit.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from core.formats import steiner_tokens as t
from core.tasks import countdown as game
from core.tasks import countdown_text as words

STEP_LIMIT = 60
SHARE_OF_THREE = 0.35
# How often a dead state is given up after a failed move, and how often the explorer sees at once that a move to three
# numbers is dead. Live states are never given up: what the model learns from this is a hunch, not a certainty.
GIVE_UP = 0.25
SEE_DEAD = 0.4
# Half of what a step costs to train on is attention over all the steps before it, and a step is learned in short traces
# as well as in long ones: so most traces end early, at a limit like those that are set in use, and the others are whole.
FULL_LENGTH, SHORTER = 0.35, (5, 8, 12, 16, 20, 30)
VERBS = {words.TRY[0]: 0.75, words.TRY[1]: 0.25}


@dataclass(frozen=True)
class Choice:
    """What the explorer might have done at one step, with probabilities: a reasoner learns more from all the moves that
    were open than from the one that the dice took."""

    moves: dict[game.Move, float]
    verbs: dict[str, float]
    turns: dict[str, float]  # the phrase that turns the search after the move; empty where it is decided by the rules


@dataclass(frozen=True)
class Walk:
    """One written search: the question, the steps, how it ended. `path` is None when it ran out of steps."""

    problem: game.Countdown
    prompt: str
    steps: list[words.WrittenStep]
    choices: list[Choice]  # one a step
    path: list[game.Move] | None
    answer: str

    @property
    def response(self) -> str:
        """The trace as the model should print it: no whitespace between Steiner's tokens."""
        parts = [t.REASONING_START]
        for step in self.steps:
            parts.append(step_text(step))
            if step.decision == "proceed":
                parts.append(t.PROCEED)
            elif step.decision == "backtrack":
                parts.append(t.BACKTRACK)
        if not self.path:  # cut by the step limit: the end was forced in place of the last decision
            parts.pop()
        return "".join((*parts, t.REASONING_END, self.answer))


def step_text(step: words.WrittenStep) -> str:
    """One step between its tokens, without the decision."""
    fields = "".join(f"{start}{getattr(step, name)}{end}" for name, (start, end) in t.FIELDS.items())
    return f"{t.STEP_START}{fields}{t.STEP_END}"


def _weight(state: game.State, move: game.Move, target: int) -> float:
    """How promising a move looks without the oracle: results near the target or dividing it, no waste by 1."""
    w = 1.0
    if move.result > target + 40:
        w *= 0.3
    if move.op == "÷":
        w *= 0.5
    if move.op in "×÷" and move.b == 1:
        w *= 0.4
    if move.result == target or (target % move.result == 0 and move.result > 1):
        w *= 1.5
    return w


def _chances(
    state: game.State, options: list[game.Move], live: list[game.Move], target: int, insight: float
) -> dict[game.Move, float]:
    """How likely the explorer is to make each move; sums to 1. With two numbers left it knows: the reflection before
    named the first operation that hits."""
    if live and len(state) == 2:
        return {next(m for m in game.pair_moves(*state) if m.result == target): 1.0}
    weights = {m: _weight(state, m, target) for m in options}
    blind = sum(weights.values())
    lucky = insight if live else 0.0
    return {m: (1 - lucky) * w / blind + (lucky / len(live) if m in live else 0.0) for m, w in weights.items()}


def walk(
    problem: game.Countdown, rng: random.Random, *, step_limit: int, insight: float, phrasing: int | None = None
) -> Walk:
    """Search one question as a person might, at most `step_limit` steps.

    insight: probability of choosing a live move where there is one (0: blind).
    """
    root, target = problem.numbers, problem.target
    prompt = words.ask(problem, rng.randrange(len(words.PHRASINGS)) if phrasing is None else phrasing)
    steps: list[words.WrittenStep] = []
    choices: list[Choice] = []
    stack: list[game.State] = [root]  # states from the question to the one in hand
    path: list[game.Move] = []
    tried: dict[game.State, set[game.Move]] = {}
    while len(steps) < step_limit:
        state = stack[-1]
        done = tried.setdefault(state, set())
        options = [m for m in game.moves(state) if m not in done]
        if not options:  # everything was tried here; only possible at the question itself
            tried.clear()
            continue
        live = [m for m in options if game.alive(game.after(state, m), target)]
        chances = _chances(state, options, live, target, insight)
        move = rng.choices(list(chances), list(chances.values()))[0]
        done.add(move)
        left = game.after(state, move)
        verb = rng.choices(list(VERBS), list(VERBS.values()))[0]
        if len(left) == 1:
            steps.append(words.write_step(state, move, target, back_to=None, root=root, verb=verb))
            choices.append(Choice(chances, {}, {}))
            return Walk(problem, prompt, steps, choices, [*path, move], words.write_answer(target, [*path, move]))
        is_alive = game.alive(left, target)
        give_up, back_to = False, None
        turns: dict[str, float] = {}
        if len(left) == 3:
            if not is_alive:
                turns = {words.TOO_FAR: SEE_DEAD, words.CLOSER: 1 - SEE_DEAD}
                give_up = rng.random() < SEE_DEAD
                back_to = state if give_up else None
        elif not is_alive:
            leave = 0.0
            if len(stack) > 1:
                exhausted = len(done) == len(game.moves(state))
                leave = 1.0 if exhausted else 0.0 if game.alive(state, target) else GIVE_UP
                turns = {words.RESTART: leave, words.NO_LUCK: 1 - leave}
            back_to = root if rng.random() < leave else state
        steps.append(words.write_step(state, move, target, back_to=back_to, root=root, verb=verb, give_up=give_up))
        choices.append(Choice(chances, VERBS, turns))
        if back_to is None:
            stack.append(left)
            path.append(move)
        elif back_to is root and len(stack) > 1:
            tried.pop(state, None)
            del stack[1:], path[:]
    return Walk(problem, prompt, steps, choices, None, words.write_answer(target, None))


def walks(seed: int, *, held_out: bool = False) -> Iterator[Walk]:
    """An endless, reproducible stream of walks over training (or held-out) questions."""
    rng = random.Random(seed)
    while True:
        count = 3 if rng.random() < SHARE_OF_THREE else 4
        problem = game.sample(rng, count, held_out=held_out)
        insight = rng.choice((0.0, 0.0, 0.15, 0.4))
        limit = STEP_LIMIT if rng.random() < FULL_LENGTH else rng.choice(SHORTER)
        yield walk(problem, rng, step_limit=limit, insight=insight)
