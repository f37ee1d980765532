"""The four pages: Gradio is the shell (routes, navigation, theme), the live part of each page is our own JavaScript.

`build_ui()` makes the Gradio app, `mount_ui(app)` mounts it under /ui with our theme and head. Each page file holds one
page's static markup; what happens on it is in app/static/<page>.js, which talks to /api. No text of a model or a user ever
passes through Gradio: gr.HTML evaluates its templates. Knows nothing about traces, ratings or jobs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import gradio as gr
    from fastapi import FastAPI

UI_PATH = "/ui"
# Gradio looks a thousand times a second whether one of its events has come, for 6 % of a core; our pages have none.
QUEUE_LOOKS_S = 1.0


def build_ui() -> gr.Blocks:
    """The pages Solve (`/`), Rate, Data and Train, ready to be mounted."""
    import gradio as gr

    from app.pages import data, rate, solve, train
    from app.pages.shell import mount_point, navigation

    with gr.Blocks(title="Worldline", analytics_enabled=False, fill_width=True) as demo:
        navigation(gr)
        mount_point(gr, "solve", solve.MARKUP)
    for page in (rate, data, train):
        with demo.route(page.TITLE, f"/{page.NAME}"):
            navigation(gr)
            mount_point(gr, page.NAME, page.MARKUP)
    return demo


def mount_ui(app: FastAPI) -> FastAPI:
    """Mount the pages on `app` under /ui, with nothing that would leave the machine or be kept by Gradio."""
    import gradio as gr

    from app.pages.shell import HEAD, theme

    demo = build_ui()
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
