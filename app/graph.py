"""The interactive graph of one trace, drawn by pyvis/vis-network: a page for a sandboxed frame, and a file that opens offline.

All of pyvis is behind this module, because its output cannot be used as it comes: it links Bootstrap from a CDN, prints the
heading as markup, and puts node titles that contain "href" into the page as HTML. Here the graph gets labels only (which
vis-network draws on a canvas, as text), the links are cut out, a content security policy forbids every request, and the
full text of the steps travels as JSON that our own script shows with `textContent`.

Positions come from core/layout; vis-network's physics and its own layouts stay off. Knows no database and no route.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.layout import lay_out
from core.trace import Trace, step_json

# vis-network stays fluent up to about this many boxes (frame times at 1,000 nodes are 4 times those at 200); beyond it the way
# to the last step and the branch points are shown, and the page says how many steps are hidden.
MAX_NODES = 600
# Bézier edges cost several times what straight ones do.
MAX_SMOOTH_EDGES = 300
LABEL_CHARS = 26
COLUMN_PX, ROW_PX = 256, 52
STATIC = Path(__file__).parent / "static"
# For the response header of the page; the page holds the same policy itself, so that the saved file keeps it.
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"
SANDBOX_POLICY = f"sandbox allow-scripts; {POLICY}"

_OUTSIDE = re.compile(r"<(?:link|script)\b[^>]*(?:https?:)?//[^>]*>(?:\s*</script>)?", re.I)
_COMMENT = re.compile(r"<!--.*?-->", re.S)
_HEADING = re.compile(r"<center>\s*<h1>.*?</h1>\s*</center>", re.S)
_QUESTION = -1


def graph_page(trace: Trace, scores: Sequence[float] | None = None) -> str:
    """One HTML page that needs nothing else: no request, no server, no fonts.

    scores: the chance that each step is good, by a reward model; shown beside the step's text.
    In a frame it posts {type: "select", index} when a step is chosen and obeys the same message. `?theme=dark` or the
    system's setting makes it dark.
    """
    kept = _kept(trace)
    page = _pyvis_page(trace, kept)
    page = _HEADING.sub("", _OUTSIDE.sub("", _COMMENT.sub("", page)))
    data = {
        "prompt": trace.prompt,
        "answer": trace.answer,
        "model": trace.model,
        "solved": trace.solved,
        "finish_reason": trace.finish_reason,
        "created_at": trace.created_at,
        "hidden": len(trace.steps) - len(kept),
        "scores": None if scores is None else [float(s) for s in scores],
        "steps": [step_json(s, n) for s, n in zip(trace.steps, trace.nodes, strict=True)],
    }
    head = (
        f'<meta http-equiv="Content-Security-Policy" content="{html.escape(POLICY)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(_short(trace.prompt, 80))} · Worldline</title>"
        f"<style>{_static('graph-page.css')}</style>"
    )
    tail = (
        f'<script type="application/json" id="wl-trace">{_json_in_html(data)}</script>'
        f"<script>{_static('graph-page.js')}</script>"
    )
    page = page.replace('<meta charset="utf-8">', '<meta charset="utf-8">' + head, 1)
    before, end, after = page.rpartition("</body>")
    return f"<!doctype html>\n{before}{tail}{end}{after}"


def file_name(trace: Trace) -> str:
    """The name under which the page is saved."""
    return f"worldline-{re.sub(r'[^0-9A-Za-z_-]', '_', trace.trace_id)[:40]}.html"


def _pyvis_page(trace: Trace, kept: list[int]) -> str:
    from pyvis.network import Network

    places = lay_out(trace.nodes).places
    net = Network(height="100vh", width="100%", directed=True, cdn_resources="in_line")
    net.add_node(_QUESTION, label="Question", x=0, y=0, shape="box", group="question", physics=False)
    shown = set(kept)
    for i in kept:
        step, node, place = trace.steps[i], trace.nodes[i], places[i]
        group = "finish" if step.decision == "finish" else "back" if node.is_backtrack else "step"
        label = f"{i + 1}  {_short(step.name or step.thought or '…', LABEL_CHARS)}"
        net.add_node(
            i, label=label, x=place.depth * COLUMN_PX, y=place.column * ROW_PX, shape="box", group=group, physics=False
        )
    for i in kept:
        node = trace.nodes[i]
        parent, skipped = node.parent, False
        while parent is not None and parent not in shown:
            parent, skipped = trace.nodes[parent].parent, True
        style: dict[str, Any] = {"dashes": [6, 6], "width": 2, "color": "#E69F00"} if node.is_backtrack else {}
        if skipped:
            style = {**style, "label": "…"}
        net.add_edge(_QUESTION if parent is None else parent, i, **style)
    smooth: bool | dict[str, Any] = False
    if len(kept) <= MAX_SMOOTH_EDGES:
        smooth = {"enabled": True, "type": "cubicBezier", "forceDirection": "horizontal", "roundness": 0.5}
    options = {
        "physics": {"enabled": False},
        "layout": {"improvedLayout": False},
        "interaction": {"hover": True, "dragNodes": False, "keyboard": {"enabled": True, "bindToWindow": False}},
        "nodes": {"borderWidth": 1.5, "margin": 8, "widthConstraint": {"minimum": 150, "maximum": 216}},
        "edges": {"smooth": smooth, "arrows": {"to": {"enabled": True, "scaleFactor": 0.5}}, "width": 1.5},
    }
    net.set_options(json.dumps(options))
    return str(net.generate_html(notebook=False))


def _kept(trace: Trace) -> list[int]:
    """All steps, or for a long trace the way to its last step and then the branch points and branch starts, in order."""
    count = len(trace.steps)
    if count <= MAX_NODES:
        return list(range(count))
    children = [0] * count
    for node in trace.nodes:
        if node.parent is not None:
            children[node.parent] += 1
    way: list[int] = []
    at: int | None = count - 1
    while at is not None:
        way.append(at)
        at = trace.nodes[at].parent
    chosen = set(way[-MAX_NODES // 2 :]) | {count - 1}
    turning = [i for i in range(count) if trace.nodes[i].is_backtrack or children[i] > 1]
    for i in turning:
        if len(chosen) >= MAX_NODES:
            break
        chosen.add(i)
    return sorted(chosen)


def _short(text: str, limit: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _static(name: str) -> str:
    return (STATIC / name).read_text(encoding="utf-8")


def _json_in_html(data: Any) -> str:
    """JSON that cannot end its script element, whatever is in it."""
    text = json.dumps(data, ensure_ascii=False)
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text.encode("utf-8", "replace").decode("utf-8")
