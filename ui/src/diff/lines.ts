/** Differences between texts, line by line: of two, and of two changes to the same text. */

export interface LineChange {
  readonly kind: "same" | "added" | "removed";
  readonly text: string;
  /** The line's number in the old and the new text, from 1; null where it is not in it. */
  readonly before: number | null;
  readonly after: number | null;
}

/** Differences larger than this are shown as one replaced block: finding the least one takes quadratic time. */
const MOST_CHANGES = 3000;

export function linesOf(text: string): string[] {
  const lines = text.split(/\r?\n/);
  if (lines.at(-1) === "") lines.pop();
  return lines;
}

export function diffLines(before: readonly string[], after: readonly string[]): LineChange[] {
  const changes: LineChange[] = [];
  let [i, j] = [0, 0];
  for (const [from, to] of matches(before, after)) {
    while (i < from) changes.push({ kind: "removed", text: before[i++]!, before: i, after: null });
    while (j < to) changes.push({ kind: "added", text: after[j++]!, before: null, after: j });
    if (from < before.length) changes.push({ kind: "same", text: before[i]!, before: ++i, after: ++j });
  }
  return changes;
}

/** Return the lines in common as pairs of indexes, in order, with the lengths of both at the end. */
function matches(a: readonly string[], b: readonly string[]): [number, number][] {
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start++;
  let [endA, endB] = [a.length, b.length];
  while (endA > start && endB > start && a[endA - 1] === b[endB - 1]) {
    endA--;
    endB--;
  }
  const pairs: [number, number][] = [];
  for (let i = 0; i < start; i++) pairs.push([i, i]);
  for (const [x, y] of shortestPath(a.slice(start, endA), b.slice(start, endB))) pairs.push([x + start, y + start]);
  for (let i = 0; endA + i < a.length; i++) pairs.push([endA + i, endB + i]);
  pairs.push([a.length, b.length]);
  return pairs;
}

/** Myers' greedy algorithm, which keeps the furthest points of each round to walk back. */
function shortestPath(a: readonly string[], b: readonly string[]): [number, number][] {
  const most = Math.min(a.length + b.length, MOST_CHANGES);
  const furthest = new Int32Array(2 * most + 3);
  const rounds: Int32Array[] = [];
  const middle = most + 1;
  for (let round = 0; round <= most; round++) {
    rounds.push(furthest.slice(middle - round - 1, middle + round + 2));
    for (let diagonal = -round; diagonal <= round; diagonal += 2) {
      const isDown = diagonal === -round || (diagonal !== round && furthest[middle + diagonal - 1]! < furthest[middle + diagonal + 1]!);
      let x = isDown ? furthest[middle + diagonal + 1]! : furthest[middle + diagonal - 1]! + 1;
      while (x < a.length && x - diagonal < b.length && a[x] === b[x - diagonal]) x++;
      furthest[middle + diagonal] = x;
      if (x >= a.length && x - diagonal >= b.length) return walkBack(rounds, a.length, b.length);
    }
  }
  return [];
}

function walkBack(rounds: readonly Int32Array[], x: number, y: number): [number, number][] {
  const pairs: [number, number][] = [];
  for (let round = rounds.length - 1; round >= 0; round--) {
    // The window of a round begins at the diagonal -round - 1.
    const at = (diagonal: number) => rounds[round]![diagonal + round + 1]!;
    const diagonal = x - y;
    const isDown = diagonal === -round || (diagonal !== round && at(diagonal - 1) < at(diagonal + 1));
    const from = round === 0 ? 0 : isDown ? at(diagonal + 1) : at(diagonal - 1);
    const fromY = round === 0 ? 0 : from - (isDown ? diagonal + 1 : diagonal - 1);
    const startX = round === 0 ? 0 : isDown ? from : from + 1;
    while (x > startX && y > 0) pairs.push([--x, --y]);
    [x, y] = [from, fromY];
  }
  return pairs.reverse();
}

/** Equal lines that are shown around a change. */
const CONTEXT = 4;

/** Return the changes in groups: those worth showing, and the numbers of equal lines between them. */
export function folded(changes: readonly LineChange[], isFirst: boolean): (LineChange | number)[] {
  if (isFirst) return [...changes];
  const near = changes.map(() => false);
  changes.forEach((change, index) => {
    if (change.kind === "same") return;
    for (let i = Math.max(0, index - CONTEXT); i <= Math.min(changes.length - 1, index + CONTEXT); i++) near[i] = true;
  });
  const shown: (LineChange | number)[] = [];
  changes.forEach((change, index) => {
    const last = shown.at(-1);
    if (near[index]) shown.push(change);
    else if (typeof last === "number") shown[shown.length - 1] = last + 1;
    else shown.push(1);
  });
  return shown;
}

export type Chunk =
  | { readonly kind: "merged"; readonly lines: readonly string[] }
  | { readonly kind: "conflict"; readonly base: readonly string[]; readonly mine: readonly string[]; readonly theirs: readonly string[] };

/** Merge two changes to the same text; what both have changed in different ways is a conflict. */
export function merge(base: readonly string[], mine: readonly string[], theirs: readonly string[]): Chunk[] {
  const toMine = new Map(matches(base, mine));
  const toTheirs = new Map(matches(base, theirs));
  const chunks: Chunk[] = [];
  const keep = (lines: readonly string[]) => {
    const last = chunks.at(-1);
    if (lines.length === 0) return;
    if (last?.kind === "merged") chunks[chunks.length - 1] = { kind: "merged", lines: [...last.lines, ...lines] };
    else chunks.push({ kind: "merged", lines });
  };
  let [i, m, t] = [0, 0, 0];
  for (let at = 0; at <= base.length; at++) {
    const inMine = toMine.get(at);
    const inTheirs = toTheirs.get(at);
    if (inMine === undefined || inTheirs === undefined) continue;
    const [old, own, other] = [base.slice(i, at), mine.slice(m, inMine), theirs.slice(t, inTheirs)];
    if (isSame(own, old)) keep(other);
    else if (isSame(other, old) || isSame(own, other)) keep(own);
    else chunks.push({ kind: "conflict", base: old, mine: own, theirs: other });
    if (at < base.length) keep([base[at]!]);
    [i, m, t] = [at + 1, inMine + 1, inTheirs + 1];
  }
  return chunks;
}

function isSame(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((line, index) => line === b[index]);
}
