// Runs inside the graph page (a sandboxed frame, or a saved file): colours by theme, the text of the chosen step, messages
// to and from the workbench. A classic script: it finds pyvis's globals `network`, `nodes` and `edges`. Text only by textContent.
(() => {
  const trace = JSON.parse(document.getElementById("wl-trace").textContent);
  const QUESTION = -1;
  const wanted = new URLSearchParams(location.search).get("theme");
  const dark = wanted ? wanted === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.classList.toggle("dark", dark);
  document.documentElement.lang = "en";

  const el = (tag, attributes, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };

  const ink = dark ? "#e7ebf2" : "#17202e";
  const card = dark ? "#121826" : "#ffffff";
  const line = dark ? "#66728a" : "#7f889a";
  const jump = dark ? "#e69f00" : "#c17a00"; // as --wl-jump: 3:1 on the page
  const chosen = dark ? "#14283b" : "#e6f1fa";
  const accent = dark ? "#6cbdf0" : "#0b5c9e";
  const group = (background, border, extra = {}) => ({
    color: { background, border, highlight: { background: chosen, border: accent }, hover: { background: chosen, border } }, font: { color: ink, size: 14, face: "system-ui, sans-serif" }, ...extra,
  });
  network.setOptions({
    groups: {
      question: group(ink, ink, { font: { color: card, size: 14, face: "system-ui, sans-serif" } }),
      step: group(card, line),
      back: group(dark ? "#2b2413" : "#fff6e3", jump, { shapeProperties: { borderDashes: [4, 3] } }),
      finish: group(card, ink, { borderWidth: 3 }),
    },
    edges: { color: { color: dark ? "#76839a" : "#7b8698", highlight: accent, hover: accent, inherit: false }, font: { color: ink, strokeWidth: 0 } },
  });

  if (!dark) edges.update(edges.get({ filter: (edge) => edge.dashes }).map(({ id }) => ({ id, color: jump })));

  const stepWord = (index) => (index === null || index === undefined ? "the question" : `step ${index + 1}`);
  const top = el("div", { id: "wl-top", tabindex: "0", role: "region", "aria-label": "The question and the answer" });
  const verdict = trace.solved === true ? el("span", { class: "good" }, "✓ solved") : trace.solved === false ? el("span", { class: "bad" }, "✗ not solved") : "";
  top.append(el("h1", {}, trace.prompt.slice(0, 400)), el("div", {}, verdict, verdict ? " · " : "", trace.answer.slice(0, 400)));
  const backtracks = trace.steps.filter((s) => s.is_backtrack).length;
  top.append(el("div", { class: "muted" }, `${trace.steps.length} steps, ${backtracks} backtracks (dashed)${trace.hidden ? `; ${trace.hidden} steps of straight runs are hidden` : ""}${trace.model ? ` · ${trace.model}` : ""}`));
  const panel = el("section", { id: "wl-step", tabindex: "0", "aria-live": "polite", "aria-label": "Selected step" });
  panel.hidden = true;
  const zoom = el("div", { id: "wl-zoom", role: "group", "aria-label": "View" });
  const button = (label, title, action) => {
    const b = el("button", { type: "button", title, "aria-label": title }, label);
    b.addEventListener("click", action);
    zoom.append(b);
  };
  const scaleBy = (factor) => network.moveTo({ scale: network.getScale() * factor, animation: false });
  button("+", "Larger", () => scaleBy(1.25));
  button("−", "Smaller", () => scaleBy(0.8));
  button("Fit", "Show all", () => fit());
  const main = document.querySelector(".card"); // pyvis's box around the drawing
  main.setAttribute("role", "main");
  main.append(top, zoom, panel);
  const canvas = document.querySelector("#mynetwork canvas");
  canvas?.setAttribute("role", "img");
  canvas?.setAttribute("aria-label", `Graph of ${trace.steps.length} steps with ${backtracks} backtracks. The step list of the workbench holds the same steps as text.`);

  function show(index) {
    const step = trace.steps[index];
    panel.hidden = false;
    panel.replaceChildren();
    const close = el("button", { type: "button", "aria-label": "Close" }, "×");
    close.addEventListener("click", () => (panel.hidden = true));
    panel.append(close);
    if (!step) {
      panel.append(el("h2", {}, "The question"), el("p", {}, trace.prompt));
      return;
    }
    panel.append(el("h2", {}, `${index + 1}  ${step.name}`));
    if (step.is_backtrack) {
      const sure = typeof step.confidence === "number" ? ` (inferred, ${Math.round(step.confidence * 100)} % sure)` : "";
      panel.append(el("p", { class: "back" }, `↩ goes on from ${stepWord(step.resumes ?? step.parent)}${sure}`));
    }
    for (const field of ["thought", "summary", "reflection"]) {
      if (step[field]) panel.append(el("p", {}, el("span", { class: "label" }, field), step[field]));
    }
    if (step.decision) panel.append(el("p", { class: "muted" }, `then: ${step.decision}`));
    if (trace.scores?.[index] !== undefined) panel.append(el("p", {}, `PRM score ${trace.scores[index].toFixed(2)}`));
  }

  const framed = window.parent !== window;
  network.on("selectNode", (event) => {
    const index = Number(event.nodes[0]);
    show(index);
    if (framed) window.parent.postMessage({ type: "select", index }, "*");
  });
  network.on("deselectNode", () => (panel.hidden = true));
  window.addEventListener("message", (event) => {
    if (event.source !== window.parent || event.data?.type !== "select") return;
    const index = event.data.index;
    if (!nodes.get(index)) return;
    network.selectNodes([index]);
    if (!framed) show(index);
  });

  // The whole tree where its text stays readable, else its beginning at a readable size.
  const READABLE = 0.55;
  const fit = () => {
    network.fit();
    // Not under the card with the question.
    const view = network.getViewPosition();
    const room = (top.offsetHeight + 20) / 2;
    const scale = network.getScale() * (innerHeight / (innerHeight + 2 * room));
    network.moveTo({ scale, position: { x: view.x, y: view.y - room / scale } });
  };
  fit();
  if (network.getScale() < READABLE) {
    const start = network.getPositions([QUESTION])[QUESTION];
    network.moveTo({ position: { x: start.x + innerWidth / 2 / 0.8 - 110, y: start.y + innerHeight / 2 / 0.8 - 130 }, scale: 0.8 });
  }
  if (framed) window.parent.postMessage({ type: "ready" }, "*");
})();
