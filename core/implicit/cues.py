"""What a sentence of reasoning says about the search it belongs to: the cue rules, as data, with reasons.

A `Signal` is looked for in single sentences, lower case, quotations and code taken out, opening fillers ("okay, so, hmm")
cut off. `words` are what at least one rule of it needs: a sentence without any of them costs one set intersection.
Knows no tree and no context; `kinds.py` weighs the signals.

Where the rules come from: a narrow list ("another approach", "start over", "go back") finds turns with a precision near
0.6 on traces of R1-like models, the same list with "wait", "hmm", "actually" falls to 0.12-0.24, because those words
announce a look back, not a way back. So fillers alone never turn a step; what follows them may.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_METHOD = r"(?:approach|method|strategy|route|angle|idea|tack|technique|plan|perspective|formulation|formula|substitution|hypothesis|theory|attempt|trick|tactic|candidate|guess|option|possibility|choice|ansatz)"
_WE = r"(?:i|we)"
LET = rf"(?:let me|let's|let us|lets|{_WE}(?:'ll| will| should| can| could| need to| have to| must| might| want to|'d better| better)|maybe {_WE}|perhaps {_WE}|maybe|perhaps|better to|need to|time to|going to)"
ADVERB = (
    r"(?:just |also |quickly |now |first |instead |simply |go back and |maybe |perhaps |try to |actually |carefully )*"
)
_BETTER = r"better|easier|simpler|quicker|cleaner|faster|safer|nicer|wiser|more (?:efficient|elegant|direct|straightforward|natural|promising|robust|systematic)"
_DEGREE = r"(?:quite |seem to |really |actually |even |seem |necessarily |fully |at all |yet |very |exactly |so |that |particularly |much |any |a lot of |immediately )"
_UNFIT = r"strange|odd|weird|off|wrong|incorrect|suspicious|fishy|unlikely|implausible|unreasonable|impossible|absurd"


def word_set(text: str) -> frozenset[str]:
    """The words of a text, for tables that read better as lines than as lists."""
    return frozenset(text.split())


@dataclass(frozen=True, eq=False)  # told apart by identity: they stand in sets
class Signal:
    """One thing a sentence can say. `starts` rules hold only at its beginning, after the fillers."""

    name: str
    why: str
    words: frozenset[str]
    anywhere: re.Pattern[str]
    starts: re.Pattern[str] | None = field(default=None)

    def said_in(self, sentence: str) -> bool:
        return bool((self.starts and self.starts.match(sentence)) or self.anywhere.search(sentence))


def _signal(name: str, why: str, words: str, anywhere: list[str], starts: list[str] | None = None) -> Signal:
    return Signal(
        name,
        why,
        word_set(words),
        re.compile("|".join(anywhere)),
        re.compile("|".join(starts)) if starts else None,
    )


SIGNALS = (
    _signal(
        "other",
        "names another way, or sets this one beside it: the narrow list",
        "alternatively alternative clearer better simpler cleaner smaller larger another different differently other else instead new or alternativ andere anderer "
        "anderen stattdessen andersherum autrement autre alternativamente otra otro ignore disregard aside forget idea thought approach way trick here's cleanest simplest easiest best direct "
        "rather unless shifting switching pivoting changing switch pivot",
        [
            rf"\b(?:another|a different|a new|an alternative|some other|a fresh|a whole new)(?: [\w-]+){{0,2}} {_METHOD}\b",
            r"\b(?:try|use) the other (?!side|hand|end)\w+|\b(?:try|use|consider|find|need|want|there's|there is|is there|take|think of|look for|maybe|perhaps|do (?:this|it)) (?:another|a different|some other|an alternative) way\b(?! (?:around|from))",
            rf"\bdifferent {_METHOD}\b",
            r"\b(?:something|anything) (?:else|different)\b",
            r"\bwhat else (?:can|could|might)\b",
            r"\b(?:think|look|approach|view|tackle|see|go)(?: about| at| of)?(?: this| it| that| the| things)?(?: \w+)? (?:differently|another way|from (?:an? (?:different|new|higher|broader|more \w+)|another) )",
            rf"\b(?:{LET}|try|use) .{{0,80}}\binstead\b(?! of)",
            rf"\b(?:maybe|perhaps) {_WE} (?:should|can|could) (?:just |simply )?(?:ignore|disregard|forget about|set aside)\b",
            rf"\b(?:instead of|rather than) [a-z]+ing\b.{{0,80}}\b(?:let me|let's|{_WE} (?:can|could|should|just|will|might))\b",
            rf"\b{LET} {ADVERB}(?:consider|try|look (?:at|for)|think (?:of|about)|explore) (?:some |the )?other (?!side|hand|end)",
            rf"\b{LET} {ADVERB}(?:use|pick|choose|take|try|find) (?:a|an|some|another) (?:different|other|clearer|better|simpler|cleaner|new|smaller|larger) [a-z]+",
            rf"\b{LET} {ADVERB}(?:switch|pivot|change (?:the |my |our )?(?:approach|strategy|tack|course|method|perspective|gears))\b",
            r"\b(?:einen? )?ander(?:e|er|en|es) (?:ansatz|weg|methode|idee|möglichkeit)\b",
            r"\b(?:une autre|otra|otro) (?:approche|méthode|idée|piste|manera|forma|método|enfoque)\b",
        ],
        [
            r"alternatively\b",
            r"alternative(?: [\w-]+)?:",
            r"(?:another|a different|an alternative|one other) (?:way|thought|option|possibility|thing to try)\b",
            r"or:|or,? (?:actually|maybe|perhaps|alternatively|better|instead|(?:i|we) (?:can|could|might))\b",
            rf"instead\b(?! of)|unless\b(?! {_WE} (?:made|mis))",
            r"(?:look|take|use|try|consider|count|think|put|write|start|work|go|focus|compute|pick|choose|treat)\b.{0,80}\binstead\b(?! of)",
            r"(?:shifting|switching|pivoting|changing)\b.{0,20}\b(?:to|course|tack|direction|strategy|approach|gears|focus)\b",
            r"(?:new|different|other) (?:approach|plan|idea|angle|strategy|attempt)\b",
            r"(?:here's|here is|i have|i've got|what about) (?:an|another|a (?:new|different)) (?:idea|thought|approach|way|trick)\b",
            rf"here's a (?:{_BETTER}) \w+|(?:the|a|an) (?:cleanest|simplest|easiest|best|most direct|{_BETTER}) (?:\w+ )?{_METHOD}\b",
            r"(?:alternativ|stattdessen|andersherum|autrement|essayons autrement|alternativamente)\b",
        ],
    ),
    _signal(
        "approach",
        "names a whole approach: gives up an approach, not only the last try within it",
        "approach method strategy way idea technique perspective angle plan scratch over ansatz",
        [
            r"\b(?:another|different|new|alternative|other|fresh) (?:[\w-]+ ){0,2}(?:approach|method|strategy|way|technique|perspective|angle|plan)\b",
            r"\bfrom scratch\b|\bstart(?:ing)? (?:all )?over\b|\b(?:andere[rnms]?) ansatz\b",
        ],
    ),
    _signal(
        "prefer",
        "likes another way better; a turn where a line is under way, a plan where none is",
        "better easier simpler quicker cleaner faster safer nicer wiser more likely just mejor besser einfacher",
        [
            rf"\b(?:maybe|perhaps|probably|be|think|it's|it is|that's|is|are|seems?|looks?) (?:it's |it is |it would be |it might be )?(?:a |an )?(?:much |far |a lot |way |probably )*(?:{_BETTER})(?: (?:to|way|approach|method|idea|option|choice|solution)\b|[.:;,!]|$)",
            rf"\bsomething (?:{_BETTER})\b|\b(?:a|the|one) (?:much |far )?(?:{_BETTER}) (?:way|approach|method|idea|option|choice|solution|strategy|plan)\b",
            r"\b(?:vielleicht|wohl) (?:ist es )?(?:besser|einfacher)\b",
        ],
        [
            r"(?:i'll|i will|let me|let's) just (?:go with|use|do|try|reason|pick|take|brute|present|assume)\b",
            rf"more likely\b|(?:besser|mejor)\b(?! als| que)|(?:{_BETTER})(?: (?:to|idea|approach|way|option|plan|if|yet)\b|:)",
        ],
    ),
    _signal(
        "return",
        "says in words that the writer goes back, or drops what was done",
        "back backtrack backtracking over afresh anew scratch beginning start starting scrap forget abandon drop discard "
        "undo revert return returning stick ditch restart aside again zurück vorne neu recommencer empezar",
        [
            rf"\b{LET} {ADVERB}(?:go|step|come|get|head|turn|back|circle|work|take a step|jump|fall|switch) ?back\b(?! and forth)(?! (?:up )?(?:in|into)\b)",
            rf"\b{LET} {ADVERB}(?:return|revert) to\b",
            rf"\b{LET} {ADVERB}(?:back up|backtrack|undo)\b|\b{LET} .{{0,40}}\bfrom scratch\b",
            r"\bstart(?:ing)? (?:over|afresh|anew|fresh|from scratch|again from|this over|all over|from the (?:beginning|start|top))\b",
            r"\b(?:scratch|scrap|undo|forget|ditch) (?:that|this|it|all (?:of )?th(?:at|is))\b",
            rf"\b(?:abandon|discard|drop|ditch|give up on|set aside|put aside) (?:this|that|the|my) (?:[\w-]+ )?(?:{_METHOD}|line|path|branch|way)\b",
            r"\b(?:stick|go|stay) (?:with|to) (?:the|my) (?:first|original|initial|previous|earlier)\b",
            r"\bback to (?:square one|the drawing board)\b",
            r"\b(?:zurück zu|von vorne|neu anfangen|noch einmal von)\b",
            r"\brecommen(?:çons|cer) (?:du début|à zéro)|\bempe(?:zar|cemos) de (?:nuevo|cero)",
        ],
        [
            r"(?:going |go )?back to (?:(?:the|my|our|step|eq|equation|where|case|line|node|option|state|considering|using)\b|[\d(])",
            r"return(?:ing)? to (?:the|my|our|step|eq|equation|where|case|\(|node|option)\b",
            r"backtrack(?:ing)?\b",
            r"restart(?:ing)?\b",
        ],
    ),
    # A failure turns nothing by itself (proofs by contradiction), but the next attempt is one after a failure.
    _signal(
        "fail",
        "a thing denied that one hopes for: it does not work, is not valid, isn't it",
        "not doesn't don't didn't won't wouldn't can't couldn't isn't wasn't aren't cannot bad",
        [
            rf"\b(?:does|did|do|will|would|could|can|might|may|wo)(?:n't|not| not) {_DEGREE}*(?:work|help|lead|fit|match|make (?:{_DEGREE}|[a-z]+ )*sense|get (?:us|me)|give (?:us|me|any|the)|add up|be (?:right|correct|true|it|enough|sufficient|possible|the (?:case|right|answer|cause))|be$|apply|fly|hold|satisfy|suffice|explain|suit|handle|scale|solve|cover|cut it|involve|use|account for|do(?! (?:this|that|it|so|the|anything)\b))\b",
            rf"(?:\bnot|n't) {_DEGREE}*(?:be )?(?:helpful|helping|matching|fitting|promising|useful|working|leading|convincing|viable|possible|valid|right|correct|enough|good|ideal|great|nice|feasible|practical|sufficient|happy|satisfied|satisfying|allowed|among|listed|one of|it|the (?:right|way|cause|issue|culprit|problem|bug|answer)|straightforward|a match|going (?:anywhere|to work)|getting (?:anywhere|us|me))\b",
            r"\b(?:might|may|must) not be (?:the )?(?:right|correct|best|valid|possible|enough)\b|^(?:still |also |again )?not (?:[\w-]+ ?){1,3}[.!]?$|^bad\b",
            r"\b(?:so|probably|so probably) not (?:an?|the|that|it|this)\b|\bso (?:it's|that's|this is|it is) not (?:about|because|due|caused|the|an?|it)\b",
            r"\b(?:that's|this is|it's|which is|that is|is) not an? (?!problem|issue)",
        ],
    ),
    _signal(
        "fail",
        "words that are hardly ever said of a line that goes well",
        "contradiction contradicts contradicting conflict conflicts conflicting impossible nowhere hopeless stuck absurd nonsense circles "
        "complicate complicates complicating overcomplicate overcomplicated overcomplicating overcounting unwieldy horrible awkward ugly hairy "
        "nasty messy tricky difficult hard complex times out unusable useless invalid illegal slow timeout inefficient infeasible impractical intractable overkill unmanageable error-prone problematic flawed worse discrepancy "
        "inconsistent forever while long dead snag wall roadblock confused lost",
        [
            r"\b(?:contradict(?:ion|s|ing)|conflict(?:s|ing)?|impossible|nowhere|hopeless|stuck|absurd|nonsense|discrepancy|inconsistent|overcounting|overcomplicat\w+|complicat(?:ing|es) (?:things|this|it|matters))\b",
            r"\b(?:unwieldy|horrible|awkward|ugly|hairy|nasty|messy|unusable|useless|illegal|inefficient|infeasible|impractical|intractable|overkill|unmanageable|error-prone|problematic|flawed|worse)\b",
            r"\b(?:be|is|are|gets?|it's|that's) (?:quite |rather |really |very |pretty )?(?:slow|invalid)\b|\btimes? ?out\b",
            r"\b(?:this|that|it|which)(?:'s| is| seems| gets| is getting) (?:quite |very |rather |really |still )?(?:tricky|difficult|hard|complex)\b",
            r"\bdead end\b|\bin circles\b|\b(?:hit|hitting|run into|running into) (?:a|another) (?:snag|wall|roadblock|dead end)\b",
            r"\b(?:would|will|might|could|may) complicate\b|\b(?:take|takes|taking) (?:a (?:long )?while|forever|too long)\b",
            r"\bi(?:'m| am) (?:really |still |now |just |a bit )*(?:confused|lost)\b",
        ],
    ),
    _signal(
        "fail",
        "too much of something",
        "too overly getting gets becomes becoming complicated convoluted cumbersome tedious complex confusing",
        [
            r"\b(?:too|overly|(?:getting|gets|becomes|becoming|is|are|'s|seems|looks)(?: a bit| a little| very| quite| really| rather| pretty| too| more)?) (?:complicated|messy|convoluted|cumbersome|tedious|complex|confusing)\b(?!,? but\b)",
            r"\b(?:that|this|it|which)(?:'s| is| seems| looks|'d be| would be)? (?:way |far |much )?too (?:small|large|big|high|low|long|short|simple|good|slow|weak|strong|much|many|few)\b",
            r"(?:^|[.,;:] ?|\bis )(?:way |far |much )?too (?:slow|small|large|big|high|low|long|short|weak|strong|expensive|many|much|few|vague|general|generic|simple|ambiguous)\b",
        ],
    ),
    _signal(
        "fail",
        "what came out looks wrong, or is",
        f"{_UNFIT.replace('|', ' ')} fails failed fail violates breaks problem issue conflict ruled sense crash crashes error bug still",
        [
            rf"\b(?:seems?|looks?|feels?|sounds?|something(?:'s| is)|that's|that is|this is|which is|are) (?:very |quite |a bit |rather |a little |really |still |clearly |also )*(?:{_UNFIT})\b",
            r"\b(?:that|this|it|which|approach|attempt|method|idea|path|line|way|assumption|guess) (?:[\w-]+ )?(?:fails|failed|is wrong|is incorrect|was wrong|violates|breaks)\b|^(?:fail(?:s|ed)?|wrong)\b",
            r"\bruled? (?:that|this|it) out\b|\b(?:is|are|was) ruled out\b|\bmakes no sense\b|\bwrong (?:way|track|path|approach|direction)\b",
            r"\b(?:that's|that is|which is|this is) (?:a|the) (?:big |real |serious )?(?:problem|issue|conflict)\b(?! (?:that|statement|of|in|we|i|for)\b)",
            r"\b(?:still|same) (?:\w+ )?(?:fails|crash(?:es)?|error|wrong|bug)\b|(?:^|[,;–—-] ?)still (?:different|off|too \w+)[.!]?$",
        ],
    ),
    _signal(
        "fail",
        "nothing found",
        "no never",
        [r"\bno (?:luck|good|use|solution|match|dice|go)\b|\bno (?:\w+ )?(?:matches|fits|works)\b|\bnever works?\b"],
    ),
    _signal(
        "fail",
        "a mistake is suspected or confessed; putting it right is a turn (see `mistake`)",
        "mistake error slip messed wrong mistaken misread misunderstood miscounted miscalculated misapplied misinterpreted mixed forgot overlooked "
        "missed confused might may must",
        [
            r"\b(?:might|may|must) have (?:mis\w+|messed|mixed|made an? |gone|gotten|forgot|overlooked|confused)",
            rf"(?<!if )(?<!whether )(?<!sure )\b{_WE}(?:'ve| have| must have)? (?:made (?:a|an|some) (?:[\w-]+ )?(?:mistake|error|slip)|messed up|was wrong|were wrong)\b",
        ],
    ),
    _signal(
        "fail",
        "other languages",
        "nicht widerspruch unübersichtlich marche devient funciona",
        [
            r"\bfunktioniert (?:so )?nicht\b|\bgeht (?:so )?nicht\b|\bwiderspruch\b|\bunübersichtlich\b|\bne marche pas\b|\bdevient (?:trop |très )?(?:long|compliqué|lourd)\b|\bno funciona\b",
        ],
    ),
    _signal(
        "denies",
        "takes back what was just said; with a new version in the same step it mends it, alone it is a failure",
        "no nope nein right wrong correct incorrect true case quite scratch strike mistake error backwards wait not",
        [r"(?!)"],
        [
            r"(?:no|nope|nein)\b(?:[,.!…–—]| (?:wait|that|it|this)\b)",
            r"(?:that|this|it|which)(?:'s| is| was| seems| looks)? (?:actually |clearly |also |obviously )?(?:wrong|incorrect|backwards|a mistake|an error|not (?:quite |actually |exactly )?(?:right|correct|true|the case|possible|what|matching|consistent|working))\b",
            r"(?:that|this|it)(?:'s not| isn't| can't be| cannot be| couldn't be)(?: (?:quite |actually |exactly |the )?(?:right|correct|true|case|possible|what)\b|[,.!]|$)",
            r"(?:that|this|it) (?:doesn't|does not|didn't) (?:quite |really )?(?:seem|look|sound|feel|add up|make (?:any |much )?sense)\b",
            r"(?:that|this|it) (?:might|may|would) not be (?:entirely |the )?(?:right|correct|true|case)\b",
            r"not (?:quite|exactly)\b|(?:scratch|strike) that\b|i (?:was|am|made) (?:wrong|a mistake|an error)\b",
        ],
    ),
    _signal(
        "mistake",
        "mends an earlier step, as a fact: saying that there is a mistake is a failure, putting it right is a turn",
        "misread miscounted miscalculated misapplied forgot overlooked oops whoops mistake error slip bad "
        "correct fix redo rework recast rederive re-derive correction fehler vergessen mixed messed dropped mislabeled mislabelled neglected swapped counted double-counted wrongly backwards wrong reversed upside",
        [
            rf"(?<!if )(?<!whether )(?<!maybe )(?<!perhaps )(?<!either )(?<!or )\b{_WE} (?:misread|miscounted|miscalculated|misapplied|mislabell?ed|forgot|overlooked|neglected|swapped|mixed up|messed up|double[- ]counted|dropped a|subtracted wrongly|added wrongly)\b(?! (?:somewhere|something))",
            rf"\b{_WE} (?:have|had|got|mixed) (?:[\w-]+ ){{1,3}}(?:backwards|wrong|reversed|the wrong way round|upside down)\b",
            r"\boops\b|\bwhoops\b|\bmy (?:mistake|bad)\b",
            r"\b(?:there's|there is|here's|found|see|spotted) (?:the|my) (?:mistake|error|slip|problem|bug|issue)\b|\bthe (?:mistake|error|slip)(?: here)? (?:is|was) (?:that|in|to|here)\b",
            rf"\b{LET} {ADVERB}(?:correct (?:that|this|my|it|the)|redo|rework|recast|re-?derive|fix (?:that|this|it|my))\b",
            r"\bich habe (?:mich|einen fehler|vergessen)\b|\bmein fehler\b",
        ],
        [r"correction\b"],
    ),
    _signal(
        "rethink",
        "takes the question up again",
        "maybe perhaps more looking look re-approach reapproach redesign rework restart revise reworking re-working rethinking reconsidering revising restarting redesigning reconsider rethink re-think re-read reread re-evaluate reevaluate re-examine again differently thought thoughts "
        "misunderstanding overcomplicating overthinking misinterpreting misinterpreted misunderstood misreading misread reread überlegen nochmal",
        [
            r"^(?:re-?working|re-?thinking|re-?considering|re-?vising|re-?starting|re-?designing)\b",
            r"^(?:maybe|perhaps) the (?:problem|question|puzzle|task|user|author|statement|intended)\b(?! (?:here|is(?:n't| not))\b)",
            r"^more (?:carefully|precisely|exactly)\b|^(?:looking|look) (?:back )?at (?:the |this |that )?(?:original |actual )?[\w`_]+ (?:again|more (?:closely|carefully))\b",
            rf"\b{LET} {ADVERB}(?:reconsider|redesign|rework|re-?approach|restart|revise|re-?think|re-?evaluate|re-?read|re-?examine|re-?phrase)\b",
            r"\b(?:think|look|read)(?: about| at)?(?: this| it| that| (?:the|these|those|our|my) [\w-]+)?(?: [\w-]+)? again\b",
            r"\bthink (?:(?:about|of) (?:this|it) )?differently\b|\bon second thoughts?\b",
            rf"\b{_WE}(?:'m| am|'re| are) (?:just |really |probably )?(?:overcomplicating|overthinking)\b",
            r"\b(?:misunderstanding|misinterpreting|misinterpreted|misunderstood|misreading|misread) (?:the|it|this|something)\b",
            rf"\b{LET} {ADVERB}(?:think|be|do (?:this|it)|approach (?:this|it)|go about (?:this|it))(?: about (?:this|it|that|the \w+))? more (?:systematic(?:ally)?|cleverly|general(?:ly)?|abstract(?:ly)?|concrete(?:ly)?|direct(?:ly)?|clear(?:ly)?)\b",
            r"\bnoch ?mal (?:neu )?überlegen\b",
        ],
    ),
    _signal(
        "check",
        'looks whether something holds: what most "wait"s are',
        "check checking double-check verify verifying confirm test validate sure right correct true sanity cross-check "
        "recheck re-check if whether plug plugging ensure recalculate recompute verification is does did do was were should would are prüfe prüfen "
        "probe stimmt vérifions verificar comprobar see possible confirming recheck valid verified",
        [
            r"\b(?:double|re|sanity|cross|spot)[- ]?check(?:ing|ed|s)?\b|\brecheck\b|\bsanity test\b",
            rf"\b(?:{LET}|to|{_WE}'d like to|can) {ADVERB}(?:check|verify|confirm|validate|make (?:absolutely )?sure|be sure|ensure|recalculate|recompute|re-?verify)\b",
            rf"\b{LET} {ADVERB}test\b",
            r"\b(?:make sure|to be sure)\b",
            rf"\b{LET} {ADVERB}(?:see (?:if|whether) (?:this|that|it|my|the)|(?:consider|examine|determine|ask) (?:if|whether))\b",
            r"\b(?:is|are) (?:that|this|it|they|these|those) (?:really |actually |even )?(?:right|correct|true|valid|possible|all|enough)\b.{0,40}\?",
            r"\bright\?$|\bcorrect\?$",
            r"\bplug(?:ging)? (?:it |this |that |them |these |the \w+ )?back\b",
            r"\b(?:prüfe|prüfen|überprüfe\w*|zur probe|stimmt das|vérifions|verifi(?:car|quemos)|comprobemos)\b",
        ],
        [
            r"(?:check|checking|verify|verifying|verification|sanity check|confirming|test)\b(?! (?:out|valve))",
            r"(?:is|are|does|did|do|was|were|would|should|isn't|doesn't|aren't)\b[^.]{0,160}\?$",
        ],
    ),
    _signal(
        "redo",
        "does something over: a check, unless the thing was just taken back",
        "recalculate recompute recount redo careful carefully again retry rewrite revise re-trace retrace fix",
        [
            rf"\b{LET} {ADVERB}(?:re-?calculate|re-?compute|re-?count|redo|re-?trace|retry|rewrite|revise|fix)\b",
            rf"\b{LET} (?:be |do (?:this|that|it) )?(?:more )?careful(?:ly)?\b|\b{LET} (?:do|try|compute|count|calculate|work) (?:this |that |it )?(?:out )?(?:again|more carefully)\b",
        ],
    ),
    _signal(
        "agrees",
        "another way that comes out the same was a second look, not a way back",
        "same agree agrees again before both matches consistent",
        [
            r"\b(?:the )?same (?:result|answer|value|thing|number|conclusion|as before|total|sum)\b|\bagrees?\b|\bagain [\d(]|\b(?:matches|consistent with) (?:the|our|my|what)\b|\bboth (?:ways|methods|approaches|agree|give|answers)\b|(?:^|, )the same[.!]?$",
        ],
    ),
    _signal(
        "view",
        "offers another view of what is there, to look at it or to check it",
        "another other different second alternative could",
        [
            r"\b(?:i|we|one|you) could (?:also )?have\b",
            r"\banother (?:option|possibility|example)\b",
            r"\b(?:another|one other|a different|a second|an alternative|the other) way (?:to|of|we can) (?:see|seeing|look|looking|view|verify|check|confirm|say|saying|put|phrase|express|describe|write)\b",
        ],
    ),
    _signal(
        "confirm",
        "a check that came out well",
        "correct right consistent checks matches match works verified confirmed holds sense good fine passes agrees perfect nice yes ✓ ✔ stimmt",
        [
            r"(?<!not )(?<!n't )\b(?:that|this|it|which|everything|all|steps?|so|yes),? ?(?:all )?(?:'s| is| are| seems?| looks?|makes)? ?(?:to be |all |indeed |also )?(?:correct|right|consistent|good|fine|sense|valid|solid|okay)\b(?!\?)",
            r"\bchecks out\b|\b(?:it|that|this) (?:matches|works|holds|agrees|passes)\b|[✓✔]|\bstimmt\b(?! das)",
        ],
        [r"correct\b", r"verified\b", r"confirmed\b", r"(?:good|perfect|nice|yes)[.!]?$"],
    ),
    _signal(
        "attempt",
        "something is tried; a turn only after a failure",
        "try trying maybe perhaps suppose consider next could use need how what assume let's let another versuche nehmen "
        "angenommen essayons probemos better so let then look instead rather i'd i'll",
        [
            rf"\b{LET} {ADVERB}(?:try|count|set|put|introduce|define|change|modify|strengthen|relax|guess|pick|choose|add|swap|replace|turn|move|shift|use|consider|think|look|find|assume|suppose|approach|take|focus|compute|calculate|start|go|revisit|stick|express|do|rewrite|work|explore|go)\b",
            r"\b(?:what|how) (?:if|about)\b|\bversuche\b|\bessayons\b|\bprobemos\b|\bnehmen wir\b",
        ],
        [
            r"(?:try|trying|suppose|consider|next|could|assume|look at|angenommen)\b",
            rf"{_WE}(?:'d| would|'ll) (?:rather|go|instead)\b",
            r"[a-z][\w -]{1,30} then:",
        ],
    ),
    _signal(
        "guess",
        'supposes something; after a failure a new attempt, unless it only draws a conclusion from it ("So perhaps …")',
        "maybe perhaps vielleicht think wonder could might may",
        [r"(?!)"],
        [
            rf"{_WE} think\b|i wonder (?:if|whether)\b|(?:this|it|that) (?:could|might|may) be\b(?! (?:that|because|wrong|off|a (?:mistake|problem))\b)",
            rf"(?:maybe|perhaps)\b(?! (?:{_WE}|it|there|that|this)(?:'ve| have|'m| am|'s)? (?:made|mis\w+|messed|forgot|overlooked|is|was|a mistake|an error))",
            r"vielleicht\b",
        ],
    ),
    _signal(
        "supposes",
        'sees the thing in another way; a turn where it contradicts ("Wait, maybe the figure is …"), but for a suspected slip',
        "maybe perhaps",
        [r"(?!)"],
        [
            rf"(?:maybe|perhaps)\b(?! (?:{_WE}|it|there|that|this)(?:'ve| have|'m| am|'s| is| was)? (?:made|mis\w+|messed|forgot|overlooked|not|a mistake|an error|right|correct|fine|okay|ok|enough))(?! (?:{_WE} (?:\w+ )?)?also\b)(?! (?:these|they|both) are\b)"
        ],
    ),
    _signal(
        "proposes",
        'proposes to do something else; a turn where it contradicts ("Wait, maybe I should …")',
        "maybe perhaps",
        [r"(?!)"],
        [rf"(?:maybe|perhaps) {_WE} (?:can|could|should|need to|have to|might)\b(?! (?:have|be|also)\b)"],
    ),
    _signal(
        "tries",
        "puts something up for trial: where no line is being given up, a plan of its own",
        "try trying maybe perhaps suppose what how consider assume angenommen",
        [r"(?!)"],
        [
            r"(?:maybe|perhaps) (?:i|we) (?:can|could|should)\b",
            r"(?:maybe|perhaps) (?!i |we |it |that |this |there |the (?:problem|question))",
            r"(?:try|trying|suppose|assume|angenommen)\b|(?:what|how) (?:if|about)\b|consider\b",
        ],
    ),
    _signal(
        "hypothesis",
        "puts up an explanation or a candidate; after another one with a verdict on it, the next in the row",
        "maybe perhaps could might may suppose wonder what how candidate hypothesis theory suspect consider",
        [r"(?!)"],
        [
            rf"(?:maybe|perhaps)\b(?! {_WE} (?:made|mis))|i wonder (?:if|whether)\b|could (?!you\b)[\w' ]{{1,30}} be\b|(?:what|how) (?:if|about)\b",
            r"(?:the|a|another|one) [\w ]{1,24} (?:might|could|may) be\b|(?:next |another )?(?:candidate|hypothesis|theory|suspect)\b",
            rf"{LET} {ADVERB}(?:consider|suppose|assume|think of)\b",
        ],
    ),
    _signal(
        "plan",
        "announces a way of going about it",
        "try use start begin consider approach plan strategy idea goal first way key method apply break think set step zuerst "
        "d'abord primero split by",
        [
            rf"\b(?:let me|let's|let us|{_WE}(?:'ll| will|'m going to| can| could| should| want to| plan to)) {ADVERB}(?:try|use|start|begin|consider|approach|apply|break|split|set up|tackle|think about how|work backwards?|proceed by|look for|go case)\b",
            r"\b(?:the|my|our|one|a) (?:plan|strategy|idea|approach|best way|key idea|goal|first step|natural approach|way)(?: here| now)?(?:'s| is| would be| could be| might be)\b",
            r"\b(?:how to approach|approach (?:this|it) by|figure (?:this|it) out|step by step)\b",
            r"\b(?:one|the best|the easiest) (?:way|approach|method|option)\b",
            r"\bzuerst\b|\bmein plan\b|\bd'abord\b|\bprimero\b",
        ],
        [
            r"(?:plan|approach|strategy|idea|method)(?: [\w-]+)?:",
            rf"first,? (?:{_WE} (?:need|should|will|can|'ll|must|want)|let)\b",
        ],
    ),
    _signal(
        "given",
        "reads or restates what is asked; counts only at the beginning of a trace",
        "problem question task given told asked says asks states puzzle asking need want figure gegeben gesucht aufgabe énoncé problema "
        "user here statement",
        [
            r"\b(?:the|this|a) (?:[\w-]+ )?(?:problem|question|task|puzzle|exercise|user|statement)\b",
            r"\b(?:problem|question|task|puzzle) (?:here|where|about|that)\b",
            rf"\b{_WE}(?:'re|'m| are| am| were)? (?:given|told|asked)\b|\bit (?:says|asks|states|is given)\b",
            rf"\b{_WE} (?:need|want|have) to (?:find|solve|compute|determine|figure|calculate|show|prove|write|explain|answer|evaluate)\b",
            r"\bgegeben (?:ist|sind)\b|\bdie aufgabe\b|\bgesucht\b|\bl'énoncé\b|\bel problema\b",
        ],
        [r"given\b", r"problem\b"],
    ),
    _signal(
        "conclude",
        "states the answer",
        "answer answers results boxed conclusion conclude summary summarize therefore antwort ergebnis réponse respuesta final fazit",
        [
            r"\\boxed\b|\bfinal answer\b",
            r"\b(?:the|my|our) (?:\w+ )?(?:answer|final result|solution)(?: to [^.]{0,60})?(?:'s| is| should be| must be| would be| comes out)\b",
            r"\b(?:the|my|our) (?:final )?(?:answers|final results) are\b",
            r"\banswer(?: is)?:|\bi(?: can|'m| am)? (?:confident(?:ly)? )?(?:conclude|confident)\b",
            r"\b(?:die antwort|das ergebnis|la réponse|la respuesta)(?: \w+)? (?:ist|lautet|est|es)\b",
        ],
        [r"(?:in conclusion|to conclude|conclusion|in summary|to summarize|final answer|answer|fazit|antwort)\b"],
    ),
)

# Chinese has no word boundaries: plain pieces of text, looked for only where there are Chinese characters.
CHINESE = {
    "other": ("换一种", "换个思路", "换个方法", "另一种方法", "另一种思路", "另外一种", "或者可以", "不如改"),
    "return": ("从头开始", "重新开始", "回到步骤", "回到第", "回到最初", "退回"),
    "fail": (
        "行不通",
        "走不通",
        "矛盾",
        "太复杂",
        "太麻烦",
        "没有用",
        "不可行",
        "不成立",
        "不对",
        "不行",
        "不合理",
        "不符",
    ),
    "mistake": ("算错了", "弄错了", "搞错了", "写错了", "漏掉了", "忘了"),
    "rethink": ("重新考虑", "重新思考", "重新审题", "再想想"),
    "check": ("验证", "检查", "检验", "验算", "对吗", "是否正确", "确认一下"),
    "confirm": ("正确", "没问题", "吻合", "一致"),
    "attempt": ("试试", "尝试", "也许", "不妨", "假设", "考虑"),
    "plan": ("首先", "思路是", "我打算", "计划", "先来"),
    "given": ("题目", "已知", "要求", "问题是"),
    "conclude": ("答案是", "答案为", "最终答案", "所以答案", "综上"),
}

ALL_WORDS = frozenset().union(*(s.words for s in SIGNALS))
_BY_WORD = {word: [s for s in SIGNALS if word in s.words] for word in ALL_WORDS}


def said(sentence: str, words: set[str]) -> set[str]:
    """The names of the signals in a sentence (its fillers cut off) with these words."""
    found = words & ALL_WORDS
    return {s.name for s in {s for word in found for s in _BY_WORD[word]} if s.said_in(sentence)} if found else set()
