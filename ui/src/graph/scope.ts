/** The layout of one scope: boxes in ranks, links through virtual nodes or in the gutters at its sides. */

import { reduceCrossings, type Layers } from "./order";
import { centres } from "./place";
import { backEdges, longestPathRanks, lowerSources } from "./ranks";
import { LABEL_HEIGHT, placeLabels } from "./labels";
import { gutterRoute, layeredRoute, type Box, type Hop, type LabelPlace, type Route, type Row } from "./routes";

export const COLUMN_GAP = 32;
export const RANK_GAP = 56;
const VIRTUAL_WIDTH = 12;
const LANE_GAP = 12;
const FIRST_LANE = 18;
/** Error edges into a node from so many others run together in the gutter at the right. */
const SHARED_HANDLER = 3;

export interface ScopeLink {
  readonly source: number;
  readonly target: number;
  readonly isError: boolean;
  /** The room that its label needs, 0 without one. */
  readonly labelWidth: number;
  /** Its label is left out where it runs together with others in the gutter. */
  readonly isPlainError: boolean;
}

export interface ScopeLayout {
  readonly width: number;
  readonly height: number;
  readonly boxes: Box[];
  readonly ranks: number[];
  readonly routes: Route[];
  /** The places of the labels; null for a link without one. */
  readonly labels: readonly (LabelPlace | null)[];
}

type Way = "layers" | "right" | "left";

/** Lay out a scope. Args: sizes: The boxes in the order of the document. start: The index of its first node. */
export function layoutScope(
  sizes: readonly { readonly width: number; readonly height: number }[],
  links: readonly ScopeLink[],
  start: number,
): ScopeLayout {
  const ways: Way[] = links.map(() => "layers");
  const ranks = rankNodes(sizes.length, links, start, ways);
  const handlers = handlersOf(sizes.length, links, ways, SHARED_HANDLER);
  links.forEach(({ target }, index) => {
    if (handlers.has(target) && ways[index] === "layers") ways[index] = "right";
  });
  useGutterBeyondBudget(links, ranks, ways, sizes.length);
  const { layers, chains, widths, gaps, weights } = layersOf(sizes, links, ranks, ways);
  // Lines of errors leave to the right of others: so do they begin, as far as nothing crosses by it.
  moveToTheRight(layers.rows, handlersOf(sizes.length, links, ways, 1));
  reduceCrossings(layers);
  moveToTheRight(layers.rows, handlers);
  const centre = centres(layers, { widths, gaps, weights });

  const lanes = { left: assignLanes(links, ranks, ways, "left"), right: assignLanes(links, ranks, ways, "right") };
  const shift = gutterWidth(lanes.left);
  const rows = rowsOf(layers.rows, sizes, gapsBelow(links, ranks, ways, layers.rows.length));
  const boxes = sizes.map((size, node) => ({
    x: shift + centre[node]! - size.width / 2,
    y: rows[ranks[node]!]!.top,
    ...size,
  }));
  let inner = 0;
  for (const box of boxes) inner = Math.max(inner, box.x + box.width);
  for (const chain of chains) for (const node of chain) inner = Math.max(inner, shift + centre[node]! + VIRTUAL_WIDTH / 2);
  const routes = links.map((link, index) => {
    const [source, target] = [boxes[link.source]!, boxes[link.target]!];
    const sourceRow = rows[ranks[link.source]!]!;
    const targetRow = rows[ranks[link.target]!]!;
    const way = ways[index]!;
    if (way === "layers") {
      const hops = chains[index]!.map((node, step): Hop => {
        const row = rows[ranks[link.source]! + 1 + step]!;
        return { x: shift + centre[node]!, top: row.top, bottom: row.bottom };
      });
      return layeredRoute(source, target, sourceRow, hops, link.isError);
    }
    const lane = lanes[way].get(link.target)!;
    const distance = FIRST_LANE + lane * LANE_GAP;
    const x = way === "left" ? shift - distance : inner + distance;
    return gutterRoute(source, target, sourceRow, targetRow, x, way);
  });
  const labelWidths = links.map((link) => (link.isPlainError && handlers.has(link.target) ? 0 : link.labelWidth));
  const places = placeLabels(routes.map(({ start: from }, index) => ({ start: from, width: labelWidths[index]! })), routes.flatMap(({ rest }) => rest));
  const labels = places.map((place, index) => (labelWidths[index]! > 0 ? place : null));
  let width = inner + gutterWidth(lanes.right);
  labels.forEach((label, index) => {
    if (label?.anchor === "start") width = Math.max(width, label.x + labelWidths[index]!);
  });
  return { width, height: rows[rows.length - 1]?.bottom ?? 0, boxes, ranks, routes, labels };
}

/** Return the rank of each node; mark the links that close a loop as `left`. */
function rankNodes(count: number, links: readonly ScopeLink[], start: number, ways: Way[]): number[] {
  const successors: number[][] = Array.from({ length: count }, () => []);
  const numbers: number[][] = Array.from({ length: count }, () => []);
  const byKind = [...links.keys()].sort((a, b) => Number(links[a]!.isError) - Number(links[b]!.isError));
  for (const index of byKind) {
    successors[links[index]!.source]!.push(links[index]!.target);
    numbers[links[index]!.source]!.push(index);
  }
  const isBack = backEdges(successors, count > 0 ? [start] : []);
  const forward = successors.map((next, node) =>
    next.filter((_, child) => {
      if (isBack[node]![child]) ways[numbers[node]![child]!] = "left";
      return !isBack[node]![child];
    }),
  );
  const ranks = longestPathRanks(forward);
  lowerSources(ranks, forward, new Set([start]));
  return ranks;
}

/** Find nodes that only errors lead to, of so many others. */
function handlersOf(count: number, links: readonly ScopeLink[], ways: readonly Way[], least: number): Set<number> {
  const errors = new Uint32Array(count);
  const others = new Uint32Array(count);
  links.forEach(({ target, isError }, index) => {
    if (ways[index] === "left") return;
    const counter = isError ? errors : others;
    counter[target] = counter[target]! + 1;
  });
  const handlers = new Set<number>();
  errors.forEach((number, node) => {
    if (number >= least && others[node] === 0) handlers.add(node);
  });
  return handlers;
}

/** Send the longest links to the gutter when their virtual nodes would outnumber the nodes. */
function useGutterBeyondBudget(links: readonly ScopeLink[], ranks: readonly number[], ways: Way[], count: number): void {
  let budget = 2 * count + 60;
  const layered = [...links.keys()].filter((index) => ways[index] === "layers");
  const span = (index: number) => ranks[links[index]!.target]! - ranks[links[index]!.source]!;
  layered.sort((a, b) => span(a) - span(b));
  for (const index of layered) {
    budget -= span(index) - 1;
    if (budget < 0 && span(index) > 2) ways[index] = "right";
  }
}

function layersOf(
  sizes: readonly { readonly width: number }[],
  links: readonly ScopeLink[],
  ranks: readonly number[],
  ways: readonly Way[],
) {
  const rows: number[][] = Array.from({ length: Math.max(0, ...ranks) + (sizes.length > 0 ? 1 : 0) }, () => []);
  const above: number[][] = sizes.map(() => []);
  const below: number[][] = sizes.map(() => []);
  const pulls: number[][] = sizes.map(() => []);
  const widths = sizes.map((size) => size.width);
  const gaps = sizes.map(() => COLUMN_GAP);
  const weights = sizes.map(() => 1);
  sizes.forEach((_, node) => rows[ranks[node]!]!.push(node));
  const chains = links.map((link, index) => {
    const chain: number[] = [];
    if (ways[index] !== "layers") return chain;
    let before = link.source;
    for (let rank = ranks[link.source]! + 1; rank < ranks[link.target]!; rank++) {
      const node = above.length;
      above.push([before]);
      below.push([]);
      pulls.push([]);
      widths.push(VIRTUAL_WIDTH);
      gaps.push(chain.length === 0 ? COLUMN_GAP + link.labelWidth : COLUMN_GAP);
      weights.push(link.isError ? 1 : 4);
      rows[rank]!.push(node);
      below[before]!.push(node);
      if (!link.isError || chain.length > 0) pulls[before]!.push(node);
      chain.push(node);
      before = node;
    }
    below[before]!.push(link.target);
    if (!link.isError || chain.length > 0) pulls[before]!.push(link.target);
    above[link.target]!.push(before);
    return chain;
  });
  const layers: Layers = { rows, above, below, pulls };
  return { layers, chains, widths, gaps, weights };
}

function moveToTheRight(rows: number[][], handlers: ReadonlySet<number>): void {
  if (handlers.size === 0) return;
  for (const row of rows) row.sort((a, b) => Number(handlers.has(a)) - Number(handlers.has(b)));
}

/** Give the links into one target one lane; lanes whose ranks do not meet share a place. */
function assignLanes(
  links: readonly ScopeLink[],
  ranks: readonly number[],
  ways: readonly Way[],
  way: Way,
): Map<number, number> {
  const spans = new Map<number, { from: number; to: number }>();
  links.forEach((link, index) => {
    if (ways[index] !== way) return;
    const [a, b] = [ranks[link.source]!, ranks[link.target]!];
    const span = spans.get(link.target) ?? { from: b, to: b };
    spans.set(link.target, { from: Math.min(span.from, a), to: Math.max(span.to, a) });
  });
  const lanes = new Map<number, number>();
  const taken: { from: number; to: number }[][] = [];
  const shortFirst = [...spans].sort(([, a], [, b]) => a.to - a.from - (b.to - b.from));
  for (const [target, span] of shortFirst) {
    let lane = 0;
    while (taken[lane]?.some((other) => other.from <= span.to && span.from <= other.to)) lane++;
    (taken[lane] ??= []).push(span);
    lanes.set(target, lane);
  }
  return lanes;
}

function gutterWidth(lanes: ReadonlyMap<number, number>): number {
  return lanes.size === 0 ? 0 : FIRST_LANE + Math.max(...lanes.values()) * LANE_GAP + 6;
}

/** Labels of one node that find a place in the usual gap; and those for which the gap is made larger. */
const LABELS_IN_GAP = 3;
const MOST_LABELS = 9;

/** Return the gap below each rank: larger below nodes with many labels. */
function gapsBelow(links: readonly ScopeLink[], ranks: readonly number[], ways: readonly Way[], count: number): number[] {
  const labels = new Map<number, number>();
  const most = new Array<number>(count).fill(0);
  links.forEach(({ source, labelWidth }, index) => {
    if (labelWidth === 0 || ways[index] === "right") return;
    const own = (labels.get(source) ?? 0) + 1;
    labels.set(source, own);
    most[ranks[source]!] = Math.max(most[ranks[source]!]!, own);
  });
  return most.map((number) => RANK_GAP + Math.max(0, Math.min(number, MOST_LABELS) - LABELS_IN_GAP) * LABEL_HEIGHT);
}

function rowsOf(rows: readonly number[][], sizes: readonly { readonly height: number }[], gaps: readonly number[]): Row[] {
  let top = 0;
  return rows.map((row, rank) => {
    const bottom = top + Math.max(0, ...row.map((node) => sizes[node]?.height ?? 0));
    const placed = { top, bottom, below: bottom + gaps[rank]! };
    top = placed.below;
    return placed;
  });
}
