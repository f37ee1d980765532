"""The tree of a trace that marks no decisions: a kind and a parent for every step, inferred from its words.

The same interface as `core.tree.TreeBuilder`. A *plan* is the run of steps that a plan, an exploration or a backtrack
begins. Steps go on in a line, except:

* verify: stands on the step that it checks, the one before unless it names another; what follows a check stands on it;
* explore: hangs where the plan beside which it stands began;
* backtrack: resumes from, in this order, the step that it names; for a mended mistake, the step before the wrong one, found
  by what the two share; a step that it quotes more clearly than the default; else the parent of the plan just given up.

Only the step that closes is placed: no older parent ever changes. Every step costs a bounded amount of work (`work`
counts it). Knows no format and no task. Schema after ReJump (tree and walk) and LCoT2Tree's edge classes; no code of theirs.
"""

from __future__ import annotations

from dataclasses import dataclass

from core.implicit.kinds import MEMORY, SETUP_STEPS, Context, Reading, classify, question_words, read
from core.implicit.mentions import RIVALS, SIDE_BY_SIDE, Mention, Mentions
from core.implicit.recall import Recall, terms
from core.trace import Decision, Placed, Step

CLIMB = 64  # steps up the path that are looked at for a quoted step
CLEARLY = 2.0  # how many times better than the default a quoted step must fit
ENOUGH = 6.0  # and what it must share at least: about two formulas or four rare numbers
ALIKE = 4.0  # what two tries at one thing share at least
MENDED = 8  # steps back that a mended mistake may lie


@dataclass
class _Plan:
    first: int
    parent: int | None
    last: int
    guess: bool = False  # a hypothesis put up
    whole: bool = False  # an approach of its own, not a try within one
    finished: bool = False


class ImplicitTree:
    """Places steps one by one. `nodes[i]` is final once `close(i)` was called."""

    def __init__(self, prompt: str = "") -> None:
        self.nodes: list[Placed] = []
        self.depths: list[int] = []
        self.work = 0  # steps of path walked; with `recall.work` all that is not reading
        self.recall = Recall()
        self._asked = question_words(prompt)
        self._mentions = Mentions()
        self._plans: list[_Plan] = []
        self._approaches: list[int] = []  # first steps of whole plans
        self._announced = False
        self._given: int | None = None  # the last step that only read the question
        self._context = Context()

    def open(self, entered_by: Decision | None) -> Placed:
        """Place a step that has just begun, before its first word: after the step before it."""
        index = len(self.nodes)
        self._context.entered_by_backtrack = entered_by == "backtrack" and index > 0
        self.nodes.append(Placed(index - 1 if index else None))
        self.depths.append(self.depths[-1] + 1 if index else 0)
        return self.nodes[-1]

    def close(self, step: Step) -> Placed:
        """The step's text is complete: its kind and its parent are final."""
        index, text = step.index, step.thought or step.summary or step.name
        context = self._context
        context.index = index
        reading = read(text, self._asked)
        kind, sure = classify(reading, context)
        name = self._mentions.heading(text)
        found = terms(text)
        if kind == "backtrack" and name and name[0] in SIDE_BY_SIDE - RIVALS and not reading.turns():
            kind = "explore"  # the first case that gives itself a name stands beside what came to nothing
        if kind == "backtrack" and not self._plans and index > 1 and (context.failed <= MEMORY or reading.turns()):
            # What failed was begun while the question was still being read.
            self._plans.append(_Plan(1, 0, index - 1, whole=True))
            self._approaches.append(1)
        sibling = self._mentions.sibling(name) if name else None
        if sibling is not None and kind not in ("conclude", "verify"):
            assert name is not None
            rival = name[0] in RIVALS and context.failed <= MEMORY
            node = self._beside(index, sibling, instead=rival or (kind == "backtrack" and reading.turns()))
        elif index == 0 or (kind == "backtrack" and not self._plans):
            # Nothing has been tried yet: there is nothing to give up.
            kind = "plan" if kind == "backtrack" else kind
            node = Placed(index - 1 if index else None, confidence=sure, kind=kind)
        elif kind == "backtrack":
            node = self._backtrack(index, text, reading, found, name, sure)
        elif kind == "explore":
            plan = self._plans[-1] if self._plans else None
            node = Placed(plan.parent if plan else index - 1, confidence=sure, kind=kind)
        elif kind == "verify":
            node = Placed(self._checked(index, text, name), confidence=sure, kind=kind)
        else:
            node = Placed(index - 1, confidence=sure, kind=kind)
        self.nodes[index] = node
        self.depths[index] = 0 if node.parent is None else self.depths[node.parent] + 1
        self._keep_plans(index, node, reading)
        self._mentions.register(index, text, name)
        self.recall.remember(index, found)
        self._keep_context(node, reading)
        return node

    def add(self, step: Step, entered_by: Decision | None) -> Placed:
        """Place a step whose text is complete."""
        self.open(entered_by)
        return self.close(step)

    # ---- where a step hangs -------------------------------------------------------------------------------------

    def _beside(self, index: int, sibling: int, *, instead: bool) -> Placed:
        """ "Case 2" hangs where "Case 1" hangs; "Attempt 2" after a failure replaces "Attempt 1"."""
        parent = self.nodes[sibling].parent
        if instead:
            return Placed(parent, True, parent, sibling, 0.85, "backtrack")
        return Placed(parent, confidence=0.85, kind="explore")

    def _checked(self, index: int, text: str, name: tuple[str, str] | None) -> int:
        mention = self._mentions.find(text, index, name)
        return mention.number if mention and mention.what == "step" else index - 1

    def _backtrack(
        self,
        index: int,
        text: str,
        reading: Reading,
        found: dict[str, float],
        name: tuple[str, str] | None,
        sure: float,
    ) -> Placed:
        plan = self._given_up(reading)
        mention = self._mentions.find(text, index, name)
        if mention and (target := self._mentioned(mention, reading)) is not None:
            resumes, replaces, sure = target[0], self._branch_under(target[0], index - 1), min(sure + 0.1, mention.sure)
        elif not reading.turns() and (
            reading.denied
            or "mistake" in reading.opening
            or (reading.amends and not reading.replans and "rethink" not in reading.opening)
        ):
            replaces = self._mended(index, found)
            resumes = self.nodes[replaces].parent
        elif (
            "attempt" in reading.opening
            and not reading.turns()
            and (tried := self._tried(plan, index, found)) is not None
        ):
            resumes, replaces = self.nodes[tried].parent, tried
        elif (quoted := self._quoted(plan, index, found)) is not None:
            resumes, replaces = quoted, self._branch_under(quoted, index - 1)
        else:
            resumes = plan.parent
            replaces = plan.first if plan is self._plans[-1] else self._branch_under(resumes, index - 1)
        return Placed(resumes, True, resumes, replaces, round(sure, 2), "backtrack")

    def _given_up(self, reading: Reading) -> _Plan:
        """The plan that a turn leaves: an approach is left for another approach, a try for another try."""
        if "approach" not in reading.opening and "return" not in reading.opening:
            return self._plans[-1]
        for plan in self._plans[: -CLIMB - 1 : -1]:
            self.work += 1
            if plan.whole:
                return plan
        return self._plans[-1]

    def _mentioned(self, mention: Mention, reading: Reading) -> tuple[int | None] | None:
        """The step that a backtrack's mention means: a 1-tuple, for the question is None. None: it means none."""
        if mention.what == "question":
            return (self._given,)
        if mention.what == "step":
            return (mention.number,)
        if "return" not in reading.opening:  # "unlike my first approach": not a way back
            return None
        # An approach reaches as far as the step before the next one.
        at = mention.number + 1 if mention.number >= 0 else len(self._approaches) - 1
        return (self._approaches[at] - 1,) if 0 < at < len(self._approaches) else None

    def _mended(self, index: int, found: dict[str, float]) -> int:
        """The wrong step: among the latest ones that compute something, the one that the new step shares most with."""
        scores = self.recall.scores(found)
        best, at, most = None, index - 1, 0.0
        for _ in range(MENDED):
            self.work += 1
            node = self.nodes[at]
            if node.kind not in ("verify", "aside", "setup"):
                score = scores.get(at, 0.0) + (0.5 if best is None else 0.0)
                if best is None or score > CLEARLY * most:
                    best, most = at, score
            if node.parent is None:
                break
            at = node.parent
        return index - 1 if best is None else best

    def _tried(self, plan: _Plan, index: int, found: dict[str, float]) -> int | None:
        """After a failure "let me try a quadratic one" replaces the "try a linear one" that failed: the step of the plan
        at hand that shares most with the new one. None: nothing clearly."""
        scores = self.recall.scores(found)
        best, most, at = None, ALIKE, index - 1
        for _ in range(CLIMB):
            self.work += 1
            if scores.get(at, 0.0) > most:
                best, most = at, scores[at]
            parent = self.nodes[at].parent
            if at == plan.first or parent is None:
                break
            at = parent
        return best

    def _quoted(self, plan: _Plan, index: int, found: dict[str, float]) -> int | None:
        """A step above the plan just given up that the new step clearly goes on from."""
        at = plan.parent
        if at is None:
            return None
        scores = self.recall.scores(found)
        default = scores.get(at, 0.0)
        best, most = None, max(ENOUGH, CLEARLY * default)
        for _ in range(CLIMB):
            self.work += 1
            if scores.get(at, 0.0) > most:
                best, most = at, scores[at]
            parent = self.nodes[at].parent
            if parent is None:
                break
            at = parent
        return best

    def _branch_under(self, ancestor: int | None, step: int) -> int:
        """The first step of the branch that leads from `ancestor` to `step`; where there is no such way (or a very long
        one), the first step of the latest plan."""
        at = step
        for _ in range(CLIMB * 4):
            self.work += 1
            parent = self.nodes[at].parent
            if parent == ancestor:
                return at
            if parent is None:
                break
            at = parent
        return self._plans[-1].first

    # ---- what is remembered -------------------------------------------------------------------------------------

    def _keep_plans(self, index: int, node: Placed, reading: Reading) -> None:
        mended = node.is_backtrack and (reading.denied or "mistake" in reading.opening) and not reading.turns()
        whole = node.kind == "explore" or (node.is_backtrack and bool(reading.opening & {"approach", "return"}))
        announced = node.kind == "plan" and (self._context.fresh > MEMORY or not self._announced)
        if node.kind == "plan" and not self._announced:
            self._announced = whole = True  # the first plan put into words is an approach,
            if index < SETUP_STEPS:
                self._plans.clear()
                self._approaches.clear()  # and what came before it was thinking about the question
        if node.kind == "setup":
            self._given = index
        elif not self._plans and node.kind != "aside":
            self._plans.append(_Plan(index, node.parent, index, "hypothesis" in reading.first, whole=True))
            self._approaches.append(index)
        elif (node.is_backtrack and not mended) or whole or announced:
            self._plans.append(_Plan(index, node.parent, index, "hypothesis" in reading.first, whole))
            if whole:
                self._approaches.append(index)
        if self._plans:
            plan = self._plans[-1]
            plan.last = index
            checked = bool(reading.inside & {"confirm", "agrees"}) and index - plan.first > MEMORY
            if (
                (reading.objects and "check" not in reading.opening)
                or reading.fell
                or ("fail" in reading.inside and "conclude" not in reading.inside)
            ):
                plan.finished = False  # a result that is doubted finishes nothing
            plan.finished |= checked or reading.result or "conclude" in reading.inside or node.kind == "conclude"

    def _keep_context(self, node: Placed, reading: Reading) -> None:
        c = self._context
        c.setting_up &= node.kind in ("setup", "aside")
        plan = self._plans[-1] if self._plans else None
        c.finished = plan is not None and plan.finished
        c.fresh = plan.last - plan.first if plan else 1 << 30
        c.turned = 0 if node.is_backtrack or node.kind == "explore" else c.turned + 1
        # A failure is answered by the turn that it led to; a failure that the turn itself ends with is a new one.
        fails = reading.fell if node.is_backtrack else reading.gave_up or bool(reading.inside & {"fail", "mistake"})
        c.failed = 0 if fails else (1 << 30 if node.is_backtrack else c.failed + 1)
        held = node.kind == "verify" and not fails  # a check that finds nothing leaves nothing to be answered
        if held or ("confirm" in reading.inside and not reading.gave_up):
            c.failed = 1 << 30
        c.announced = bool(reading.late)
        c.gave_up = reading.gave_up and c.failed == 0
        c.asked, c.brief, c.verdict = reading.question, reading.brief, reading.verdict
        c.guessing = plan is not None and plan.guess
