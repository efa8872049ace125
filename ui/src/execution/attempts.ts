/** Two attempts of a step next to each other. */
import type { Schemas } from "../api/client";
import type { LineChange } from "../diff/lines";

export type Attempt = Schemas["AttemptAnswer"];

/** Return the indexes of the last two attempts in a row that have ended in different ways; of the last two if all are alike. */
export function pairToCompare(attempts: readonly Attempt[]): [number, number] {
  // Headers of answers have the date.
  const ends = attempts.map(({ status, error }) => JSON.stringify([status, error], (name, value: unknown) => (name === "headers" ? undefined : value)));
  let last = ends.length - 1;
  while (last > 0 && ends[last] === ends[last - 1]) last--;
  return last > 0 ? [last - 1, last] : [Math.max(0, ends.length - 2), ends.length - 1];
}

/** A line of two texts next to each other; null where one of them has none. */
export interface LinePair {
  readonly left: string | null;
  readonly right: string | null;
}

/** Put what was removed and what was added in its place next to each other. A number is that of equal lines that are left out. */
export function linePairs(changes: readonly (LineChange | number)[]): (LinePair | number)[] {
  const pairs: (LinePair | number)[] = [];
  let [removed, added]: [string[], string[]] = [[], []];
  const flush = () => {
    for (let i = 0; i < Math.max(removed.length, added.length); i++) pairs.push({ left: removed[i] ?? null, right: added[i] ?? null });
    [removed, added] = [[], []];
  };
  for (const change of changes) {
    if (typeof change === "number" || change.kind === "same") {
      flush();
      pairs.push(typeof change === "number" ? change : { left: change.text, right: change.text });
    } else (change.kind === "removed" ? removed : added).push(change.text);
  }
  flush();
  return pairs;
}
