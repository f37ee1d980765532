// Of a long list only the rows in view are in the page, and a few around them. Each stands at its own height in an empty box
// as high as the whole list; what is read stays where it is when rows above it turn out higher than was guessed. Knows where
// rows stand (row-heights.js), not what is in them.

import { MeasuredHeights } from "./row-heights.js";

// A frame that draws rows may find them lower than guessed, so that the view is not full yet: then more of them, a few times.
const ROUNDS_MOST = 4;

export class RowWindow {
  /** over: rows kept on either side of the view; spare: how few may be left before more are drawn; moved(): rows need room. */
  constructor(host, inner, heights, { over, spare, moved }) {
    Object.assign(this, { host, inner, heights, over, spare });
    this.places = null; // [first, last) in the page
    this.shown = []; // [place, element] in order
    this.anchor = { place: 0, within: 0 }; // the row at the upper edge, and how far it has been scrolled
    this.stale = false; // heights were forgotten: the anchor says where the view was
    new ResizeObserver(() => this.places && moved()).observe(host); // a higher view has room for more rows
    if (!(heights instanceof MeasuredHeights)) return;
    let width = 0;
    this.watcher = new ResizeObserver((entries) => {
      for (const { target, borderBoxSize } of entries) {
        const at = this.shown.find(([, element]) => element === target);
        if (at && heights.set(at[0], borderBoxSize[0].blockSize)) this.late = true;
      }
      if (host.clientWidth !== width && this.places) {
        if (width) this.forget();
        width = host.clientWidth;
      }
      if (this.late || this.stale) moved();
    });
    this.watcher.observe(host);
  }

  /** The rows are laid out anew: what was measured does not hold. */
  forget() {
    this.heights.reset?.();
    this.places = null;
    this.stale = true;
  }

  /** Not a window any more, or another list. */
  close() {
    for (const [, element] of this.shown) this.watcher?.unobserve(element);
    this.shown = [];
    this.places = null;
    this.anchor = { place: 0, within: 0 };
    this.inner.classList.remove("windowed");
    this.inner.style.height = "";
  }

  has(place) {
    return this.places !== null && place >= this.places[0] && place < this.places[1];
  }

  /** Rows that were all in the page become a window: what they need is known. */
  open(elements) {
    if (this.inner.classList.contains("windowed")) return;
    if (this.watcher) elements.forEach(([place, element]) => this.heights.set(place, element.offsetHeight));
    this.inner.classList.add("windowed");
    this.inner.replaceChildren();
  }

  /**
   * Have in the page what is in view. count: rows of the list; pinned: a row that stays, wherever it is; force: some rows are
   * not as they were; draw(place) -> the element of a row, the same as before where it need not be drawn anew.
   */
  paint({ count, pinned, force, draw }) {
    const { host, heights } = this;
    const { scrollTop } = host;
    if (!this.stale) {
      const place = heights.at(scrollTop, count);
      this.anchor = { place, within: scrollTop - heights.top(place) };
    }
    let again = force || this.late || this.stale;
    this.stale = this.late = false;
    for (let round = 0; round < ROUNDS_MOST; round += 1) {
      const [top, bottom] = [heights.at(host.scrollTop, count), heights.at(host.scrollTop + host.clientHeight, count) + 1];
      const least = [Math.max(0, top - this.spare), Math.min(count, bottom + this.spare)];
      const known = this.places;
      if (!again && known && least[0] >= known[0] && least[1] <= known[1] && (pinned === null || this.shown.some(([place]) => place === pinned))) return;
      again = false;
      this.places = [Math.max(heights.hidden ?? 0, top - this.over), Math.min(count, bottom + this.over)];
      this.#fill(pinned, draw);
      this.#place(count);
    }
  }

  /** Rows that stay are left where they are: a scrolled frame costs the few rows that come into view. */
  #fill(pinned, draw) {
    const [first, last] = this.places;
    const wanted = Array.from({ length: Math.max(0, last - first) }, (_, i) => first + i);
    if (pinned !== null && pinned >= (this.heights.hidden ?? 0)) {
      if (pinned < first) wanted.unshift(pinned);
      else if (pinned >= last) wanted.push(pinned);
    }
    const focused = this.inner.contains(document.activeElement) ? document.activeElement : null;
    const before = new Set(this.shown.map(([, element]) => element));
    this.shown = wanted.map((place) => [place, draw(place)]);
    const stays = new Set(this.shown.map(([, element]) => element));
    for (const element of before) {
      if (stays.has(element)) continue;
      this.watcher?.unobserve(element);
      element.remove();
    }
    let next = this.inner.firstChild;
    for (const [, element] of this.shown) {
      if (element === next) next = next.nextSibling;
      else this.inner.insertBefore(element, next);
    }
    const fresh = this.watcher ? this.shown.filter(([, element]) => !before.has(element)) : [];
    for (const [place, element] of fresh) this.heights.set(place, element.getBoundingClientRect().height);
    for (const [, element] of fresh) this.watcher.observe(element);
    if (!focused || focused.isConnected) return;
    const key = focused.dataset.focusKey;
    (key ? this.inner.querySelector(`[data-focus-key="${key}"]`) : null)?.focus({ preventScroll: true });
    if (!this.inner.contains(document.activeElement)) this.host.focus({ preventScroll: true });
  }

  #place(count) {
    const { host, heights, anchor } = this;
    this.inner.style.height = `${heights.top(count)}px`;
    for (const [place, element] of this.shown) {
      const top = `${heights.top(place)}px`;
      if (element.style.top !== top) element.style.top = top;
    }
    if (!this.watcher) return;
    const top = heights.top(Math.min(anchor.place, count)) + anchor.within;
    if (Math.abs(top - host.scrollTop) >= 1) host.scrollTop = top;
  }
}
