/** Walking a graph with the keyboard: up and down along the links, left and right within a row. */
import type { Layout, PlacedNode } from "./layout";

export type Step = "up" | "down" | "left" | "right" | "first" | "last";

export const STEPS: Readonly<Record<string, Step>> = {
  ArrowUp: "up",
  ArrowDown: "down",
  ArrowLeft: "left",
  ArrowRight: "right",
  Home: "first",
  End: "last",
};

/** Return the node to go to; the same one if there is nothing in that direction. */
export function walk(layout: Layout, from: string, step: Step): string {
  const nodes = new Map(layout.nodes.map((placed) => [placed.node.id, placed]));
  const at = nodes.get(from);
  if (at === undefined || step === "first") return firstOf(layout)?.node.id ?? from;
  if (step === "last") return lowest(layout.nodes)?.node.id ?? from;
  if (step === "left" || step === "right") return beside(layout, at, step)?.node.id ?? from;
  const found = step === "down" ? below(layout, nodes, at) : above(layout, nodes, at);
  return found?.node.id ?? from;
}

/** Return where the flow begins. */
export function firstOf(layout: Layout): PlacedNode | undefined {
  return layout.nodes.find(({ node }) => node.parent === null && node.isStart) ?? layout.nodes[0];
}

/** Into the node's child scope, or along a link, or out of the scope that ends here. */
function below(layout: Layout, nodes: ReadonlyMap<string, PlacedNode>, at: PlacedNode): PlacedNode | undefined {
  const inside = layout.nodes.filter(({ node }) => node.parent === at.node.id);
  const start = inside.find(({ node }) => node.isStart) ?? inside[0];
  return start ?? onward(layout, nodes, at);
}

function onward(layout: Layout, nodes: ReadonlyMap<string, PlacedNode>, at: PlacedNode): PlacedNode | undefined {
  const ends = layout.links.filter(({ link, isLoop }) => link.source === at.node.id && !isLoop);
  // The normal way on comes before errors.
  const usual = ends.filter(({ link }) => !link.isError);
  const targets = (usual.length > 0 ? usual : ends).flatMap(({ link }) => nodes.get(link.target) ?? []);
  if (targets.length > 0) return nearest(targets, at);
  const parent = at.node.parent === null ? undefined : nodes.get(at.node.parent);
  return parent && onward(layout, nodes, parent);
}

function above(layout: Layout, nodes: ReadonlyMap<string, PlacedNode>, at: PlacedNode): PlacedNode | undefined {
  const sources = layout.links
    .filter(({ link, isLoop }) => link.target === at.node.id && !isLoop)
    .flatMap(({ link }) => nodes.get(link.source) ?? []);
  if (sources.length > 0) return nearest(sources, at);
  return at.node.parent === null ? undefined : nodes.get(at.node.parent);
}

/** The next node of the row; rows of branches side by side are one. */
function beside(layout: Layout, at: PlacedNode, step: "left" | "right"): PlacedNode | undefined {
  const row = layout.nodes.filter(
    (placed) => placed.y < at.y + at.height && at.y < placed.y + placed.height && (step === "left" ? placed.x < at.x : placed.x > at.x),
  );
  return nearest(row, at);
}

function nearest(nodes: readonly PlacedNode[], at: PlacedNode): PlacedNode | undefined {
  let best: PlacedNode | undefined;
  for (const node of nodes) if (best === undefined || distance(node, at) < distance(best, at)) best = node;
  return best;
}

function distance(a: PlacedNode, b: PlacedNode): number {
  return Math.abs(a.x - b.x) + Math.abs(a.y - b.y) / 100;
}

function lowest(nodes: readonly PlacedNode[]): PlacedNode | undefined {
  let best: PlacedNode | undefined;
  for (const node of nodes) if (best === undefined || node.y > best.y) best = node;
  return best;
}
