// The graph of a finished trace in a sandboxed frame, and the two messages that go between: which step is selected here,
// which one there. Knows no run.

import { h } from "./dom.js";

export class GraphFrame {
  /** onSelect(index): a step was chosen in the graph; selected(): the one chosen on the page. */
  constructor(host, { onSelect, selected }) {
    Object.assign(this, { host, selected, element: null, traceId: null });
    addEventListener("message", (event) => {
      if (!this.element || event.source !== this.element.contentWindow) return;
      if (event.data?.type === "ready") this.tell(selected());
      if (event.data?.type === "select" && Number.isInteger(event.data.index) && event.data.index !== selected()) onSelect(event.data.index);
    });
  }

  draw(model) {
    if (model.state !== "done" || !model.traceId) {
      this.traceId = null;
      this.host.replaceChildren(h("p", { class: "muted pad" }, "The graph is drawn when the run has ended; the overview shows it while it grows."));
      return;
    }
    if (this.traceId === model.traceId) {
      this.tell(this.selected());
      return;
    }
    this.traceId = model.traceId;
    const theme = document.body.classList.contains("dark") ? "dark" : "light";
    this.element = h("iframe", { sandbox: "allow-scripts", title: "Graph of the trace", src: `/api/traces/${encodeURIComponent(model.traceId)}/graph?theme=${theme}` });
    this.host.replaceChildren(this.element);
  }

  tell(index) {
    if (this.element?.isConnected && index !== null) this.element.contentWindow?.postMessage({ type: "select", index }, "*");
  }
}
