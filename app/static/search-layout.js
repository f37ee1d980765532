// Where the nodes of a search's tree stand: a layer a depth, children below their parents as near as there is room, no edge over
// another. Pure arithmetic: no DOM. Sizes in px at zoom 1.

export const NODE = { width: 32, height: 24, gapX: 8, gapY: 30, margin: 14 };
const PITCH = NODE.width + NODE.gapX;

/**
 * nodes: [{id, parent}] by id, parents before children. Returns {x, y: centres by id, layers: [[id]], place: index in its layer by
 * id, width, height}.
 */
export function layoutTree(nodes) {
  const children = nodes.map(() => []);
  for (const node of nodes) if (node.parent !== null) children[node.parent].push(node.id);
  const layers = [];
  const x = new Float64Array(nodes.length);
  const y = new Float64Array(nodes.length);
  const place = new Int32Array(nodes.length);
  let layer = nodes.filter((n) => n.parent === null).map((n) => n.id);
  let wanted = layer.map((_, i) => i * PITCH);
  while (layer.length) {
    const at = apart(wanted, PITCH);
    layer.forEach((id, i) => {
      x[id] = at[i];
      y[id] = NODE.margin + NODE.height / 2 + layers.length * (NODE.height + NODE.gapY);
      place[id] = i;
    });
    layers.push(layer);
    // Children in the order of their parents: their edges cannot cross.
    wanted = layer.flatMap((id) => children[id].map((_, i) => x[id] + (i - (children[id].length - 1) / 2) * PITCH));
    layer = layer.flatMap((id) => children[id]);
  }
  let [left, right] = [Infinity, -Infinity];
  for (const value of x) [left, right] = [Math.min(left, value), Math.max(right, value)];
  const shift = NODE.margin + NODE.width / 2 - (nodes.length ? left : 0);
  for (let i = 0; i < x.length; i += 1) x[i] += shift;
  return {
    x, y, layers, place, children,
    width: (nodes.length ? right - left : 0) + NODE.width + 2 * NODE.margin,
    height: layers.length * (NODE.height + NODE.gapY) - NODE.gapY + 2 * NODE.margin,
  };
}

/**
 * The places nearest to the wanted ones (least squares) that keep their order and are `pitch` apart: isotonic regression by pooling
 * neighbours that are in each other's way (Ayer et al. 1955).
 */
export function apart(wanted, pitch) {
  const pools = []; // [mean, how many]
  wanted.forEach((value, i) => {
    pools.push([value - i * pitch, 1]);
    while (pools.length > 1 && pools.at(-1)[0] < pools.at(-2)[0]) {
      const [mean, n] = pools.pop();
      const last = pools.at(-1);
      last[0] = (last[0] * last[1] + mean * n) / (last[1] + n);
      last[1] += n;
    }
  });
  return pools.flatMap(([mean, n]) => Array(n).fill(mean)).map((mean, i) => mean + i * pitch);
}
