"""What one step does, read from its words and from what the steps before it left open.

`read` finds the signals of a step (see `cues.py` and `openings.py`) where they count: its first sentences say what the step is, its last ones
whether it failed and what the next step is. A turn has two sides, a line that failed and a fresh start: `classify` weighs them against the context: the same "maybe try …" is a plan at the
beginning and a turn after a failure; the same "alternatively" gives an unfinished line up, and stands beside a finished one.
Knows nothing of parents. Costs at most `HEAD + TAIL` characters a step, however long the step is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from core.implicit.cues import ALL_WORDS, CHINESE, said, word_set
from core.implicit.openings import (
    AMENDS,
    AMENDS_SAID,
    CONTRASTS,
    CORRECTS,
    DENIES,
    FILLERS,
    IN_VAIN,
    INFERS,
    NO,
    NO_ENDS,
    OBJECTS,
    PAUSES,
    REALISES,
    REFERS,
    REPLANS,
    TRAILS,
    VERDICT,
)
from core.trace import Kind

HEAD, TAIL = 700, 300  # characters read at either end of a step
OPENING = 2  # sentences that say what a step is
ENDING = 2  # sentences in which a step may end with a failure
ASKED = 2  # words shared with the question that make a sentence one about it
TURNS = word_set("other return approach mistake")
SHORT = 60  # characters; a remark without numbers up to this length is an aside
BRIEF = 140  # characters; a step up to this length may be the first half of a turn that is said in two steps
SETUP_ASKS = 2  # steps that may be called reading for the words that they share with the question alone
SETUP_STEPS = 12  # the question is read at the beginning; later readings of it are checks
MEMORY = 2  # steps for which a failure is still what the next attempt answers

_SENTENCES = re.compile(r"(?<=[.?!])[\s*]+|\n+|(?<=[。！？；])")
_WORDS = re.compile(r"[^\W\d_]+(?:[-'][^\W\d_]+)*")
# The same two where all is ASCII and lower case, in less than half the time.
_ASCII_SENTENCES = re.compile(r"(?=[\s*])(?:(?<=[.?!])[\s*]+|\n+)")
_ASCII_WORDS = re.compile(r"[a-z]+(?:[-'][a-z]+)*")
_QUOTED = re.compile(r'"[^"\n]{1,300}"|“[^”\n]{1,300}”|«[^»\n]{1,300}»|„[^“\n]{1,300}“|(?<!\w)\'[^\'\n]{1,80}\'(?!\w)')
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]{1,200}`", re.S)
_CJK = re.compile(r"[\u4e00-\u9fff]")
_DIGITS = re.compile(r"\d")
_RESULT = re.compile(
    r"\W*(?:therefore|thus|hence|so|consequently|finally|that means|which means)\b[^?]*(?:\b(?:is|are|equals?|gives?|be)\b|[=≈])[^?]*\d"
)
_INTENT = word_set("if let let's need can could should must want try suppose assume when")
_BLAND = word_set(
    "what which where when that this there their with from have have's does into each such than then them they will would "
    "find compute calculate determine value give given show prove your answer real number integer integers positive how many"
)


@dataclass(frozen=True)
class Reading:
    """The signals of a step, and how it begins. `first`: of its first sentence; `opening`: of its first sentences, and turns
    in the rest of its first half; `inside`: of all that was read; `late`: turns in the second half: the step belongs to
    what was before them, the next one to what comes after."""

    opening: frozenset[str] = frozenset()
    first: frozenset[str] = frozenset()
    inside: frozenset[str] = frozenset()
    late: frozenset[str] = frozenset()
    together: bool = False  # a turn and a check stand in one sentence: another way *to verify*
    failed_before: bool = False  # within the opening, a failure precedes an attempt
    gave_up: bool = False  # ends with a failure
    fell: bool = False  # begins otherwise, and its last sentence is a failure
    fails_first: bool = False  # its first sentence is a failure
    denied: bool = False  # takes back what was just said, and goes on
    realises: bool = False  # begins with "oh", "I see" or the like
    corrects: bool = False  # and says in the same sentence what is so instead
    refers: bool = False  # begins with "this", "because" or the like: goes on about the same thing
    result: bool = False  # states a result in the words of the question
    pause: bool = False  # begins with "wait" or the like
    replans: bool = False  # begins with "actually, let me"
    amends: bool = False  # begins with "actually" or "it should be"
    contrasts: bool = False  # begins with "but", "wait" or the like
    objects: bool = False  # begins with "but" or "however"
    infers: bool = False  # begins with "so" or the like
    remark: bool = False  # short, without a number
    brief: bool = False  # a sentence or two
    verdict: bool = False  # its last sentence is a word or two: "Fine.", "No.", "Not a bug."
    question: bool = False  # ends with a question
    asks: bool = False  # uses the words of the question and computes nothing

    def turns(self) -> bool:
        return bool(self.opening & {"other", "return"})


@dataclass
class Context:
    """What earlier steps left open. `failed`: steps since something did not work; `turned`: steps since the last turn. Of the
    last step: `announced`: it ended by announcing another way; `gave_up`: with a failure; `asked`: with a question;
    `verdict`: with a word or two on what was tried; `brief`: it was a sentence or two. Of the current plan: `guessing`: it
    is a hypothesis; `finished`: it has reached a result; `fresh`: steps since it began."""

    index: int = 0
    setting_up: bool = True
    failed: int = 1 << 30
    turned: int = 1 << 30
    announced: bool = False
    gave_up: bool = False
    brief: bool = False
    asked: bool = False
    verdict: bool = False
    guessing: bool = False
    finished: bool = False
    fresh: int = 1 << 30
    entered_by_backtrack: bool = False


def question_words(prompt: str) -> frozenset[str]:
    """The words of a question that a sentence with its answer is likely to repeat."""
    return frozenset(w for w in _WORDS.findall(prompt[-600:].lower()) if len(w) > 3) - _BLAND


def read(text: str, asked: frozenset[str] = frozenset()) -> Reading:
    """Find the signals of a step. Bounded work."""
    if len(text) > HEAD + TAIL:
        text = text[:HEAD] + "\n" + text[-TAIL:]
    text = text.strip().lower().replace("’", "'")
    short = len(text) <= SHORT  # with its code and quotations: a program is no remark
    if "`" in text:
        text = _CODE.sub(" _ ", text)
    if '"' in text or "“" in text or "«" in text or "'" in text:
        text = _QUOTED.sub(" _ ", text)
    ascii_ = text.isascii()
    sentences = (_ASCII_SENTENCES if ascii_ else _SENTENCES).split(text)
    words_of = (_ASCII_WORDS if ascii_ else _WORDS).findall
    worded = [set(words_of(sentence)) for sentence in sentences]
    all_words = set().union(*worded)
    begins = Reading(
        pause=PAUSES.match(text) is not None,
        replans=REPLANS.match(text) is not None,
        amends=AMENDS.match(text) is not None,
        contrasts=CONTRASTS.match(text) is not None,
        objects=OBJECTS.match(text) is not None,
        infers=INFERS.match(text) is not None,
        realises=REALISES.match(text) is not None,
        corrects=(CORRECTS.match(text) or AMENDS_SAID.match(text)) is not None,
        refers=REFERS.match(text) is not None,
        question=text.endswith("?"),
        gave_up=len(text) > SHORT // 2 and TRAILS.search(text, max(0, len(text) - SHORT)) is not None,
        verdict=VERDICT.search(text, max(0, len(text) - BRIEF)) is not None,
        brief=len(text) <= BRIEF,
        remark=short and not _DIGITS.search(text),
        asks=len(asked & all_words) >= ASKED and "=" not in text,
    )
    if ALL_WORDS.isdisjoint(all_words) and ascii_:
        return begins
    chinese = not ascii_ and _CJK.search(text) is not None
    found: list[frozenset[str]] = []
    denied = DENIES.match(text) is not None
    opening: set[str] = set()
    bodies = 0  # sentences with more than fillers in them
    pause, taken_back = begins.pause, denied
    checked_itself = False  # "Is it …?" stood before: a "No" answers that
    goes_on = False  # says more than that something is not so
    result = together = failed_before = False
    late: set[str] = set()
    first: frozenset[str] = frozenset()
    at = 0
    for sentence, words in zip(sentences, worded, strict=True):
        body = sentence[FILLERS.match(sentence).end() :]  # type: ignore[union-attr]
        signals = said(body, words)
        if not checked_itself and sentence.endswith(NO_ENDS) and NO.search(sentence):
            signals.add("fail")  # "…, so no."; after "Is it …?" it is only the answer
        elif not checked_itself and DENIES.match(sentence):
            signals.add("denies")
        if sentence.endswith("?"):
            signals.discard("fail")
            if IN_VAIN.search(sentence):
                signals.add("fail")
        if chinese:
            signals |= {name for name, pieces in CHINESE.items() if any(p in sentence for p in pieces)}
        if not result and len(asked & words) >= ASKED:
            result = _RESULT.match(sentence) is not None and _INTENT.isdisjoint(words)
        if bodies < OPENING:
            if bodies == 0:
                pause = pause or PAUSES.search(sentence, 0, len(sentence) - len(body)) is not None
            together |= "check" in signals and bool(signals & {"other", "return", "rethink"})
            failed_before |= bool(signals & {"attempt", "guess"}) and (denied or "fail" in opening)
            if bodies == 0 and "denies" in signals and not sentence.endswith("?"):
                taken_back = True
            if bodies == 0:
                first = frozenset(signals)
            opening |= signals
        elif "check" not in signals:
            (opening if at < len(text) / 2 else late).update(signals & TURNS)
        bodies += len(body) > 2
        goes_on |= len(body) > SHORT // 4 and not signals & {"denies", "fail", "check"}
        at += len(sentence) + 1
        checked_itself |= "check" in signals and sentence.endswith("?")
        found.append(frozenset(signals))
    last = found[-ENDING:]
    return replace(
        begins,
        gave_up=begins.gave_up
        or (
            any(s & {"fail", "denies", "mistake"} for s in last)
            and not (checked_itself or last[-1] & {"confirm", "agrees", "check"})
        ),
        fails_first="fail" in found[0],
        fell=len(found) > 1 and "fail" in found[-1],
        denied=taken_back and (len(text) > SHORT or goes_on) and "fail" not in last[-1] and "confirm" not in opening,
        first=first,
        opening=frozenset(opening),
        inside=frozenset().union(*found),
        late=frozenset(late),
        together=together,
        failed_before=failed_before,
        result=result,
        pause=pause,
    )


def classify(r: Reading, c: Context) -> tuple[Kind, float]:
    """The kind of a step and how sure that is. First rule that holds wins; the numbers are hand-set and measured in bulk
    (docs/implicit-tree.md), not probabilities of single rules."""
    o = r.opening
    failed = c.failed <= MEMORY or r.failed_before
    # A turn said twice in a row ("That is no good. Another way. Maybe …") is one turn.
    merged = c.turned <= 1 and c.brief and not failed
    reading_the_question = c.setting_up and "given" in o  # which may well ask for "your final answer in a box"
    supposes = "supposes" in r.first and "check" not in r.first
    if (
        "conclude" in o
        and not r.turns()
        and not (supposes and (r.contrasts or "conclude" not in r.first))
        and not reading_the_question
    ):
        return "conclude", 0.9
    if c.setting_up and c.index < SETUP_STEPS and "given" in o and not r.turns() and "fail" not in o:
        return "setup", 0.8
    if c.entered_by_backtrack:
        return "backtrack", 0.9
    if "return" in o and not r.together:
        return "backtrack", 0.85
    confirms = bool(r.inside & {"confirm", "agrees"}) and "fail" not in r.inside
    # What was just said is taken back, and put right.
    if "mistake" in o and not (r.together or merged):
        return "backtrack", 0.65
    if r.denied and not (c.asked or confirms or r.together) and ("check" not in o or "redo" in o):
        return "backtrack", 0.6
    if r.corrects and not (merged or c.setting_up or confirms or "check" in o):
        return "backtrack", 0.55
    # Words of turning: beside a line that reached something, another way stands; in place of one that did not, it turns.
    if {"view", "other"} <= o and not c.gave_up:
        return "explore", 0.6
    if "other" in o:
        if r.together or (confirms and not c.gave_up):
            return "explore", 0.6
        if failed:
            return "backtrack", 0.8
        return ("explore", 0.6) if c.finished else ("backtrack", 0.65)
    if "prefer" in o and not (merged or c.finished or c.setting_up or "check" in o):
        return "backtrack", 0.55
    if "rethink" in o and not (r.together or merged or ("check" in o and not failed)):
        return "backtrack", 0.6
    if r.replans and not (merged or c.finished or c.setting_up or confirms or "check" in r.first):
        return "backtrack", 0.55
    if c.announced and "check" not in o:
        return "backtrack", 0.7
    # A failure, and then a fresh start: the clearer the failure, the fewer words the start needs.
    if failed and "check" not in o:
        if (
            (r.first if r.objects else o) & {"attempt", "plan"}
            or ("guess" in o and not (r.infers or r.fails_first or "confirm" in o))
            or (r.amends and c.failed == 0 and not c.asked)
        ):
            return "backtrack", 0.6
        if (c.gave_up or r.failed_before) and (r.realises or "redo" in o):
            return "backtrack", 0.6
        if c.gave_up and "hypothesis" in r.first and not r.infers:
            return "backtrack", 0.55
        about_it = r.infers or r.objects or r.refers or r.pause or r.remark or r.fails_first or "confirm" in o
        if c.gave_up and not (about_it or confirms):
            return "backtrack", 0.5
    # One hypothesis in place of another; one that contradicts the line at hand.
    if c.guessing and c.verdict and "hypothesis" in r.first and not (c.setting_up or r.infers):
        return "backtrack", 0.55
    if (
        ((supposes and (c.guessing or not r.objects)) or ("proposes" in o and "check" not in o))
        and r.contrasts
        and not (merged or c.finished or c.setting_up)
    ):
        return "backtrack", 0.55
    if o & {"check", "redo"} and c.index:
        return "verify", 0.8
    if c.index and (r.pause or "confirm" in o):
        return "verify", 0.6
    if o & {"plan", "prefer", "tries"}:
        return "plan", 0.6
    if r.remark and not o - {"attempt", "fail", "guess", "denies"}:
        return "aside", 0.6
    if c.setting_up and r.asks and c.index < SETUP_ASKS:
        return "setup", 0.5
    return "derive", 0.7
