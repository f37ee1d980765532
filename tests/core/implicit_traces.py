"""Short reasoning traces, written for these tests in different manners, with the tree that a careful reader draws.

A line is (kind, parent, replaces, text). A dash for kind: not asserted. `replaces` is given for backtracks alone; they
resume from their parent.
"""

from __future__ import annotations

from typing import NamedTuple


class Line(NamedTuple):
    kind: str
    parent: int | None
    replaces: int | None
    text: str


class Fixture(NamedTuple):
    name: str
    prompt: str
    lines: list[Line]


def _trace(name: str, prompt: str, *lines: tuple[str, int | None, int | None, str]) -> Fixture:
    return Fixture(name, prompt, [Line(*line) for line in lines])


FIXTURES = [
    _trace(
        "algebra, one failed factorisation",
        "Solve x^3 - 6x^2 + 11x - 6 = 0.",
        ("setup", None, None, "Okay, I need to solve the cubic equation x^3 - 6x^2 + 11x - 6 = 0."),
        ("plan", 0, None, "Let me try to factor by grouping."),
        ("derive", 1, None, "Grouping gives x^2(x - 6) + (11x - 6)."),
        ("-", 2, None, "The brackets differ, so this doesn't work."),
        ("backtrack", 0, 1, "Let's try a different approach: the rational root theorem."),
        ("derive", 4, None, "Candidates are 1, 2, 3 and 6. f(1) = 1 - 6 + 11 - 6 = 0."),
        ("derive", 5, None, "Dividing by x - 1 leaves x^2 - 5x + 6 = (x - 2)(x - 3)."),
        ("conclude", 6, None, "So the answer is x = 1, 2, 3."),
    ),
    _trace(
        "checks that are only checks",
        "What is 17 * 23?",
        ("-", None, None, "17 * 23 is 17 * 20 + 17 * 3."),
        ("-", 0, None, "That is 340 + 51 = 391."),
        ("verify", 1, None, "Wait, is that right? Let me check: 391 / 17 = 23."),
        ("-", 2, None, "Hmm, okay, that matches."),
        ("verify", 3, None, "Actually, let me double-check with the other order: 23 * 17 = 230 + 161 = 391."),
        ("conclude", 4, None, "The answer is 391."),
    ),
    _trace(
        "waits and hmms without a turn",
        "How many primes are below 20?",
        ("-", None, None, "Hmm, let me list them."),
        ("-", 0, None, "2, 3, 5, 7, 11, 13."),
        ("-", 1, None, "Wait, 9 is 3 * 3, so it is not in the list. Good."),
        ("-", 2, None, "Then 17 and 19."),
        ("-", 3, None, "Actually 1 is not a prime by definition, so I leave it out."),
        ("-", 4, None, "Hold on, 15 is 3 * 5, fine."),
        ("conclude", 5, None, "The answer is 8."),
    ),
    _trace(
        "a train that goes back",
        "A train leaves station A for station B, 60 km away, at 40 km/h and goes back to station A at 30 km/h. How long does it take?",
        ("setup", None, None, "We are given two speeds and the distance of 60 km."),
        ("-", 0, None, "The train goes to station B in 60 / 40 = 1.5 hours."),
        ("-", 1, None, "Then the train goes back to station A in 60 / 30 = 2 hours."),
        ("-", 2, None, "If it returned at 40 km/h instead of 30 km/h it would need 1.5 hours."),
        ("-", 3, None, "In total 1.5 + 2 = 3.5 hours."),
        ("conclude", 4, None, "Answer: 3.5 hours."),
    ),
    _trace(
        "instead of, try in quotes, another way in the story",
        'Mia buys 3 apples instead of 5 pears. The sign says "try another way". How much does she save if a pear costs 2?',
        ("-", None, None, "Mia buys 3 apples instead of 5 pears."),
        ("-", 0, None, 'The sign says "try another approach", which does not matter here.'),
        ("-", 1, None, "Five pears cost 5 * 2 = 10."),
        ("-", 2, None, "She takes another road home, which doesn't change the price."),
        ("-", 3, None, "There are two different ways to pay, both for the same amount."),
        ("-", 4, None, "She saves 10 minus what the apples cost."),
    ),
    _trace(
        "debugging, two hypotheses fail",
        "The test fails with KeyError: 'id'. Why?",
        ("-", None, None, "The user reports a KeyError for 'id' in the test."),
        ("-", 0, None, "Hypothesis 1: the fixture does not create the record."),
        ("-", 1, None, "But the log shows the insert, so that's not the cause."),
        ("backtrack", 0, 1, "Hypothesis 2: the serializer drops the field."),
        ("-", 3, None, "The serializer lists id explicitly. So that isn't it."),
        ("backtrack", 0, 3, "Hypothesis 3: the client renames the key to ID."),
        ("-", 5, None, "Yes, the client upper-cases all keys in `normalise`."),
        ("-", 6, None, "So the fix is to look the key up without regard to case."),
    ),
    _trace(
        "debugging, a ramble",
        "Why does my loop never end?",
        ("-", None, None, "Let me look at the loop first. It runs while i < n."),
        ("-", 0, None, "Maybe n is changed inside of the body?"),
        ("-", 1, None, "No, n is a constant. So that's not it."),
        ("backtrack", 0, 1, "What about i then? Maybe i is never increased."),
        ("-", 3, None, "The increment stands after a `continue`, so it is skipped."),
        ("verify", 4, None, "Let me verify with n = 3: i stays 0. Yes."),
        ("-", 5, None, "Moving the increment before the `continue` ends the loop."),
    ),
    _trace(
        "logic puzzle by cases",
        "A says B lies. B says both tell the truth. Who lies?",
        ("-", None, None, "There are two cases for A."),
        ("-", 0, None, "Case 1: A tells the truth. Then B lies."),
        ("-", 1, None, "B's statement is then false, as it should be. Consistent."),
        ("explore", 0, None, "Case 2: A lies. Then B tells the truth."),
        ("-", 3, None, "But then both tell the truth, which contradicts that A lies."),
        ("conclude", 4, None, "So the answer is that A tells the truth and B lies."),
    ),
    _trace(
        "a mistake is mended",
        "A rectangle is 7 by 9. A square of side 2 is cut out of it. Which area is left?",
        ("-", None, None, "The rectangle has area 7 * 9 = 63."),
        ("-", 0, None, "The square has area 2 + 2 = 4."),
        ("-", 1, None, "So 63 - 4 = 69 is left."),
        ("backtrack", 1, 2, "Oops, I subtracted wrongly: 63 - 4 = 59."),
        ("conclude", 3, None, "The answer is 59."),
    ),
    _trace(
        "start over",
        "Find the smallest n with n! > 10^6.",
        ("setup", None, None, "We need to find the smallest n with n! > 10^6."),
        ("-", 0, None, "I will use Stirling: ln n! is about n ln n - n."),
        ("-", 1, None, "For n = 9: 9 * 2.197 - 9 = 10.77."),
        ("-", 2, None, "ln 10^6 = 13.8. This estimate is too rough and the rest gets messy."),
        ("backtrack", 0, 1, "Let me start over and simply multiply."),
        ("-", 4, None, "5! = 120, 6! = 720, 7! = 5040, 8! = 40320, 9! = 362880."),
        ("-", 5, None, "10! = 3628800 > 10^6."),
        ("conclude", 6, None, "The answer is n = 10."),
    ),
    _trace(
        "back to a numbered step",
        "Simplify the sum.",
        ("-", None, None, "Step 1: write the sum as two sums."),
        ("-", 0, None, "Step 2: shift the index of the second one."),
        ("-", 1, None, "Step 3: combine them. The terms do not cancel, dead end."),
        ("backtrack", 0, 1, "Let me go back to step 1 and pair the terms."),
        ("-", 3, None, "Now every pair is 1."),
    ),
    _trace(
        "back to an equation",
        "x + y = 10, xy = 21. Find x and y.",
        ("-", None, None, "We have x + y = 10.   (1)"),
        ("-", 0, None, "And xy = 21.   (2)"),
        ("-", 1, None, "From (1), y = 10 - x, so I could differentiate 10 - x."),
        ("-", 2, None, "That leads nowhere."),
        ("backtrack", 1, 2, "Go back to equation (2) and put y in: x(10 - x) = 21."),
        ("-", 4, None, "So x^2 - 10x + 21 = 0, x = 3 or x = 7."),
    ),
    _trace(
        "a second method beside a finished one",
        "What is the sum of the integers from 1 to 100?",
        ("-", None, None, "Use the formula n(n + 1) / 2 with n = 100."),
        ("-", 0, None, "That is 100 * 101 / 2 = 5050."),
        ("-", 1, None, "So the answer is 5050."),
        ("explore", None, None, "Alternatively, pair 1 with 100, 2 with 99 and so on."),
        ("-", 3, None, "There are 50 pairs of 101, again 5050."),
        ("conclude", 4, None, "Both ways agree, the answer is 5050."),
    ),
    _trace(
        "a second method to check the first",
        "What is the area of the triangle with sides 3, 4, 5?",
        ("-", None, None, "It is a right triangle, so the area is 3 * 4 / 2 = 6."),
        ("explore", None, None, "Let me verify this with another method, Heron's formula."),
        ("-", 1, None, "s = 6, and 6 * 3 * 2 * 1 = 36, whose root is 6."),
        ("conclude", 2, None, "The answer is 6."),
    ),
    _trace(
        "physics estimate, units go wrong",
        "Estimate the energy of a 1000 kg car at 100 km/h.",
        ("-", None, None, "Kinetic energy is m v^2 / 2."),
        ("-", 0, None, "With v = 100 this is 1000 * 10000 / 2 = 5 MJ."),
        ("-", 1, None, "Hmm, 5 MJ seems high. Maybe I used the wrong units."),
        ("backtrack", 0, 1, "Right, I forgot to convert: v = 27.8 m/s, so 1000 * 773 / 2 = 0.39 MJ."),
        ("-", 3, None, "For comparison, a litre of petrol holds 32 MJ."),
        ("conclude", 4, None, "Final answer: about 0.4 MJ."),
    ),
    _trace(
        "proof by contradiction is no failure",
        "Show that the square root of 2 is irrational.",
        ("-", None, None, "Suppose it is rational, p / q in lowest terms."),
        ("-", 0, None, "Then p^2 = 2 q^2, so p is even, p = 2r."),
        ("-", 1, None, "Then q^2 = 2 r^2, so q is even as well, a contradiction."),
        ("-", 2, None, "Hence the square root of 2 is irrational."),
    ),
    _trace(
        "terse",
        "24 from 3 3 8 8",
        ("-", None, None, "8/3 = 2.667, 3 - 2.667 = 0.333."),
        ("-", 0, None, "3*8 = 24, leaves 3 and 8. No use."),
        ("backtrack", None, 0, "Try 8*8 = 64. 64/3 = 21.33. No."),
        ("backtrack", None, 2, "Back to 8/3: 8 / (3 - 8/3) = 8 / 0.333 = 24."),
        ("conclude", 3, None, "Answer: 8 / (3 - 8/3)."),
    ),
    _trace(
        "a long ramble",
        "Is 221 prime?",
        ("setup", None, None, "Okay, so the question is whether 221 is prime. Let me think."),
        ("-", 0, None, "The root of 221 is between 14 and 15, so I test 2, 3, 5, 7, 11, 13."),
        ("-", 1, None, "Hmm, wait. 2 no, 3: 2 + 2 + 1 = 5, no. 5 no."),
        ("-", 2, None, "7 * 31 = 217, so 7 leaves 4. But wait, 7 * 32 = 224, right, so no."),
        ("backtrack", 0, 1, "Or maybe there's a pattern: 15^2 - 4 = 221! A difference of squares."),
        ("-", 4, None, "So 221 = (15 - 2)(15 + 2) = 13 * 17."),
        ("verify", 5, None, "Let me double check: 13 * 17 = 221. Yes."),
        ("conclude", 6, None, "So the answer is no, 221 is not prime."),
    ),
    _trace(
        "hypotheses in a row, each with a verdict",
        "Why is the average sometimes wrong?",
        ("-", None, None, "The code sorts the numbers and takes the middle one."),
        ("-", 0, None, "Maybe the bug is that the list is empty? The length is tested first. Fine."),
        ("backtrack", 0, 1, "Could the bug be about the types? Ints and floats compare. No."),
        (
            "backtrack",
            0,
            2,
            "What about an even length? It takes the upper middle one, and the mean of two is asked for.",
        ),
        ("-", 3, None, "So that is it: for an even length the two middle ones have to be averaged."),
    ),
    _trace(
        "a denial that mends, and one that only answers a question",
        "How many faces does the tower show?",
        ("-", None, None, "Each layer shows 4 * 3 = 12 faces, and there are 5 layers."),
        ("-", 0, None, "That makes 60 faces in all."),
        ("backtrack", None, 0, "Wait, no. The layers shrink: they show 4, 12, 20, 28 and 36 faces, 100 in all."),
        ("verify", 2, None, "Do the corners count twice? Each corner cube shows two faces, and both are counted."),
        ("-", 3, None, "No, nothing is counted twice, so it stays at 100."),
    ),
    _trace(
        "the reading of the question changes",
        "In which order do the hands of 2009 cards go?",
        ("-", None, None, "The factors of 2009 are 7, 7 and 41, so a + b + c is 58."),
        ("-", 0, None, "But 58 is not among the options, which lie between 230 and 239."),
        ("backtrack", None, 0, "Perhaps the problem asks for another sum, say that of the squares."),
        ("-", 2, None, "49 + 49 + 1681 is 1779, which is far too large. No."),
        ("backtrack", None, 2, "Wait, maybe the cards are counted from zero."),
    ),
    _trace(
        "German",
        "Wie viele Diagonalen hat ein Achteck?",
        ("setup", None, None, "Gesucht ist die Zahl der Diagonalen eines Achtecks."),
        ("-", 0, None, "Zuerst zähle ich sie an jeder Ecke einzeln auf: 5, 5, 4, ..."),
        ("-", 1, None, "Das wird unübersichtlich und funktioniert so nicht."),
        ("backtrack", 0, 1, "Ein anderer Ansatz: jede der 8 Ecken hat 5 Diagonalen, also 8 * 5 / 2 = 20."),
        ("verify", 3, None, "Zur Probe das Fünfeck: 5 * 2 / 2 = 5, stimmt."),
        ("conclude", 4, None, "Die Antwort ist 20."),
    ),
    _trace(
        "Chinese",
        "求 1 到 50 中奇数的和。",
        ("setup", None, None, "题目要求 1 到 50 中所有奇数的和。"),
        ("plan", 0, None, "首先逐个相加:1 + 3 + 5 + 7 = 16。"),
        ("-", 1, None, "这样太麻烦了。"),
        ("backtrack", 0, 1, "换一种方法:共有 25 个奇数,和是 25 的平方。"),
        ("-", 3, None, "25 * 25 = 625。"),
        ("verify", 4, None, "验证一下:前 3 个的和是 9 = 3 * 3。"),
        ("conclude", 5, None, "所以答案是 625。"),
    ),
]
