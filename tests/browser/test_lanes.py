"""The gutter's arithmetic, in the browser that runs it: lanes never move, jumps run between lanes, every row is whole."""

from __future__ import annotations

from typing import Any

PROBE = """async (nodes) => {
  const { Lanes } = await import("/static/lanes.js");
  const lanes = new Lanes();
  const before = [];
  for (const [parent, back] of nodes) {
    before.push(lanes.rows.map((r) => r.lane));
    lanes.push(parent === null ? 0 : parent + 1, back);
  }
  const moved = before.some((old) => old.some((lane, row) => lane !== lanes.rows[row].lane));
  return { lanes: lanes.rows.map((r) => r.lane), pieces: lanes.rows.map((r) => r.pieces.map((p) => [p.kind, p.at ?? null, p.back, p.from])), moved };
}"""


def test_lanes_of_a_search_with_two_returns(open_tab: Any) -> None:
    page = open_tab("/ui/").page
    # 0 and 1 in a line; 2 goes back to 0; 3 follows 2; 4 goes back to the question.
    found = page.evaluate(PROBE, [[None, False], [0, False], [0, True], [2, False], [None, True]])
    assert not found["moved"]
    assert found["lanes"] == [0, 0, 0, 1, 1, 1]
    pieces = found["pieces"]
    assert ["rail-out", 0.5, True, 1] in pieces[1]  # leaves step 0 (row 1) between lanes 0 and 1
    assert ["pass", 0.5, True, 1] in pieces[2]
    assert ["rail-in", 0.5, True, 1] in pieces[3]
    rail = next(p[1] for p in pieces[0] if p[0] == "rail-out")
    assert 0 < rail < 1 and rail != 0.5  # the question's rail runs beside the other one, not over it
    assert all(["pass", rail, True, 0] in row for row in pieces[1:5])
    assert ["rail-in", rail, True, 0] in pieces[5]


def test_a_long_search_is_laid_out_fast_and_stays_where_it_was(open_tab: Any) -> None:
    page = open_tab("/ui/").page
    nodes = [[None, False]] + [[i - 1, False] if i % 3 else [max(0, i - 7), True] for i in range(1, 2000)]
    found = page.evaluate(
        """async (nodes) => {
          const { Lanes } = await import("/static/lanes.js");
          const { layoutRuns } = await import("/static/overview-layout.js");
          const { TraceModel } = await import("/static/trace-model.js");
          const start = performance.now();
          const lanes = new Lanes();
          for (const [parent, back] of nodes) lanes.push(parent === null ? 0 : parent + 1, back);
          const steps = nodes.map(([parent, back], index) => ({ index, parent, is_backtrack: back, name: "", thought: "", summary: "", reflection: "" }));
          const { runs } = layoutRuns(TraceModel.fromTrace({ trace_id: "t", prompt: "", steps }));
          const seen = runs.flatMap((r) => r.steps).sort((a, b) => a - b);
          const places = new Set(runs.map((r) => `${r.x} ${r.y}`));
          return { ms: performance.now() - start, rows: lanes.rows.length, whole: seen.every((s, i) => s === i), runs: runs.length, places: places.size };
        }""",
        nodes,
    )
    assert found["rows"] == 2001
    assert found["whole"] and found["places"] == found["runs"]  # every step in one box, no box over another
    assert found["ms"] < 2000


def test_hundreds_of_turns_back_over_one_row_are_few_lines_that_name_them_all(open_tab: Any) -> None:
    page = open_tab("/ui/").page
    # 2,000 steps in a line, then 300 turns back, each to an earlier step: all those rails pass by step 1,990.
    nodes = [[i - 1 if i else None, False] for i in range(2000)] + [[1980 - 6 * k, True] for k in range(300)]
    found = page.evaluate(
        """async (nodes) => {
          const { Lanes } = await import("/static/lanes.js");
          const { gutterRow } = await import("/static/gutter.js");
          const lanes = new Lanes();
          for (const [parent, back] of nodes) lanes.push(parent === null ? 0 : parent + 1, back);
          const row = gutterRow(lanes.rows[1990], lanes.width, 20, { kind: "step" });
          const lines = [...row.querySelectorAll("[data-kind=pass]")];
          return {
            lines: lines.length, places: new Set(lines.map((e) => e.getAttribute("x1"))).size,
            of: lines.flatMap((e) => e.dataset.from.split(" ").map(Number)).sort((a, b) => a - b),
            lit: row.querySelectorAll('[data-from~="1981"].jump').length,
          };
        }""",
        nodes,
    )
    assert found["lines"] == found["places"] <= 6
    assert found["of"] == sorted(1981 - 6 * k for k in range(300))
    assert found["lit"] == 1
