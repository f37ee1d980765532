// Places steps in the gutter like a git graph: row = order of writing, lane = how many turns back lie on the way to the
// step. Adding a step never moves an older one. Pure arithmetic: no DOM.
//
// Row 0 is the question, row i + 1 is step i. A first child stays in its parent's lane. Every later child opens the lane to
// the right of its parent's; the jump to it runs down a rail between the two lanes, shared by all later children of
// that parent, so that no jump ever crosses a dot.

const RAIL_OFFSETS = [0.5, 0.32, 0.68, 0.22, 0.78]; // where between two lanes; more than five nested rails share the last

export class Lanes {
  constructor() {
    this.rows = [{ lane: 0, pieces: [] }];
    this.parents = [null];
    this.hasChild = [false];
    this.rails = new Map(); // parent row -> {lane, at, end, back}
    this.railsOf = new Map(); // lane -> [[parent row, rail]]: a new rail only meets those of its own lane
    this.width = 1; // lanes in use
  }

  /** Append the next row. `parentRow` 0 is the question. Returns the first row whose drawing changed. */
  push(parentRow, isBacktrack) {
    const row = this.rows.length;
    const first = !this.hasChild[parentRow];
    const parentLane = this.rows[parentRow].lane;
    this.hasChild[parentRow] = true;
    this.hasChild.push(false);
    this.parents.push(parentRow);
    if (first && parentRow === row - 1) {
      this.rows.push({ lane: parentLane, pieces: [{ kind: "in", back: isBacktrack, from: parentRow }] });
      this.rows[parentRow].pieces.push({ kind: "out", back: isBacktrack, from: parentRow });
      return parentRow;
    }
    const lane = parentLane + 1;
    this.rows.push({ lane, pieces: [] });
    this.width = Math.max(this.width, lane + 1);
    let rail = this.rails.get(parentRow);
    let dirty;
    if (!rail) {
      rail = { lane: parentLane, at: this.#freeRail(parentLane, parentRow, row), end: parentRow, back: isBacktrack };
      this.rails.set(parentRow, rail);
      if (!this.railsOf.has(parentLane)) this.railsOf.set(parentLane, []);
      this.railsOf.get(parentLane).push([parentRow, rail]);
      this.rows[parentRow].pieces.push({ kind: "rail-out", at: parentLane + rail.at, back: isBacktrack, from: parentRow });
      dirty = parentRow;
    } else {
      this.rows[rail.end].pieces.push({ kind: "pass", at: parentLane + rail.at, back: isBacktrack, from: parentRow });
      dirty = rail.end;
    }
    // One object for all rows: hundreds of rails over thousands of rows would be millions of them.
    const pass = { kind: "pass", at: parentLane + rail.at, back: isBacktrack, from: parentRow };
    for (let between = rail.end + 1; between < row; between += 1) this.rows[between].pieces.push(pass);
    rail.end = row;
    this.rows[row].pieces.push({ kind: "rail-in", at: parentLane + rail.at, back: isBacktrack, from: parentRow });
    return dirty;
  }

  /** The drawing of a straight run as one row: what comes into its first row, what leaves its last, what passes by. */
  span(first, last) {
    const comes = this.rows[first].pieces.filter((p) => p.kind !== "out" && p.kind !== "rail-out");
    const leaves = this.rows[last].pieces.filter((p) => p.kind === "out" || p.kind === "rail-out");
    return { lane: this.rows[first].lane, pieces: [...comes, ...leaves] };
  }

  #freeRail(lane, start, end) {
    const taken = new Set();
    for (const [from, rail] of this.railsOf.get(lane) ?? []) {
      if (from < end && rail.end > start) taken.add(rail.at);
    }
    return RAIL_OFFSETS.find((at) => !taken.has(at)) ?? RAIL_OFFSETS.at(-1);
  }

  static of(steps) {
    const lanes = new Lanes();
    for (const step of steps) lanes.push((step.parent ?? -1) + 1, step.is_backtrack);
    return lanes;
  }
}
