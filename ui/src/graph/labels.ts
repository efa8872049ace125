/** The labels of lines: beside each line where it leaves its source, in the gap below, clear of nodes and of other labels. */

import type { LabelPlace, Start } from "./routes";

export interface Labelled {
  readonly start: Start;
  /** 0 for a line without a label. */
  readonly width: number;
}

/** Pixels from one line of text to the next. In a picture that is shown smaller, the letters of labels are not, and need more room. */
export const LABEL_HEIGHT = 17;
const ROOM = 1.34;
/** The baseline of the highest labels, below their row; and what is left free above the row below. */
const FIRST = 15;
const LAST = 4;
/** Between a line and its label. */
const BESIDE = 7;
const NEAR = BESIDE + 6;
const ASCENT = 10;
const DESCENT = 3;
/** In a gap with more lines, labels stand at their first place: there is no room anyway. */
const MOST_LINES = 300;

interface Place extends LabelPlace {
  readonly left: number;
  readonly right: number;
}

/** Return a place for the label of each line; that of a line without one means nothing. Args: passing: Pieces of lines that come from further up. */
export function placeLabels(lines: readonly Labelled[], passing: readonly Start[]): LabelPlace[] {
  const places: LabelPlace[] = lines.map(({ start }) => ({ x: start.x, y: start.y, anchor: "start" }));
  const gaps = new Map<number, number[]>();
  lines.forEach(({ start }, index) => {
    const beside = gaps.get(start.gap);
    if (beside === undefined) gaps.set(start.gap, [index]);
    else beside.push(index);
  });
  const through = new Map<number, Start[]>();
  for (const piece of passing) {
    const beside = through.get(piece.gap);
    if (beside === undefined) through.set(piece.gap, [piece]);
    else beside.push(piece);
  }
  for (const [gap, indices] of gaps) placeInGap(lines, indices, through.get(gap) ?? [], places);
  return places;
}

function placeInGap(lines: readonly Labelled[], indices: readonly number[], passing: readonly Start[], places: LabelPlace[]): void {
  const reach = (index: number) => Math.abs(lines[index]!.start.toX - lines[index]!.start.x);
  // Lines that lead far to the side have left the others soon: their labels stand highest.
  const sorted = indices.filter((index) => lines[index]!.width > 0).sort((a, b) => reach(b) - reach(a) || a - b);
  const taken: Place[] = [];
  for (const index of sorted) {
    const { start, width } = lines[index]!;
    const others = [...indices.flatMap((other) => (other === index ? [] : [lines[other]!.start])), ...passing];
    let best: Place | undefined;
    let least = Infinity;
    for (const candidate of candidates(start, width)) {
      const cost = others.length > MOST_LINES ? 0 : candidate.cost + costOf(candidate.place, others, taken);
      if (cost >= least) continue;
      [best, least] = [candidate.place, cost];
      if (least === 0) break;
    }
    taken.push(best!);
    places[index] = { x: best!.x, y: best!.y, anchor: best!.anchor };
  }
}

/** Places at each height of the gap and at both sides of the line, the best first. */
function* candidates(start: Start, width: number): Generator<{ place: Place; cost: number }> {
  const usual = start.side === "left" || (start.side === undefined && start.toX < start.x - 4) ? "end" : "start";
  const sides: readonly LabelPlace["anchor"][] = usual === "end" ? ["end", "start"] : ["start", "end"];
  const levels = Math.max(1, 1 + Math.floor((start.toY - start.y - FIRST - LAST) / LABEL_HEIGHT));
  for (let level = 0; level < levels; level++) {
    const y = start.y + FIRST + level * LABEL_HEIGHT;
    const [above, below] = [crossing(start, y - ASCENT), crossing(start, y + DESCENT)];
    for (const anchor of sides) {
      const x = anchor === "start" ? Math.max(above, below) + BESIDE : Math.min(above, below) - BESIDE;
      const left = anchor === "start" ? x : x - width * ROOM;
      yield { place: { x, y, anchor, left, right: left + width * ROOM }, cost: level * 0.3 + (anchor === usual ? 0 : 0.5) + (left < 0 ? 50 : 0) };
    }
  }
}

function costOf(place: Place, others: readonly Start[], taken: readonly Place[]): number {
  let cost = 0;
  for (const other of taken) {
    if (place.left < other.right + 4 && other.left < place.right + 4 && Math.abs(place.y - other.y) < LABEL_HEIGHT) cost += 100;
  }
  for (const start of others) {
    if (liesOn(place, start)) cost += 10;
    if (Math.max(start.x, start.toX) < place.left - NEAR || Math.min(start.x, start.toX) > place.right + NEAR) continue;
    for (const y of [place.y - ASCENT, place.y - 3, place.y + DESCENT]) {
      const x = crossing(start, y);
      // Another line that is as near as its own leaves open whose label it is.
      const away = Math.max(place.left - x, x - place.right);
      if (away < NEAR) cost += away < 3 ? 2 : 0.8;
    }
  }
  return cost;
}

/** True if a line that leads along the gap passes through the place. */
function liesOn({ left, right, y }: Place, start: Start): boolean {
  if (start.side === undefined || start.y < y - ASCENT - 4 || start.y > y + DESCENT) return false;
  return start.side === "right" ? right > start.x : left < start.x;
}

/** Return where the line is at a height. */
function crossing({ x, y, toX, toY }: Start, height: number): number {
  return x === toX ? x : x + (toX - x) * across(Math.min(1, Math.max(0, (height - y) / (toY - y))));
}

/** How far to the side a line is, 0 to 1, when it is so far down. */
function across(down: number): number {
  let [low, high] = [0, 1];
  for (let i = 0; i < 12; i++) {
    const t = (low + high) / 2;
    if (1.5 * t * (1 - t) + t * t * t < down) low = t;
    else high = t;
  }
  return low * low * (3 - 2 * low);
}
