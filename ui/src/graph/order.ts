/** The order of the nodes within their ranks, with few crossings. */

/** Nodes by rank, and the edges between neighbouring ranks. */
export interface Layers {
  /** The nodes of each rank, from left to right. */
  readonly rows: number[][];
  readonly above: readonly (readonly number[])[];
  readonly below: readonly (readonly number[])[];
  /** Those below that a node stands over: errors lead to the side, and pull nothing. */
  readonly pulls: readonly (readonly number[])[];
}

const SWEEPS = 10;
/** Sweeps without fewer crossings after which to stop: a sweep down and one up. */
const PATIENCE = 3;

/** Reorder the rows; keep the order with the fewest crossings that was seen. */
export function reduceCrossings(layers: Layers): void {
  const place = new Float64Array(layers.above.length);
  const medians = new Float64Array(layers.above.length);
  for (const row of layers.rows) renumber(row, place);
  let best = layers.rows.map((row) => [...row]);
  let fewest = crossings(layers, place);
  let worse = 0;
  for (let sweep = 0; sweep < SWEEPS && fewest > 0 && worse < PATIENCE; sweep++) {
    const isDown = sweep % 2 === 0;
    const neighbours = isDown ? layers.above : layers.below;
    const last = layers.rows.length - 1;
    for (let i = 1; i <= last; i++) {
      sortByMedian(layers.rows[isDown ? i : last - i]!, neighbours, place, medians);
    }
    swapNeighbours(layers, place);
    const count = crossings(layers, place);
    worse = count < fewest ? 0 : worse + 1;
    if (count < fewest) {
      fewest = count;
      best = layers.rows.map((row) => [...row]);
    }
  }
  best.forEach((row, rank) => layers.rows[rank]!.splice(0, row.length, ...row));
}

function renumber(row: readonly number[], place: Float64Array): void {
  for (let index = 0; index < row.length; index++) place[row[index]!] = index;
}

/** Sort a row by the median place of each node's neighbours; a node without any keeps its place. */
function sortByMedian(
  row: number[],
  neighbours: readonly (readonly number[])[],
  place: Float64Array,
  medians: Float64Array,
): void {
  if (row.length < 2) return;
  const movable: number[] = [];
  for (const node of row) {
    const near = neighbours[node]!;
    if (near.length === 0) continue;
    medians[node] = median(near, place);
    movable.push(node);
  }
  // Equal medians keep the order of the document: `sort` is stable.
  movable.sort((a, b) => medians[a]! - medians[b]!);
  let next = 0;
  for (let index = 0; index < row.length; index++) {
    if (neighbours[row[index]!]!.length > 0) row[index] = movable[next++]!;
  }
  renumber(row, place);
}

function median(nodes: readonly number[], place: Float64Array): number {
  if (nodes.length === 1) return place[nodes[0]!]!;
  if (nodes.length === 2) return (place[nodes[0]!]! + place[nodes[1]!]!) / 2;
  const values = nodes.map((node) => place[node]!).sort((a, b) => a - b);
  const middle = values.length >> 1;
  return values.length % 2 === 1 ? values[middle]! : (values[middle - 1]! + values[middle]!) / 2;
}

/** Swap neighbours in a row while that removes crossings with both rows beside it. */
function swapNeighbours(layers: Layers, place: Float64Array): void {
  for (const row of layers.rows) {
    for (let index = 0; index + 1 < row.length; index++) {
      const left = row[index]!;
      const right = row[index + 1]!;
      const now = pairCrossings(left, right, layers, place);
      if (now === 0 || pairCrossings(right, left, layers, place) >= now) continue;
      row[index] = right;
      row[index + 1] = left;
      place[right] = index;
      place[left] = index + 1;
    }
  }
}

function pairCrossings(left: number, right: number, layers: Layers, place: Float64Array): number {
  let count = 0;
  for (const a of layers.above[left]!) for (const b of layers.above[right]!) if (place[a]! > place[b]!) count++;
  for (const a of layers.below[left]!) for (const b of layers.below[right]!) if (place[a]! > place[b]!) count++;
  return count;
}

/** Count the crossings of edges between all neighbouring rows, in O(E log V). */
export function crossings(layers: Layers, place: Float64Array): number {
  let total = 0;
  const tree = new Uint32Array(Math.max(0, ...layers.rows.map((row) => row.length)) + 1);
  for (let rank = 0; rank + 1 < layers.rows.length; rank++) {
    const width = layers.rows[rank + 1]!.length;
    if (width < 2 || layers.rows[rank]!.length < 2) continue;
    tree.fill(0, 0, width + 1);
    let inserted = 0;
    for (const node of layers.rows[rank]!) {
      const below = layers.below[node]!;
      for (const other of below) {
        let upTo = 0;
        for (let i = place[other]! + 1; i > 0; i -= i & -i) upTo += tree[i]!;
        total += inserted - upTo;
      }
      for (const other of below) {
        for (let i = place[other]! + 1; i <= width; i += i & -i) tree[i] = tree[i]! + 1;
      }
      inserted += below.length;
    }
  }
  return total;
}
