// Offsets of one text in code points (as the server counts) and in UTF-16 units (as JavaScript does). They differ after
// every character beyond U+FFFF, such as an emoji.

export class CodePoints {
  constructor(text) {
    this.pairs = []; // where a character of two units begins, in units
    if (!/[\ud800-\udbff]/.test(text)) return;
    for (let i = 0; i < text.length; i += 1) {
      if (text.codePointAt(i) <= 0xffff) continue;
      this.pairs.push(i);
      i += 1;
    }
  }

  toUnits(point) {
    return point + this.#count((k) => this.pairs[k] - k < point);
  }

  toPoint(unit) {
    return unit - this.#count((k) => this.pairs[k] < unit);
  }

  /** How many of the pairs, from the first on, are `before`. */
  #count(before) {
    let [low, high] = [0, this.pairs.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (before(middle)) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
