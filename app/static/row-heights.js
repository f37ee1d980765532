// Where each row of a long list stands, before all of them have been drawn. Rows of one line are all alike; rows with all their
// text are guessed first and measured when they are drawn. Pure arithmetic: no DOM.

export class EqualHeights {
  constructor(px) {
    this.px = px;
  }

  top(place) {
    return place * this.px;
  }

  /** The row at a height. */
  at(y) {
    return Math.max(0, Math.floor(y / this.px));
  }
}

export class MeasuredHeights {
  /** guess(place) -> px, always the same for a row: what was not seen yet must not move about. */
  constructor(guess) {
    this.guess = guess;
    this.hidden = 0; // so many first rows take no room
    this.reset();
  }

  /** Forget what was measured: the text is laid out anew. */
  reset() {
    this.px = []; // by place: measured, or guessed once
    this.#move(0);
  }

  /** The first rows take no room. */
  hide(count) {
    this.hidden = count;
    this.#move(0);
  }

  /** What a row needs; false: that was known. */
  set(place, px) {
    if (px === 0 || this.px[place] === px) return false; // 0: the list itself is not shown
    this.px[place] = px;
    this.#move(place);
    return true;
  }

  /** Where a row begins; of the place after the last row: how high all are. */
  top(place) {
    while (this.tops.length <= place) {
      const at = this.tops.length - 1;
      this.tops.push(this.tops[at] + (at < this.hidden ? 0 : (this.px[at] ??= this.guess(at))));
    }
    return this.tops[place];
  }

  /** The row at a height, of `count`. */
  at(y, count) {
    let [low, high] = [0, count - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.top(middle) <= y) low = middle;
      else high = middle - 1;
    }
    return Math.max(0, low);
  }

  /** Rows after this one stand elsewhere now. */
  #move(place) {
    if (place === 0) this.tops = [0];
    else if (this.tops.length > place + 1) this.tops.length = place + 1;
  }
}
