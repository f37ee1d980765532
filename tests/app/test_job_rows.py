"""What would be learned, asked for before anything is trained; and what it does not show."""

from __future__ import annotations

import json
from pathlib import Path

from tests.app.people import door
from tests.training.synthetic import examples, snapshot_rows, write_snapshot

TEXT = "Numbers: 4, 7, 8."


def test_rows_are_shown_whole_and_what_cannot_be_is_a_sentence(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    with door(data) as bench:
        rows = snapshot_rows(examples(10, longest=5))
        write_snapshot(data, rows)
        (data / "texts.jsonl").write_text(
            "".join(json.dumps({"text": f"{TEXT} Target: {n}."}) + "\n" for n in range(20))
        )
        (tmp_path / "secret.txt").write_text("not for others")

        def ask(kind: str, *changes: str, snapshot: str = "snap", status: int = 200) -> dict:
            asked = {"kind": kind, "snapshot_id": snapshot, "set": list(changes)}
            answer = bench.ask("POST", "/api/jobs/rows", "researcher", json=asked)
            assert answer.status_code == status, answer.text
            return answer.json()

        found = ask("sft", "choose=either", "pauses=3", 'new_tokens=["pause"]')
        source = next(row for row in rows if row["trace_id"] == found["rows"][0]["trace_id"])
        read, learned = found["rows"][0]["pieces"]
        assert (read["label"], learned["label"]) == ("read", "learned")
        assert read["text"].endswith("<|pause|>" * 3)
        assert learned["text"] == f"{source['response']}<|end|>"
        assert found["rows"][0]["n_labels"] < found["rows"][0]["n_tokens"]
        assert found["n_test"] and {row["split"] for row in found["rows"]} == {"train", "test"}, "from all over"
        scored = [p for row in ask("prm")["rows"] for p in row["pieces"] if p["label"] != "read"]
        assert {p["text"] for p in scored} == {"<|step_score|>"}
        assert {p["label"] for p in scored} == {"good", "bad"}

        assert "Choose a snapshot first" in ask("sft", snapshot="", status=422)["error"]
        assert "Choose a snapshot first" in ask("sft", snapshot="../snap", status=422)["error"]
        assert "fits into max_tokens" in ask("sft", "max_tokens=16", status=422)["error"]
        assert 'Add it with new_tokens=["pause"]' in ask("sft", "pauses=3", status=422)["error"]
        assert "Did you mean" in ask("sft", "pause=3", status=422)["error"]
        # A path is anything on the machine: others than its owner see what the workbench holds, and nothing else.
        shown = "".join(p["text"] for p in ask("cpt", f"texts={data}/texts.jsonl")["rows"][0]["pieces"])
        assert shown.startswith(TEXT) and shown.endswith(".<|end|>")
        refused = ask("cpt", f"texts={data}/../secret.txt", status=403)["error"]
        assert "outside of the data folder" in refused
