"""The palette by arithmetic: contrast after WCAG 2.2 of everything that stands on something, and how far the judgement colours
are apart for colour-blind eyes (simulation after Machado, Oliveira and Fernandes 2009; distance CIEDE2000).

A colour that is used on a new ground belongs into TEXT_ON or SHAPES_ON; that no colour escapes is a test of its own.
"""

from __future__ import annotations

import re
from itertools import combinations, pairwise, product
from pathlib import Path

import pytest

from app.pages.shell import SHEETS as SHEETS_OF_PAGES

Color = pytest.importorskip("coloraide", reason="coloraide is not installed: pip install '.[test]'").Color

SHEETS = Path(__file__).parents[2] / "app" / "static"
TEXT_CONTRAST = 4.5  # 1.4.3
SHAPE_CONTRAST = 3.0  # 1.4.11
# Two judgements side by side as small marks: below 10 they are taken for one another at a glance.
LEAST_DISTANCE = 10.0
GOOD_FROM_BAD = 45.0  # the pair that matters most; red against green has 7 to 21
SIGHTS = (None, "protan", "deutan", "tritan")
JUDGEMENTS = ("good", "bad", "neutral", "unsure")
SCORES = ("s0", "s1", "s2", "s3", "s4")

GROUNDS = ("page", "card", "sunken", "soft")
# text -> what it is written on
TEXT_ON = {
    "text": (*GROUNDS, "back-soft"),
    "muted": (*GROUNDS, "back-soft"),
    "faded": ("card",),
    "good-text": GROUNDS,
    "bad-text": GROUNDS,
    "neutral-text": GROUNDS,
    "unsure-text": GROUNDS,
    "back-text": (*GROUNDS, "back-soft"),
    "accent": GROUNDS,
    "accent-text": ("accent",),
    "on-judgement": ("good", "neutral", "unsure"),
    "on-bad": ("bad",),
    "on-found": ("found",),
    "on-low": ("s0", "s1", "s2"),
    "on-high": ("s3", "s4"),
    "card": ("text",),  # a pressed answer at a turn back, the button that follows a run
}
# dots, lines, frames and rings -> what they are drawn on
SHAPES_ON = {
    **dict.fromkeys(JUDGEMENTS, ("card", "soft")),
    "jump": ("page", "card", "soft"),
    "edge": ("card", "soft"),
    "line-strong": ("page", "card", "sunken"),
    "accent": GROUNDS,
    "focus": (*GROUNDS, "back-soft"),
}
# Fills whose meaning is written on them or beside them, and hairlines that only group.
MEANS_NOTHING_ALONE = {"back", "back-soft", "line", "page", "sunken", "soft", "found", *SCORES}


def palettes() -> dict[str, dict[str, str]]:
    """Theme → name → colour, as theme.css has them; dark inherits what it does not change."""
    css = (SHEETS / "theme.css").read_text(encoding="utf-8")
    blocks = [re.search(rf"^{start} \{{(.*?)^\}}", css, re.M | re.S) for start in (":root", r"\.dark")]
    light, dark = (dict(re.findall(r"--wl-([\w-]+):\s*(#[0-9a-f]{6});", b.group(1))) for b in blocks if b)
    return {"light": light, "dark": {**light, **dark}}


PALETTES = palettes()


def contrast(one: str, other: str) -> float:
    return float(Color(one).contrast(other, method="wcag21"))


def seen(colour: str, sight: str | None) -> Color:
    return Color(colour).filter(sight, method="machado") if sight else Color(colour)


def distance(one: str, other: str, sight: str | None) -> float:
    return float(seen(one, sight).delta_e(seen(other, sight), method="2000"))


@pytest.mark.parametrize("theme", PALETTES)
def test_text_stands_out_from_what_it_is_written_on(theme: str) -> None:
    palette = PALETTES[theme]
    pairs = [(text, ground) for text, grounds in TEXT_ON.items() for ground in grounds]
    weak = {p: round(c, 2) for p in pairs if (c := contrast(palette[p[0]], palette[p[1]])) < TEXT_CONTRAST}
    assert not weak


@pytest.mark.parametrize("theme", PALETTES)
def test_shapes_stand_out_from_what_they_are_drawn_on(theme: str) -> None:
    palette = PALETTES[theme]
    pairs = [(shape, ground) for shape, grounds in SHAPES_ON.items() for ground in grounds]
    weak = {p: round(c, 2) for p in pairs if (c := contrast(palette[p[0]], palette[p[1]])) < SHAPE_CONTRAST}
    assert not weak


@pytest.mark.parametrize(("theme", "sight"), list(product(PALETTES, SIGHTS)))
def test_judgements_are_told_apart_by_every_sight(theme: str, sight: str | None) -> None:
    palette = PALETTES[theme]
    apart = {(a, b): round(distance(palette[a], palette[b], sight), 1) for a, b in combinations(JUDGEMENTS, 2)}
    assert {pair: d for pair, d in apart.items() if d < LEAST_DISTANCE} == {}
    assert apart["good", "bad"] >= GOOD_FROM_BAD


def test_the_simulation_sees_what_it_is_for() -> None:
    """Red against green, which others use, must fail by the same measure: else the test above proves nothing."""
    assert distance("#22c55e", "#ef4444", None) > GOOD_FROM_BAD > distance("#22c55e", "#ef4444", "deutan")


@pytest.mark.parametrize("theme", PALETTES)
def test_scores_are_a_ramp_from_near_the_ground_to_far_from_it(theme: str) -> None:
    palette = PALETTES[theme]
    ramp = [Color(palette[score]).luminance() for score in SCORES]
    assert ramp == sorted(ramp, reverse=theme == "light")
    assert min(b / a if theme == "dark" else a / b for a, b in pairwise(ramp)) > 1.3


def test_every_colour_of_the_theme_is_under_test() -> None:
    known = set(TEXT_ON) | set(SHAPES_ON) | MEANS_NOTHING_ALONE
    assert set(PALETTES["light"]) == set(PALETTES["dark"])
    assert set(PALETTES["light"]) - known == set()


def test_no_sheet_has_a_colour_of_its_own_or_one_that_is_not_there() -> None:
    """Else the tests above would not see it. (The graph file and the API's documentation stand alone: they are read elsewhere.)"""
    for name in SHEETS_OF_PAGES:
        css = re.sub(r"/\*.*?\*/", "", (SHEETS / f"{name}.css").read_text(encoding="utf-8"), flags=re.S)
        used = set(re.findall(r"var\(--wl-([\w-]+)\)", css))
        defined = set(re.findall(r"--wl-([\w-]+):", (SHEETS / "theme.css").read_text(encoding="utf-8")))
        assert used <= defined, (name, used - defined)
        if name != "theme":
            assert re.findall(r"[:\s](#[0-9a-fA-F]{3,8})\b", css) == [], name
