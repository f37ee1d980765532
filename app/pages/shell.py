"""What all pages share: the head that loads our modules, the theme, the navigation, and how a page's markup is placed.

Knows nothing about any single page.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

# In the order of the cascade: a later sheet overrules an earlier one.
SHEETS = (
    "reading",
    "refine",
    "asking",
    "search",
    "theme",
    "pages",
    "rate",
    "judging",
    "compare",
    "queues",
    "quality",
    "data",
    "evaluate",
    "accounts",
)

# Gradio puts this up with a script of its own, twice when the app is mounted through mount_ui (once early, once with the
# component): the browser fetches and runs a module once, and boot.js waits for the sheets, which nothing else does.
HEAD = (
    "".join(f'<link rel="stylesheet" href="/static/{name}.css">' for name in SHEETS)
    + '<script type="module" src="/static/boot.js"></script>'
    + '<link rel="icon" type="image/svg+xml" href="/static/icon.svg">'
)

FONT = ("system-ui", "-apple-system", "Segoe UI", "Noto Sans", "DejaVu Sans", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "DejaVu Sans Mono", "monospace")


def theme(gr: ModuleType) -> Any:
    """Gradio's own look with the system's fonts (none is downloaded) and our blue."""
    return gr.themes.Base(
        primary_hue=gr.themes.colors.blue, neutral_hue=gr.themes.colors.slate, font=FONT, font_mono=MONO
    )


def navigation(gr: ModuleType) -> None:
    """The bar on top. Its first entry is named on every page because Gradio keeps that name per page."""
    gr.Navbar(main_page_name="Solve")


def mount_point(gr: ModuleType, page: str, markup: str) -> None:
    """Place a page's static markup. It must not hold `${`, `{{` or a backslash: gr.HTML evaluates its templates."""
    forbidden = [mark for mark in ("${", "{{", "\\", "`") if mark in markup]
    if forbidden:
        raise ValueError(f"the markup of the {page} page holds {forbidden[0]!r}, which gr.HTML would evaluate")
    gr.HTML(
        html_template=f'<div class="wl-page" data-wl-page="{page}">{markup}</div>',  # Gradio has put a <main> around it
        js_on_load="",
        head=HEAD,
        apply_default_css=False,
        elem_classes="wl-host",
    )
