"""The pages: Gradio is the shell (routes, navigation, theme), the live part of each page is our own JavaScript.

`build_ui()` makes the Gradio app, `mount_ui(app)` mounts it under /ui with our theme and head. Each page file holds one
page's static markup; what happens on it is in app/static/<page>.js, which talks to /api. No text of a model or a user ever
passes through Gradio: gr.HTML evaluates its templates. Knows nothing about traces, ratings or jobs.
"""

from __future__ import annotations

import warnings
from types import ModuleType
from typing import TYPE_CHECKING, Any

from app.pages import accounts, compare, data, evaluate, quality, queues, rate, solve, train

if TYPE_CHECKING:
    import gradio as gr
    from fastapi import FastAPI

    from app.people import Person

UI_PATH = "/ui"
# In the order of the navigation. Each says the least ROLE of those who may open it.
PAGES = (solve, rate, compare, queues, quality, data, train, evaluate, accounts)
# Gradio looks a thousand times a second whether one of its events has come, for 6 % of a core; our pages have none.
QUEUE_LOOKS_S = 1.0


def address(page: ModuleType) -> str:
    """Where a page is."""
    return f"{UI_PATH}/" if page is solve else f"{UI_PATH}/{page.NAME}"


def least_role(path: str) -> str | None:
    """The role that the page at this path needs; None: there is no page of ours."""
    return next((page.ROLE for page in PAGES if address(page).rstrip("/") == path.rstrip("/")), None)


def open_to(person: Person) -> list[str]:
    """The addresses of the pages that somebody may open, in the order of the navigation."""
    return [address(page) for page in PAGES if person.may(page.ROLE)]


def build_ui() -> gr.Blocks:
    """All pages, ready to be mounted; Solve is at `/`."""
    import gradio as gr

    from app.pages.shell import mount_point, navigation

    with gr.Blocks(title="Worldline", analytics_enabled=False, fill_width=True) as demo:
        navigation(gr)
        mount_point(gr, "solve", solve.MARKUP)
    for page in PAGES[1:]:
        with demo.route(page.TITLE, f"/{page.NAME}"):
            navigation(gr)
            mount_point(gr, page.NAME, page.MARKUP)
    return demo


def mount_ui(app: FastAPI) -> FastAPI:
    """Mount the pages on `app` under /ui, with nothing that would leave the machine or be kept by Gradio."""
    import gradio as gr

    from app.pages.shell import HEAD, theme

    demo = build_ui()
    with warnings.catch_warnings():
        # It warns that it switches off what `ssr_mode` has switched off; that would be the first line a user reads.
        warnings.filterwarnings("ignore", message="SSR mode is not supported")
        mounted = gr.mount_gradio_app(
            app,
            demo,
            path=UI_PATH,
            run_history=False,
            footer_links=[],
            theme=theme(gr),
            head=HEAD,
            show_error=False,
            ssr_mode=False,
        )
    queue: Any = demo._queue
    queue.sleep_when_free = queue.progress_update_sleep_when_free = QUEUE_LOOKS_S
    return mounted
