// The overview: straight runs of steps collapsed into one box each, laid out left to right. Pure arithmetic: no DOM.

export const BOX = { width: 124, height: 26, gapX: 28, gapY: 8 };

/**
 * Collapse: a step joins its parent's run when it is that parent's only child and not entered by a backtrack.
 * Returns {runs: [{id, steps, parent, x, y, back}], runOf: [run id per step], width, height}.
 */
export function layoutRuns(model) {
  const runs = [];
  const runOf = [];
  for (const step of model.steps) {
    const siblings = model.childrenOf(step.parent);
    const joins = step.parent !== null && step.parent !== undefined && siblings.length === 1 && !step.is_backtrack;
    if (joins) {
      const run = runs[runOf[step.parent]];
      run.steps.push(step.index);
      runOf[step.index] = run.id;
    } else {
      const parent = step.parent === null || step.parent === undefined ? null : runOf[step.parent];
      const run = { id: runs.length, steps: [step.index], parent, children: [], back: step.is_backtrack, x: 0, y: 0 };
      runs.push(run);
      if (parent !== null) runs[parent].children.push(run.id);
      runOf[step.index] = run.id;
    }
  }
  // Leaves take one slot each in order of writing, a parent sits at its first child's height: nothing overlaps, and
  // the drawing only grows downwards and to the right while steps arrive.
  let slot = 0;
  let deepest = 0;
  const place = (id, depth) => {
    // Iterative: a trace may be thousands of runs deep.
    const stack = [[id, depth, 0]];
    while (stack.length) {
      const top = stack.at(-1);
      const run = runs[top[0]];
      if (top[2] === 0) {
        run.x = top[1];
        run.y = slot;
        deepest = Math.max(deepest, top[1]);
        if (run.children.length === 0) slot += 1;
      }
      if (top[2] < run.children.length) {
        const child = run.children[top[2]];
        top[2] += 1;
        stack.push([child, top[1] + 1, 0]);
      } else stack.pop();
    }
  };
  for (const run of runs) if (run.parent === null) place(run.id, 0);
  return {
    runs,
    runOf,
    width: (deepest + 1) * (BOX.width + BOX.gapX) + BOX.gapX,
    height: Math.max(1, slot) * (BOX.height + BOX.gapY) + BOX.gapY,
  };
}
