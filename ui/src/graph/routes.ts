/** The lines of the picture as SVG paths, with the places of their labels. */

export interface Box {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

export interface Row {
  readonly top: number;
  readonly bottom: number;
  /** The top of the row below. */
  readonly below: number;
}

/** A virtual node: the line passes its row straight down. */
export interface Hop extends Pick<Row, "top" | "bottom"> {
  readonly x: number;
}

type Segment =
  | readonly ["M" | "L", number, number]
  | readonly ["C", number, number, number, number, number, number]
  | readonly ["Q", number, number, number, number];

export interface LabelPlace {
  readonly x: number;
  readonly y: number;
  readonly anchor: "start" | "end";
}

/** The piece of a line in the gap below the row of its source, beside which its label stands. */
export interface Start {
  readonly x: number;
  readonly y: number;
  /** Where it reaches the row below. */
  readonly toX: number;
  readonly toY: number;
  /** The bottom of the row: lines with the same one are in one gap. */
  readonly gap: number;
  /** The side of its source at which it leads along the gap; undefined if it leads down. */
  readonly side?: "left" | "right";
}

export interface Route {
  readonly segments: readonly Segment[];
  readonly start: Start;
  /** Its pieces in the gaps further down. */
  readonly rest: readonly Start[];
  readonly isLoop: boolean;
}

const STUB = 10;
const CHANNEL = 9;
const RADIUS = 7;

/** Return a route through the rows: from the bottom of the source, or its right side for an error, to the target. */
export function layeredRoute(source: Box, target: Box, row: Row, hops: readonly Hop[], isError: boolean): Route {
  const end: Hop = { x: target.x + target.width / 2, top: target.y, bottom: target.y };
  const stops = [...hops, end];
  const first = stops[0]!;
  const right = source.x + source.width;
  const segments: Segment[] = [];
  let [x, y] = [source.x + source.width / 2, source.y + source.height];
  if (isError && first.x > right) {
    const side = source.y + Math.min(source.height, 52) / 2;
    segments.push(["M", right, side], ["Q", right + STUB, side, right + STUB, side + STUB]);
    [x, y] = [right + STUB, row.bottom];
    segments.push(["L", x, y]);
  } else {
    if (isError) x += Math.min(32, source.width / 4);
    segments.push(["M", x, y]);
    if (y < row.bottom) segments.push(["L", x, row.bottom]);
    y = row.bottom;
  }
  const pieces: Start[] = [];
  for (const stop of stops) {
    pieces.push({ x, y, toX: stop.x, toY: stop.top, gap: y });
    const middle = (y + stop.top) / 2;
    if (x === stop.x) segments.push(["L", stop.x, stop.top]);
    else segments.push(["C", x, middle, stop.x, middle, stop.x, stop.top]);
    if (stop.bottom > stop.top) segments.push(["L", stop.x, stop.bottom]);
    [x, y] = [stop.x, stop.bottom];
  }
  const [start, ...rest] = pieces;
  return { segments, start: start!, rest, isLoop: false };
}

/** Return a route around the nodes: out at a side, along the gap below, in the gutter, and into the target's top. */
export function gutterRoute(source: Box, target: Box, row: Row, targetRow: Row, lane: number, side: "left" | "right"): Route {
  const sign = side === "left" ? -1 : 1;
  const edge = side === "left" ? source.x : source.x + source.width;
  const out = edge + sign * STUB;
  const channel = row.bottom + CHANNEL;
  const entry = target.x + target.width / 2 + sign * Math.min(24, target.width / 4);
  const above = targetRow.top - CHANNEL;
  const side_y = source.y + Math.min(source.height, 52) / 2;
  const corners: [number, number][] = [
    [edge, side_y],
    [out, side_y],
    [out, channel],
    [lane, channel],
    [lane, above],
    [entry, above],
    [entry, target.y],
  ];
  const start: Start = { x: out, y: channel - 2, toX: out, toY: row.below, gap: row.bottom, side };
  return { segments: rounded(corners), start, rest: [], isLoop: side === "left" };
}

/** Return a line through the corners with rounded turns. */
function rounded(corners: readonly [number, number][]): Segment[] {
  const segments: Segment[] = [["M", ...corners[0]!]];
  for (let i = 1; i + 1 < corners.length; i++) {
    const [before, at, after] = [corners[i - 1]!, corners[i]!, corners[i + 1]!];
    const radius = Math.min(RADIUS, distance(before, at) / 2, distance(at, after) / 2);
    segments.push(["L", ...towards(at, before, radius)], ["Q", ...at, ...towards(at, after, radius)]);
  }
  segments.push(["L", ...corners[corners.length - 1]!]);
  return segments;
}

function distance(a: readonly [number, number], b: readonly [number, number]): number {
  return Math.abs(a[0] - b[0]) + Math.abs(a[1] - b[1]);
}

function towards(from: readonly [number, number], to: readonly [number, number], by: number): [number, number] {
  return [from[0] + Math.sign(to[0] - from[0]) * by, from[1] + Math.sign(to[1] - from[1]) * by];
}

/** Return the path moved by `dx`, `dy` in SVG's notation, with at most one decimal. */
export function pathOf(segments: readonly Segment[], dx: number, dy: number): string {
  let path = "";
  for (const segment of segments) {
    path += segment[0];
    for (let i = 1; i < segment.length; i++) {
      const moved = (segment[i] as number) + (i % 2 === 1 ? dx : dy);
      path += (i > 1 ? " " : "") + Math.round(moved * 10) / 10;
    }
  }
  return path;
}
