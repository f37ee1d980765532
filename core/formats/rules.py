"""The rules by which free-form reasoning is cut into steps, as data, each with its reason. Sizes are in characters.

`segment.py` applies them; nothing here reads a stream.
"""

from __future__ import annotations

import re
from itertools import product

# ---------------------------------------------------------------------------------------------------------------- sizes
SMALL = 100  # a step smaller than this takes the next paragraph in: a rater should not have to judge "Okay." alone
SHORT = 60  # a paragraph this short (a line of formula, "So that's it.") joins the step before it ...
FULL = 400  # ... until that step is this large; so a column of one-line calculations becomes steps of a readable size
LONGEST = 1200  # beyond this a step ends at the next sentence: two screens of text cannot be judged as one
TINY = 25  # even a heading does not cut off less than this ("Okay.")
TURN_AFTER = 60  # a turn ends a step of at least this size; less is usually the same breath ("Hmm. Wait, ...")
TURN_APART = 25  # a turn that also begins a paragraph ends even a smaller step
START_AFTER = 70  # a fresh start after a failure, or at the beginning of a paragraph
STAGE_AFTER = 250  # "Next," and "Now," mark progress, not a turn: they cut a paragraph only when it is already large
LONG_ITEM = 160  # list items longer than this are steps of their own
LONGEST_CODE = 20_000  # a code block that never closes must not swallow the rest of the trace
LONGEST_DISPLAY = 4_000  # the same for a displayed formula
LONGEST_INLINE = 300  # and for a formula in the line, where a lone "$" is usually money

# ----------------------------------------------------------------------------------------------------------------- cues
# Beginnings of a sentence (lower case here, a capital in the text) that turn the reasoning. R1-like models put several such moves
# into one paragraph. Checks ("Wait") and new ideas ("Alternatively") are both steps; telling them apart is not our task.
_CHECKS = ("wait", "hmm", "but wait", "oh wait", "or wait", "no wait", "oh no", "hold on", "but hold on", "actually,", "actually wait", "actually i", "no, ",
           "to verify", "to check", "to confirm", "to double-check", "just to make sure", "just to be sure", "just to double-check",
           "but let me check", "but let me verify", "but let me make sure", "but is that", "is that right",
           "warte", "moment mal", "attends", "espera")  # fmt: skip
_RETRACTS = ("oops", "scratch that", "nope", "no that", "no wait", "that's not right", "that's wrong", "that's incorrect", "that can't be right",
             "that doesn't seem right", "i made a mistake", "i made an error", "i see the", "oh,", "oh!", "ah,", "aha")  # fmt: skip
_IDEAS = ("alternatively", "instead,", "on second thought", "on the other hand", "starting over", "going back to",
          "a different approach", "different approach", "what if", "perhaps i should", "perhaps there",
          "perhaps i'm", "perhaps i need", "perhaps the", "maybe i", "maybe we", "maybe there", "maybe the", "maybe it",
          "maybe another", "but maybe", "but perhaps", "or maybe", "or perhaps", "how about", "what about", "new idea",
          "new approach", "back to", "changing", "shifting", "rather than", "could it be", "unless", "alternativ", "stattdessen",
          "autrement")  # fmt: skip
_ENDS = ("so the answer", "so, the answer", "therefore, the answer", "thus, the answer", "hence, the answer", "the answer is",
         "the final answer", "so the final answer", "final answer", "**final answer", "in conclusion", "to conclude", "to summarize",
         "in summary")  # fmt: skip
_CHINESE = ("等等", "等一下", "不对", "或者", "另一种", "另外一种", "换一种", "换个", "让我再", "让我检查", "让我验证",
            "所以答案", "因此答案", "最终答案")  # fmt: skip
_LET = ("try", "check", "verify", "double-check", "double check", "recheck", "re-check", "confirm", "test", "make sure",
        "just check", "just verify", "just make sure", "just double-check", "read", "see if", "think again", "consider",
        "go back", "start over", "re-examine", "reconsider", "re-evaluate", "redo", "recompute", "recalculate", "rethink", "re-read",
        "step back", "take a step back", "back up", "backtrack", "start again", "start from", "switch", "think differently",
        "think about this differently", "think about it differently", "use a different", "be more careful", "correct")  # fmt: skip
_ANOTHER = ("approach", "way", "method", "idea", "option", "possibility", "thought", "strategy")
TURNS = (
    *_CHECKS, *_RETRACTS, *_IDEAS, *_ENDS, *_CHINESE,
    *(f"{who} {what}" for who, what in product(("let me", "let's"), _LET)),
    *(f"{which} {what}" for which, what in product(("another", "a better", "one more"), _ANOTHER)),
)  # fmt: skip
# Fresh starts: no turns in themselves, but after a sentence that ends in failure ("Still not matching. Let's assume …") one begins.
STARTS = ("let's", "let me", "let us", "maybe", "perhaps", "suppose", "assume", "consider", "try", "so let",
          "this could be", "it could be", "we could", "i could", "we can", "i can", "i'll", "we'll", "instead", "rather",
          "in that case", "better", "a better", "an alternative", "then let")  # fmt: skip
STAGES = ("first,", "firstly,", "second,", "secondly,", "third,", "thirdly,", "next,", "now,", "then,", "finally,",
          "lastly,")  # fmt: skip
_CUES = (*TURNS, *STARTS, *STAGES)
LONGEST_CUE = max(map(len, _CUES))
PREFIXES = frozenset(cue[:n] for cue in _CUES for n in range(1, len(cue) + 1))
LOOKAHEAD = SHORT + 1  # after a blank line: enough to see whether the paragraph is a short one
LOOK_LINE = LONGEST_CUE + 1  # after a line break: enough for a cue or a marker


def _any_of(cues: tuple[str, ...]) -> str:
    # A cue of Latin letters ends where a word ends; Chinese has no such ends.
    return "|".join(re.escape(c) + (r"(?!\w)" if c[-1].isascii() and c[-1].isalnum() else "") for c in cues)


CUE = re.compile(f"(?P<turn>{_any_of(TURNS)})|(?P<start>{_any_of(STARTS)})|{_any_of(STAGES)}")
# A sentence that ends so, says that something failed.
FAILED = re.compile(
    r"(?:\bnot\b|n't\b|\b(?:no|never|cannot|fails?|failed|wrong|incorrect|flawed|contradict\w*|impossible|stuck|messy|complicated|convoluted"
    r"|tedious|nowhere|inconsistent|unlikely|useless|worse|off|tricky|complex|unclear|too \w+)\b)[^.?!。？！]{0,60}[.!…]+$"
)

# ------------------------------------------------------------------------------------------------------------ sentences
# Never the end of a sentence, whatever follows.
ABBREVIATIONS = {
    "mr", "mrs", "ms", "dr", "prof", "rev", "gen", "sen", "rep", "st", "mt", "fig", "figs", "eq", "eqs", "e.g", "eg", "i.e", "ie",
    "vs", "v", "cf", "sec", "secs", "ch", "chap", "thm", "lem", "prop", "def", "cor", "ref", "refs", "pp", "viz", "resp",
    "approx", "wlog", "w.r.t", "w.l.o.g",
}  # fmt: skip
# Often inside a sentence, sometimes its end: they end one only where the next words are a turn ("..., etc. Wait,").
MAYBE = {
    "etc", "al", "no", "nos", "vol", "jr", "sr", "inc", "ltd", "co", "corp", "dept", "est", "p",
    "jan", "feb", "mar", "apr", "jun", "jul", "aug", "sep", "sept", "oct", "nov", "dec",
}  # fmt: skip
DOTTED = re.compile(r"(?:[A-Za-z]\.)+[A-Za-z]$|[A-Za-z]$")  # "U.S", and initials
CLOSERS = "\"')]}*_`$”’»」』）"
OPENERS = "\"'([{*_`$“‘«「『（"

# ------------------------------------------------------------------------------------------------------------ structure
# A line that is bold as a whole is a heading, too.
HEADING = re.compile(r"#{1,6}\s|\*\*[^*\n]+\*\*:?\s*$|__[^_\n]+__:?\s*$")
NUMBERED_STEP = re.compile(
    r"(?:[-*+]\s+)?(?:\*\*|__)?(?:Step|Case|Approach|Method|Attempt|Phase|Stage|Part|Option|第)\s*(?:\d{1,3}|[IVX]{1,4}|[A-Z]|[一二三四五六七八九十])"
    r"\s*(?:[:.)—–-]|\*\*|$|步)|\d{1,3}[.)]\s+(?:\*\*|__)"
)
ITEM = re.compile(r"(?:[-*+•–]|\(?(?:\d{1,3}|[a-zA-Z]|[ivx]{1,4})[.)])\s")
DISPLAY = ("\\[", "$$", "\\begin{", "\\boxed")
# Some models leave no blank line for pages ("So:", a formula, "Then:", a formula): a large step ends after its formula, at the line.
DISPLAY_ENDS = ("\\]", "$$")
FENCE = re.compile(r"(`{3,}|~{3,})")
UNFINISHED = tuple(",;=+-–(&<>≤≥≈×·→⇒")  # the sentence goes on after the gap
MONEY = re.compile(r"\$\d[\d,]*(?:\.\d+)?\s?[kKmMbB%]?(?:[.!?,;:)]*(?:\s+[A-Za-z]{2,}|\s*$)|[-–]|/)")
