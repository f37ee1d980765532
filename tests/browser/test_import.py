"""Importing as a person does it: drop a file, see what is in it, import, find the traces in the list; paste; go wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

HOSTILE = "<img src=x onerror=\"document.title='owned'\"> ${7*7} {{7*7}}"
ROWS: list[Any] = [
    {"messages": [{"role": "user", "content": f"Imported one {HOSTILE}"},
                  {"role": "assistant", "reasoning": "First.\n\nThen.", "content": "Done."}]},
    {"prompt": "Imported two", "completions": ["A step.", "Another."], "labels": [True, True]},
    {"prompt": "Imported two", "completions": ["A step.", "Another."]},
    {"prompt": 7, "response": HOSTILE},
]  # fmt: skip


def counters(page: Any) -> dict[str, str]:
    return dict(
        page.evaluate(
            "() => [...document.querySelectorAll('[data-id=import-result] dl div')]"
            ".map((d) => [d.querySelector('dt').textContent, d.querySelector('dd').textContent])"
        )
    )


def drop(page: Any, *files: tuple[str, str]) -> None:
    """What a file manager sends when files are let go over the box."""
    held = page.evaluate_handle(
        "(files) => { const d = new DataTransfer(); for (const [name, text] of files) d.items.add(new File([text], name)); return d; }",
        files,
    )
    for event in ("dragover", "drop"):
        page.dispatch_event("[data-id=drop]", event, {"dataTransfer": held})


def test_a_dropped_file_is_looked_at_and_what_cannot_be_is_said(open_tab: Any) -> None:
    page = open_tab("/ui/data").page
    row = json.dumps({"prompt": "Dropped", "response": "A step.\n\nAnother."})
    drop(page, ("a.jsonl", row))
    page.wait_for_selector("[data-id=import-go]:has-text('Import 1 trace')")
    drop(page, ("a.jsonl", row), ("b.jsonl", row))
    page.wait_for_selector("[data-id=import-result] >> text=2 files were dropped, and none was read")
    assert page.locator("[data-id=import-go]").count() == 0
    drop(page, ("nothing.jsonl", ""))
    page.wait_for_selector("[data-id=import-result] >> text=nothing.jsonl is empty")
    # Beside the box: the browser must not open it in the page's place.
    stays = """(event) => { const held = new DataTransfer(); held.items.add(new File(["x"], "beside.txt"));
        return !document.body.dispatchEvent(new DragEvent(event, { dataTransfer: held, bubbles: true, cancelable: true })); }"""
    assert [page.evaluate(stays, event) for event in ("dragover", "drop")] == [True, True]


def test_a_file_is_looked_at_then_imported(open_tab: Any, bench: Any, tmp_path: Path) -> None:
    path = tmp_path / "logs.jsonl"
    path.write_text("\n".join(map(json.dumps, ROWS)))
    before = bench.get("/api/stats")["traces"]
    page = open_tab("/ui/data").page
    page.set_input_files("[data-id=file]", str(path))
    page.wait_for_selector("[data-id=import-go]")
    found = counters(page)
    assert (found["Rows"], found["New traces"], found["Twice in the file"], found["Errors"]) == ("4", "2", "1", "1")
    text = page.inner_text("[data-id=import-result]")
    for words in (
        "messages 1",
        "trl 2",
        "think 1",
        "plain 1",
        "logs.jsonl:4",
        '"prompt" is a number',
        "nothing is stored",
    ):
        assert words in text, text
    page.wait_for_function("document.getElementById('wl-live')?.textContent.includes('2 new traces')")
    assert bench.get("/api/stats")["traces"] == before  # looking stores nothing
    page.focus("[data-id=import-go]")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=2 traces and 2 judgements imported from logs.jsonl")
    page.wait_for_selector("[data-id=traces] >> text=Imported two")
    page.wait_for_selector("[data-id=traces] >> text=Imported one <img src=x")
    assert bench.get("/api/stats")["traces"] == before + 2
    assert page.title() != "owned"
    page.set_input_files("[data-id=file]", str(path))  # the same file again
    page.wait_for_selector("text=Import 2 judgements")  # they are kept once; the traces are known
    assert counters(page)["Already stored"] == "3"
    assert "import:logs.jsonl 1" in page.inner_text("[data-id=import-result]")


def test_a_text_is_pasted(open_tab: Any) -> None:
    page = open_tab("/ui/data").page
    page.click(".wl-import summary")
    page.fill("[data-id=paste-text]", '<think>Hm. {"a": 1}</think>Pasted answer')
    page.click("[data-id=paste-look]")
    page.wait_for_selector("text=A response needs its question")
    page.fill("[data-id=paste-question]", "Pasted question?")
    page.click("[data-id=paste-look]")
    page.click("text=Import 1 trace")
    page.wait_for_selector("[data-id=traces] >> text=Pasted question?")
    assert page.inner_text("[data-id=import-result]").endswith("imported from pasted.json.")  # and nothing below it
    page.fill("[data-id=paste-question]", "")
    page.fill("[data-id=paste-text]", json.dumps({"problem": "Pasted line", "solution": "x"}) + "\n{broken\n")
    page.click("[data-id=paste-look]")
    page.wait_for_selector("text=pasted.json:2")
    assert counters(page)["New traces"] == "1"
    page.click("text=Discard")
    assert page.inner_text("[data-id=import-result]") == ""


def test_a_file_is_dropped(open_tab: Any) -> None:
    page = open_tab("/ui/data").page
    drop = page.locator("[data-id=drop]")
    row = json.dumps({"prompt": f"Dropped question {HOSTILE}", "response": "<think>Hm.</think>4"})
    files = page.evaluate_handle(
        "(row) => { const held = new DataTransfer(); held.items.add(new File([row], 'dropped.jsonl')); return held; }",
        row,
    )
    drop.dispatch_event("dragover", {"dataTransfer": files})
    assert "over" in drop.get_attribute("class")
    drop.dispatch_event("drop", {"dataTransfer": files})
    assert "over" not in drop.get_attribute("class")
    page.click("text=Import 1 trace")
    page.wait_for_selector("text=1 trace imported from dropped.jsonl")
    page.wait_for_selector("[data-id=traces] >> text=Dropped question <img src=x")
    assert page.title() != "owned"


FREEZES = """() => { window.worst = 0; let last = performance.now(); const tick = () => { const now = performance.now();
    window.worst = Math.max(window.worst, now - last); last = now; setTimeout(tick, 10); }; tick(); }"""
FREEZE_MS = 1000


@pytest.mark.slow
def test_a_large_file_does_not_freeze_the_page(open_tab: Any, tmp_path: Path) -> None:
    path = tmp_path / "large.jsonl"
    text = "<think>" + "So x is 1. Then x + 1 is 2.\n\n" * 70_000 + "</think>2"
    path.write_text("\n".join(json.dumps({"prompt": f"Large {i}", "response": text}) for i in range(3)))
    page = open_tab("/ui/data").page
    page.evaluate(FREEZES)
    page.set_input_files("[data-id=file]", str(path))
    page.wait_for_selector("[data-id=import-go]", timeout=120_000)
    assert counters(page)["New traces"] == "3"
    assert page.evaluate("window.worst") < FREEZE_MS
    assert page.evaluate("document.body.textContent.length") < 200_000


def test_a_format_by_name_reads_a_file_otherwise(open_tab: Any, bench: Any, tmp_path: Path) -> None:
    path = tmp_path / "tagged.jsonl"
    path.write_text(json.dumps({"prompt": "Imported by name", "response": "<think>a</think>b"}))
    page = open_tab("/ui/data").page
    page.set_input_files("[data-id=file]", str(path))
    page.wait_for_selector("[data-id=import-result] >> text=think 1")
    page.select_option("[data-id=import-format]", "plain")  # the file on screen is looked at again
    page.wait_for_selector("[data-id=import-result] >> text=plain 1")
    page.click("[data-id=import-go]")
    page.wait_for_selector("text=1 trace imported from tagged.jsonl")
    (row,) = bench.get("/api/traces?q=Imported%20by%20name")["traces"]
    stored = bench.get(f"/api/traces/{row['trace_id']}")
    assert (stored["format"], stored["answer"]) == ("plain", "")
    assert stored["steps"][0]["thought"] == "<think>a</think>b"


@pytest.mark.slow
def test_a_large_paste_does_not_freeze_the_page(open_tab: Any) -> None:
    """Two million characters, from the clipboard and by the keys."""
    page = open_tab("/ui/data").page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    text = "<think>" + "So x is 1. Then x + 1 is 2.\n\n" * 70_000 + "</think>2"
    page.click(".wl-import summary")
    page.fill("[data-id=paste-question]", "Large paste?")
    page.evaluate("(text) => navigator.clipboard.writeText(text)", text)
    page.focus("[data-id=paste-text]")
    page.evaluate(FREEZES)
    page.keyboard.press("Control+V")
    page.wait_for_selector(f"text={len(text):,} characters pasted; the first 2,000 are shown.")
    assert page.input_value("[data-id=paste-text]") == text[:2000]
    page.click("[data-id=paste-look]")
    page.wait_for_selector("[data-id=import-go]", timeout=120_000)
    assert (counters(page)["New traces"], page.evaluate("window.worst") < FREEZE_MS) == ("1", True)
    page.click("text=Import 1 trace")
    page.wait_for_selector("text=1 trace imported from pasted.json", timeout=120_000)
    page.click(".wl-import >> text=Remove")
    page.keyboard.type("short")
    assert page.input_value("[data-id=paste-text]") == "short"
