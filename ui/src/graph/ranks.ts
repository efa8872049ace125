/** Ranks: the row of each node of a scope, so that every edge but those that close a loop leads down. */

/** A directed graph over the numbers from 0, as adjacency lists. */
export type Successors = readonly (readonly number[])[];

/**
 * Return which edges close a loop, as `isBack[source][k]` for the k-th successor.
 *
 * The search begins at `roots`, then at what they do not reach, and keeps its stack in a list: a flow may be a chain of
 * thousands of nodes.
 */
export function backEdges(successors: Successors, roots: readonly number[]): boolean[][] {
  const isBack = successors.map((next) => next.map(() => false));
  const state = new Uint8Array(successors.length); // 0 unseen, 1 on the stack, 2 finished
  const nextChild = new Uint32Array(successors.length);
  const all = [...roots, ...successors.keys()];
  for (const root of all) {
    if (state[root] !== 0) continue;
    const stack = [root];
    state[root] = 1;
    while (stack.length > 0) {
      const at = stack[stack.length - 1]!;
      const child = nextChild[at]!;
      const next = successors[at]!;
      if (child === next.length) {
        state[at] = 2;
        stack.pop();
        continue;
      }
      nextChild[at] = child + 1;
      const target = next[child]!;
      if (state[target] === 1) isBack[at]![child] = true;
      else if (state[target] === 0) {
        state[target] = 1;
        stack.push(target);
      }
    }
  }
  return isBack;
}

/** Return the length of the longest path to each node of an acyclic graph. */
export function longestPathRanks(successors: Successors): number[] {
  const ranks = new Array<number>(successors.length).fill(0);
  const waiting = new Uint32Array(successors.length);
  for (const next of successors) for (const target of next) waiting[target] = waiting[target]! + 1;
  const ready: number[] = [];
  waiting.forEach((count, node) => {
    if (count === 0) ready.push(node);
  });
  for (let read = 0; read < ready.length; read++) {
    const at = ready[read]!;
    for (const target of successors[at]!) {
      ranks[target] = Math.max(ranks[target]!, ranks[at]! + 1);
      waiting[target] = waiting[target]! - 1;
      if (waiting[target] === 0) ready.push(target);
    }
  }
  return ranks;
}

/**
 * Move nodes that nothing leads to down to just above their first successor.
 *
 * Longest paths put a handler without edges into it at the top, far from the nodes that it leads to.
 */
export function lowerSources(ranks: number[], successors: Successors, keep: ReadonlySet<number>): void {
  const hasPredecessor = new Uint8Array(successors.length);
  for (const next of successors) for (const target of next) hasPredecessor[target] = 1;
  successors.forEach((next, node) => {
    if (hasPredecessor[node] || keep.has(node) || next.length === 0) return;
    ranks[node] = Math.max(ranks[node]!, Math.min(...next.map((target) => ranks[target]!)) - 1);
  });
}
