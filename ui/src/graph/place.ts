/** Horizontal positions: near the middle of the neighbours, in order, and never closer than the widths allow. */

import type { Layers } from "./order";

const PASSES = 14;

export interface Sizes {
  readonly widths: readonly number[];
  /** The space to the right of each node. */
  readonly gaps: readonly number[];
  /** How strongly a node holds its place; long edges hold on, so that they stay straight. */
  readonly weights: readonly number[];
}

/** Differences so small look like mistakes, so they are straightened out. */
const ALMOST = 28;

/** Return the centre of each node, from 0 for the leftmost edge of all. */
export function centres(layers: Layers, sizes: Sizes): Float64Array {
  const { rows, above } = layers;
  const below = layers.pulls;
  const centre = new Float64Array(above.length);
  for (const row of rows) spread(row, new Float64Array(row.length), sizes, centre);
  const wanted = new Float64Array(Math.max(0, ...rows.map((row) => row.length)));
  for (let pass = 0; pass < PASSES; pass++) {
    // The last two passes look both ways, so that a join and the branches before it end under each other.
    const isLast = pass >= PASSES - 2;
    const isDown = pass % 2 === 0;
    const last = rows.length - 1;
    for (let i = 0; i <= last; i++) {
      const row = rows[isDown ? i : last - i]!;
      row.forEach((node, index) => {
        const [up, down] = [above[node]!, below[node]!];
        const first = isDown ? up : down;
        const near = first.length > 0 ? first : isDown ? down : up;
        const all = isLast && up.length > 0 && down.length > 0 ? [...up, ...down] : near;
        wanted[index] = middleOf(all, sizes.weights, centre) ?? besideOf(row, index, sizes, centre);
      });
      spread(row, wanted, sizes, centre);
    }
  }
  straighten(layers, sizes, centre);
  let left = Infinity;
  for (const row of rows) {
    const node = row[0];
    if (node !== undefined) left = Math.min(left, centre[node]! - sizes.widths[node]! / 2);
  }
  for (const row of rows) for (const node of row) centre[node] = Math.round((centre[node]! - left) * 2) / 2;
  return centre;
}

/** Put nodes exactly under the one above them where they almost are, and there is room. */
function straighten({ rows, above }: Layers, sizes: Sizes, centre: Float64Array): void {
  for (const row of rows) {
    row.forEach((node, index) => {
      const [left, right] = [row[index - 1], row[index + 1]];
      const wanted = above[node]!.map((each) => centre[each]!).sort((a, b) => Math.abs(a - centre[node]!) - Math.abs(b - centre[node]!))[0];
      if (wanted === undefined || Math.abs(wanted - centre[node]!) > ALMOST) return;
      if (left !== undefined && wanted - centre[left]! < apart(left, node, sizes)) return;
      if (right !== undefined && centre[right]! - wanted < apart(node, right, sizes)) return;
      centre[node] = wanted;
    });
  }
}

/** A node that no line pulls stands close to the one beside it. */
function besideOf(row: readonly number[], index: number, sizes: Sizes, centre: Float64Array): number {
  const [left, right] = [row[index - 1], row[index + 1]];
  if (left !== undefined) return centre[left]! + apart(left, row[index]!, sizes);
  return right === undefined ? centre[row[index]!]! : centre[right]! - apart(row[index]!, right, sizes);
}

function apart(left: number, right: number, { widths, gaps }: Sizes): number {
  return (widths[left]! + widths[right]!) / 2 + gaps[left]!;
}

/**
 * Return the mean of the nodes' centres.
 *
 * It is weighted like `spread`: otherwise a ladder of short cuts moves a little to the side with every rank.
 */
function middleOf(nodes: readonly number[], weights: readonly number[], centre: Float64Array): number | null {
  if (nodes.length === 0) return null;
  let [sum, weight] = [0, 0];
  for (const node of nodes) {
    sum += weights[node]! * centre[node]!;
    weight += weights[node]!;
  }
  return sum / weight;
}

/**
 * Put a row as close to the wanted centres as the widths allow.
 *
 * Blocks of nodes that touch move together to the weighted mean of what their nodes want: the exact least-squares answer
 * ("pool adjacent violators").
 */
function spread(row: readonly number[], wanted: Float64Array, sizes: Sizes, centre: Float64Array): void {
  if (row.length === 1) {
    centre[row[0]!] = wanted[0]!;
    return;
  }
  const offsets = new Float64Array(row.length);
  const blocks: { start: number; weight: number; sum: number }[] = [];
  row.forEach((node, index) => {
    if (index > 0) {
      offsets[index] = offsets[index - 1]! + apart(row[index - 1]!, node, sizes);
    }
    const weight = sizes.weights[node]!;
    let block = { start: index, weight, sum: weight * (wanted[index]! - offsets[index]!) };
    for (;;) {
      const previous = blocks[blocks.length - 1];
      if (previous === undefined || previous.sum / previous.weight <= block.sum / block.weight) break;
      blocks.pop();
      block = { start: previous.start, weight: previous.weight + block.weight, sum: previous.sum + block.sum };
    }
    blocks.push(block);
  });
  blocks.forEach((block, number) => {
    const end = blocks[number + 1]?.start ?? row.length;
    for (let index = block.start; index < end; index++) {
      centre[row[index]!] = block.sum / block.weight + offsets[index]!;
    }
  });
}
