// The two ways to see a tree, overview and graph, as tabs. Knows no trace.

/** at(id): an element of the page; drawGraph: called whenever the graph comes into view. Returns show("overview" | "graph"). */
export function treeViews(at, drawGraph) {
  function show(which) {
    for (const name of ["overview", "graph"]) {
      at(name).hidden = name !== which;
      at(`tab-${name}`).setAttribute("aria-selected", name === which);
      at(`tab-${name}`).tabIndex = name === which ? 0 : -1;
    }
    at("legend").hidden = which !== "overview";
    if (which === "graph") drawGraph();
  }

  for (const name of ["overview", "graph"]) {
    at(`tab-${name}`).addEventListener("click", () => show(name));
    at(`tab-${name}`).addEventListener("keydown", (event) => {
      if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
      const other = name === "overview" ? "graph" : "overview";
      show(other);
      at(`tab-${other}`).focus();
    });
  }
  return show;
}
