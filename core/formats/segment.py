"""Free-form reasoning text into steps, while it streams. Cut the stream anywhere: the same steps.

A step is about a paragraph. It ends only in white space (or after a Chinese or Japanese full stop), never inside a code
block or a formula; the white space belongs to the step that it ends, so steps are contiguous character ranges and no
tail is lost. What decides is the text before the gap and at most `rules.LOOKAHEAD` characters after it; only while those are unknown
is text held back. Every number and every cue is in `rules.py`, with its reason.

Knows no delimiters (see `tagged.py`) and no backtracks: whether a step turned back is for the tree to say.
"""

from __future__ import annotations

import re
from dataclasses import replace

from core.formats import rules
from core.formats.events import Decided, FieldText, ParserEvent, StepClosed, StepOpened
from core.formats.naming import name_of
from core.trace import Decision, Step

_HEAD = 40  # characters of a line that tell what the line is
_CONTEXT = 40  # characters kept of what is already shown: the last word decides whether a sentence ends
_VERDICT = 100  # characters before a gap in which a sentence may say that something failed
_BEFORE_A_CUT = ".!?…。！？" + rules.CLOSERS  # the last character of a sentence
_POINT = re.compile(
    rf"(?<!\s)(?:[^\S\n]*+\n\s*+|(?<=[{re.escape(_BEFORE_A_CUT)}])[^\S\n]++)"  # a gap that may end a step
    r"|(?<=[。！？」』）])(?=[^\s。！？」』）”’])"  # no white space there
    r"|(?P<math>\$\$?|\\(?:begin\{|end\{|[\\\[\]()$]))"
)
_PARTIAL = re.compile(r"\\[a-z]{0,5}\Z")  # may become a `math` of the pattern above
_CLOSED_BY = {"\\[": "\\]", "\\(": "\\)"}


class Segmenter:
    """`feed` text, `end` a stretch of it, `skip` characters that are no text; events are appended to the list given.

    `steps` are those closed so far; `start` is where the next one begins; `position` counts the characters placed.
    """

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.position = 0
        self.start = 0
        self._money = ""  # the "$" that is open and what follows it
        self._text: list[str] | None = None  # the open step, None between steps
        self._unsaid: list[str] = []  # of it, not yet in an event
        self._size = 0
        self._buffer = ""  # [:_shown] is context, the rest waits
        self._shown = 0
        self._scanned = 0
        self._gap: list[str] | None = []  # white space whose meaning is not yet decided
        self._newlines = 0
        self._indented = False
        self._word = ""  # the last word before the gap
        self._last = ""  # what was shown last, gaps included
        self._new_line()
        self._forget_structure()

    @property
    def at_line_start(self) -> bool:
        """Whether what comes next begins a line."""
        return self._text is None or (self._gap is not None and self._newlines > 0 and self._shown == len(self._buffer))

    def feed(self, text: str, events: list[ParserEvent]) -> None:
        """More text."""
        if self._gap is not None and self._shown == len(self._buffer):
            rest = text.lstrip()
            self._widen(text[: len(text) - len(rest)])
            text = rest
        if text:
            self._buffer += text
            self._run(events, final=False)

    def end(self, events: list[ParserEvent], *, complete: bool = True) -> None:
        """The text ends here: what was held back is decided, and an open step is closed."""
        self._run(events, final=True)
        self.position += sum(map(len, self._gap or ()))
        if self._text is not None:
            self._close(events, complete=complete)
        self._gap, self._newlines, self._indented = [], 0, False
        self._buffer, self._shown, self._scanned = "", 0, 0
        self._forget_structure()

    def skip(self, characters: int) -> None:
        """Characters that are not shown, between two steps: they lead into the next. Only after `end`."""
        assert self._text is None and not self._buffer and not self._gap
        self.position += characters

    def finish(self, events: list[ParserEvent]) -> None:
        """After `end`: the answer follows the last step."""
        self._decide("finish", events)

    def stretch(self) -> None:
        """After `end`: what was skipped since belongs to the last step, because nothing follows."""
        if self.steps and self.position > self.steps[-1].end:
            self.steps[-1] = replace(self.steps[-1], end=self.position)
            self.start = self.position

    # ------------------------------------------------------------------------------------------------------- scanning
    def _run(self, events: list[ParserEvent], *, final: bool) -> None:
        buffer = self._buffer
        end = len(buffer.rstrip())
        more = end == len(buffer) and not final  # the last word may go on
        while True:
            if self._gap is not None:
                if self._shown >= len(buffer):
                    break
                cut = self._cuts(buffer[self._shown : self._shown + rules.LOOKAHEAD], final=final)
                if cut is None:
                    break
                self._cross(cut, events)
            point = _POINT.search(buffer, self._scanned, end)
            if point is None or (more and point.group() == "$" and point.end() == end):
                partial = point or (_PARTIAL.search(buffer, max(self._scanned, end - 8)) if more else None)
                self._scanned = partial.start() if partial else max(self._scanned, end)
                self._show(buffer[self._shown : end], end)
                if end < len(buffer):
                    self._begin_gap(buffer, end, len(buffer))
                break
            if point.lastgroup == "math":
                self._math(buffer, point)
                self._scanned = point.end()
            else:
                self._show(buffer[self._shown : point.start()], point.start())
                self._begin_gap(buffer, point.start(), point.end())
        self._say(events)
        keep = self._shown if self._gap is not None else max(0, self._shown - _CONTEXT)
        self._buffer = buffer[keep:]
        self._shown -= keep
        self._scanned = max(0, self._scanned - keep)

    def _show(self, text: str, upto: int) -> None:
        if self._mode == "$" and len(self._money) < _CONTEXT:
            self._money = (self._money + text[max(0, self._mode_at - self.position) :][:_CONTEXT])[:_CONTEXT]
        self._unsaid.append(text)
        self._last = (self._last + text[-_VERDICT:])[-_VERDICT:]
        self._size += len(text)
        self.position += len(text)
        self._shown = upto
        if len(self._head) < _HEAD:
            self._head += text[: _HEAD - len(self._head)]

    def _begin_gap(self, buffer: str, start: int, end: int) -> None:
        tail = buffer[max(0, start - _CONTEXT) : start]
        self._word = tail.split()[-1] if tail and not tail[-1].isspace() else ""
        self._gap, self._newlines, self._indented, self._line_read = [], 0, False, False
        self._widen(buffer[start:end])
        self._shown = end
        # A gap without width would be found again.
        self._scanned = end + (start == end)

    def _widen(self, blanks: str) -> None:
        assert self._gap is not None
        if not blanks:
            return
        self._gap.append(blanks)
        newlines = blanks.count("\n")
        self._newlines += newlines
        after = blanks.rpartition("\n")[2]
        self._indented = bool(after) if newlines else self._indented or bool(self._newlines)

    def _cross(self, cut: bool, events: list[ParserEvent]) -> None:
        """The gap is decided."""
        gap = "".join(self._gap or ())
        self._gap = None
        self._last = (self._last + gap)[-_VERDICT:]
        if cut:
            self.position += len(gap)
            self._close(events)
        elif self._text is not None:
            self._unsaid.append(gap)
            if self._mode == "$":
                self._money = (self._money + gap)[:_CONTEXT]
            self._size += len(gap)
            self.position += len(gap)
            if not self._newlines and len(self._head) < _HEAD:
                self._head += gap[: _HEAD - len(self._head)]
        else:
            self.position += len(gap)
        if self._text is None:
            self._open(events)
        if self._newlines or cut:
            self._new_line(after_blank=self._newlines > 1, indented=self._indented)

    # ------------------------------------------------------------------------------------------------------ structure
    def _new_line(self, *, after_blank: bool = True, indented: bool = False) -> None:
        self._head = ""  # the beginning of the line
        self._line_at = self.position
        self._line_size = self._size
        self._line_apart = after_blank and not indented
        self._line_read = False

    def _forget_structure(self) -> None:
        self._mode = ""  # the formula or code block that is open
        self._mode_at = 0
        self._depth = 0
        self._in_list = False
        self._item_at = 0
        self._after_heading = False

    def _read_line(self) -> None:
        """The line is complete up to the gap: what was it?"""
        self._line_read = True
        head = self._head
        fence = rules.FENCE.match(head)
        if self._mode[:3] in ("```", "~~~"):
            if fence and fence[1].startswith(self._mode) and not head[fence.end() :].strip():
                self._mode = ""
        elif fence and fence[1] not in head[fence.end() :]:
            self._mode, self._mode_at = fence[1], self.position
        self._after_heading = bool(rules.HEADING.match(head + " ")) and (head[0] == "#" or len(head) < _HEAD)
        if rules.ITEM.match(head):
            self._in_list, self._item_at = True, self._line_size
        elif self._line_apart:
            self._in_list = False

    def _math(self, buffer: str, point: re.Match[str]) -> None:
        token, mode = point.group(), self._mode
        at = self.position + point.start() - self._shown
        if mode == "env":
            self._depth += (token == "\\begin{") - (token == "\\end{")
            if not self._depth:
                self._mode = ""
        elif mode in _CLOSED_BY:
            if token == _CLOSED_BY[mode]:
                self._mode = ""
        elif mode == "$$":
            if token == "$$":
                self._mode = ""
        elif mode == "$":
            before = buffer[point.start() - 1 : point.start()]
            after = buffer[point.end() : point.end() + 1]
            # As in Pandoc: "$5 and $6" is money, "$a$" a formula.
            if token == "$" and before and not before.isspace() and not after.isdigit():
                self._mode = ""
        elif not mode:
            if token == "$":
                after = buffer[point.end() : point.end() + 1]
                if after and not after.isspace():
                    self._mode, self._mode_at = "$", at
                    self._money = buffer[point.start() : self._shown]
            elif token in ("$$", "\\[", "\\("):
                self._mode, self._mode_at = token, at
            elif token == "\\begin{":
                self._mode, self._mode_at, self._depth = "env", at, 1

    def _protected(self) -> bool:
        """Whether the gap lies in code or a formula. One that is too long, or that a blank line cut, was none."""
        mode = self._mode
        if not mode:
            return False
        size = self.position - self._mode_at
        if mode in ("$", "\\("):
            money = mode == "$" and rules.MONEY.match(self._money)
            if self._newlines > 1 or size > rules.LONGEST_INLINE or money:
                self._mode = ""
        elif size > (rules.LONGEST_CODE if mode[0] in "`~" else rules.LONGEST_DISPLAY):
            self._mode = ""
        return bool(self._mode)

    # --------------------------------------------------------------------------------------------------------- deciding
    def _cuts(self, ahead: str, *, final: bool) -> bool | None:
        """Whether a step ends at the gap; None while what follows it is not known well enough."""
        if self._text is None:
            return False
        if self._newlines and not self._line_read:
            self._read_line()
        # A gap within a sentence comes here only where the stream was cut; it must not matter.
        if (not self._newlines and self._word[-1:] not in _BEFORE_A_CUT) or self._protected():
            return False
        return self._cuts_lines(ahead, final) if self._newlines else self._cuts_sentences(ahead, final)

    def _cuts_sentences(self, ahead: str, final: bool) -> bool | None:
        if self._size < rules.TURN_AFTER or ahead[0].islower() or not self._sentence_ends(ahead[0], before_turn=True):
            return False
        after = self._cue(ahead, final=final)
        if after is None:
            return None
        if after >= 0 and self._size >= after:
            return True
        return self._size > rules.LONGEST and self._sentence_ends(ahead[0], before_turn=False)

    def _cuts_lines(self, ahead: str, final: bool) -> bool | None:
        size, blank_line = self._size, self._newlines > 1
        if self._after_heading or (not blank_line and size <= rules.LONGEST and ahead[0].islower()):
            return False
        line = ahead if blank_line else ahead[: rules.LOOK_LINE]
        stop = line.find("\n")
        whole = stop >= 0 or (final and len(line) < (rules.LOOKAHEAD if blank_line else rules.LOOK_LINE))
        if not whole and len(line) < (rules.LOOKAHEAD if blank_line else rules.LOOK_LINE):
            return None
        if stop >= 0:
            line = line[:stop]
        line = line.rstrip()
        if (line[0] == "#" or whole) and rules.HEADING.match(line + " "):
            return size >= rules.TINY
        if rules.NUMBERED_STEP.match(line):
            return size >= rules.TINY
        last = self._word.rstrip(rules.CLOSERS)[-1:]
        if last in (":", "："):
            return False
        item = rules.ITEM.match(line)
        after = self._cue(line[item.end() :] if item and len(line) > item.end() else line, final=True, apart=blank_line)
        assert after is not None  # the line is long enough
        least = rules.TURN_APART if blank_line and after == rules.TURN_AFTER else after
        if 0 <= least <= size and (blank_line or after < rules.STAGE_AFTER):
            return True
        if item:
            if self._in_list:
                return size - self._item_at > rules.LONG_ITEM or size > rules.LONGEST
            return blank_line and size >= rules.FULL
        if size > rules.LONGEST or (size > rules.FULL and self._word.endswith(rules.DISPLAY_ENDS)):
            return True
        if not blank_line or size < rules.SMALL or (self._in_list and self._indented):
            return False
        if last in rules.UNFINISHED or ahead[0].islower() or line.startswith(rules.DISPLAY):
            return False
        return not (whole and len(line) <= rules.SHORT and size < rules.FULL and not line.endswith((":", "：")))

    def _sentence_ends(self, following: str, *, before_turn: bool) -> bool:
        word = self._word.rstrip(rules.CLOSERS)
        if not word or word[-1] not in ".!?…。！？":
            return False
        if word[-1] != ".":
            return True
        base = word.lstrip(rules.OPENERS).rstrip(".")
        if self.position - len(self._word) == self._line_at and (base.isdigit() or len(base) == 1):
            return False  # "3." at the beginning of a line is the number of an item
        low = base.lower()
        if low in rules.ABBREVIATIONS:
            return False
        return before_turn or not (
            low in rules.MAYBE or rules.DOTTED.match(base) or (word.endswith("..") and following.islower())
        )

    def _cue(self, text: str, *, final: bool, apart: bool = False) -> int | None:
        """The size from which a step ends before a sentence that begins so; -1: it begins with no cue, None: not yet known.
        `apart`: it begins a paragraph."""
        if text[0].islower():
            return -1
        low = text[: rules.LONGEST_CUE + 1].lower()
        if low in rules.PREFIXES and not final and len(text) <= rules.LONGEST_CUE:
            return None
        found = rules.CUE.match(low)
        if not found:
            return -1
        if found["start"]:
            return rules.START_AFTER if apart or rules.FAILED.search(self._last.lower()) else -1
        return rules.TURN_AFTER if found["turn"] else rules.STAGE_AFTER

    # ---------------------------------------------------------------------------------------------------------- events
    def _open(self, events: list[ParserEvent]) -> None:
        if self.steps:
            self._decide("proceed", events)
        events.append(StepOpened(len(self.steps), "proceed" if self.steps else None))
        self._text, self._size = [], 0
        self._new_line()

    def _say(self, events: list[ParserEvent]) -> None:
        text = "".join(self._unsaid)
        self._unsaid = []
        if text:
            assert self._text is not None
            self._text.append(text)
            events.append(FieldText(len(self.steps), "thought", text))

    def _close(self, events: list[ParserEvent], *, complete: bool = True) -> None:
        self._say(events)
        assert self._text is not None
        thought = "".join(self._text)
        step = Step(
            len(self.steps), self.start, self.position, name=name_of(thought), thought=thought, complete=complete
        )
        self.steps.append(step)
        self._text, self._size, self.start = None, 0, self.position
        self._item_at, self._in_list, self._after_heading = 0, False, False
        events.append(StepClosed(step))

    def _decide(self, decision: Decision, events: list[ParserEvent]) -> None:
        if self.steps:
            self.steps[-1] = replace(self.steps[-1], decision=decision)
            events.append(Decided(len(self.steps) - 1, decision))
