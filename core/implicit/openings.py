"""How a step begins and how a sentence ends, beyond single signals: fillers, denials, corrections, verdicts.

Patterns for lower-case text, matched at its beginning or its end, as data with reasons. What a sentence says in its middle is
in `cues.py`; `kinds.py` weighs both.
"""

from __future__ import annotations

import re

from core.implicit.cues import ADVERB, LET

FILLERS = re.compile(
    r"(?:[\s*_#>\-–—.…,!:;(]*(?:okay|ok|i see(?=[,.!])|let me see(?=[,.!])|let's see(?=[,.!])|so|but|hm+|wait|well|now|or rather|and|oh|no(?=[,.!…–—]| wait| that| it| this)|nope|yeah|yes|yep|hold on|alright|all right|right|then|"
    r"actually|ah|aha|ugh|um+|hey|hang on|a (?:second|moment|minute|sec)|sure|great|anyway|maybe not|moment(?: mal)?|also|nein|hmm+|attends|espera)"
    r"(?![\w'-])[\s,.!…:;–—-]*)*[\s*_#>\-–—.…,!:;(]*"
)
# A change of mind about what to do: "Actually, let me keep track of all four." Not one about looking at it, or one more thing.
REPLANS = re.compile(
    rf"\W*(?:(?:hmm+|wait|no|oh|but|so|ok|okay)[\s,.]+)*actually,? (?:you know what,? )?(?:wait,? )?(?:i think (?=the )|(?:{LET}) )(?!{ADVERB}(?:check|verify|confirm|see|test|re-?check|double|make sure|be|note|also|look|read|ask|say|not|recall|remember)\b)"
)
AMENDS = re.compile(
    r"\W*(?:(?:wait|no|oh|so|but|hmm)[\s,.]+)*(?:actually\b|(?:it|that|this|the \w+) should (?:be|have been)\b)"
)
OBJECTS = re.compile(r"\W*(?:but|however)\b")
INFERS = re.compile(r"\W*(?:so|therefore|thus|hence|which means|that means)\b")
CONTRASTS = re.compile(r"\W*(?:but|wait|hmm+|actually|no|however|hold on)\b")
DENIES = re.compile(
    r"\W*(?:(?:wait|but|oh|hmm+|so|ah|actually|okay|ok|well|yeah)[\s,.!…]+)*(?:no|nope|nein)\b(?:[,.!…–—]|\s+(?:wait|that|it|this)\b)"
)
REALISES = re.compile(
    r"\W*(?:(?:wait|but|hmm+|so|ok|okay|actually)[\s,.!…]+)*(?:oh|ah+|aha|i see|right|of course|got it|i (?:just |now )?(?:realize|realise|see|notice)d?)\b"
)
CORRECTS = re.compile(
    REALISES.pattern
    + r"[^.?!]{0,120}(?:\bshould\b|\b(?:has|have|had|needs?) to be\b|, not\b|\brather than\b|\binstead\b|n't\b[^.?!]*,)"
)
# Says what is so in place of what was said: "Hmm, X is actually Y", "Wait, the sides are equal, not the angles". ("Wait, actually, …" alone
# restates as often as it mends.)
AMENDS_SAID = re.compile(
    r"\W*(?:(?:wait|but|hmm+|no|oh|so|ok|okay)[\s,.!…]+)*"
    r"(?:(?:wait|no|hmm+|actually)[\s,.!…]+[^.?!\n]{3,60}\b(?:is|are|was|were) actually\b"
    r"|(?:wait|actually|hold on)[\s,.!…]+[^.?!\n]{8,120}, not (?!sure|necessarily|that i|yet|only|just)\w)[^?\n]*?(?:[.!:\n]|$)"
)
NO = re.compile(
    r"(?:^|\b(?:so|but|probably|still|again|hmm),? )(?:no|nope)[.!]?$|^(?:false|wrong|fails|impossible)(?: too| again| as well)?[.!]?$"
)
# How a sentence of that kind ends, to look at few of them.
NO_ENDS = tuple(
    word + end
    for word in ("no", "nope", "false", "wrong", "fails", "impossible", " too", " again", " as well")
    for end in ("", ".", "!")
)
# Asked of what one has just done, and no question: "But how does that help?"
IN_VAIN = re.compile(
    r"\bhow (?:does|do|would|can) (?:that|this|it|these|any of this) help\b|\bwhat(?:'s| is) the point\b"
)
VERDICT = re.compile(
    r"[.!?:;,)\n]\s*(?:(?:so|but|that's|it's|that is|still|also|which is|all|hmm),? )*(?:no|nope|yes|not(?: \w+){1,3}|fine|good|ok|okay|great|works?|the same|standard|same|correct|right|false|true|wrong|no (?:bug|issue|problem|luck|good|use|help)|impossible|fails|nothing|unlikely|consistent|possible)[.!]*$"
)
# Trails off in doubt: "= -43/42... hmm."
TRAILS = re.compile(r"[.…,;:–—-]\s*(?:hmm+|wait|no wait|hold on|uh[- ]oh|huh|strange|weird|odd)[\s.!…?]*$")
REFERS = re.compile(
    r"\W*(?:(?:this|that|it)\b(?! (?:could|might|may)\b)|these|those|because|since|which|the (?:problem|issue|reason|trouble|difficulty|contradiction)|similarly|likewise|also|now|next|and|yes|good|great|fine|note)\b"
)
PAUSES = re.compile(r"\b(?:wait|hold on|hang on|moment|actually|attends|espera)\b|等等|等一下|不对")
