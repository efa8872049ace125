/** The difference of two flows as one graph, with what was added, removed and changed. */
import type { Graph, GraphNode } from "../graph/model";
import type { Mark } from "../graph/view";

export interface Version {
  readonly graph: Graph;
  /** What a node is made of; nodes with equal values have not changed. */
  valueOf(node: GraphNode): unknown;
}

export interface GraphDifference {
  readonly graph: Graph;
  readonly marks: ReadonlyMap<string, Mark>;
  readonly added: number;
  readonly removed: number;
  readonly changed: number;
}

export function diffGraphs(before: Version, after: Version): GraphDifference {
  const old = new Map(before.graph.nodes.map((node) => [node.id, node]));
  const now = new Map(after.graph.nodes.map((node) => [node.id, node]));
  const marks = new Map<string, Mark>();
  for (const node of after.graph.nodes) {
    const was = old.get(node.id);
    if (was === undefined) marks.set(node.id, "added");
    else if (JSON.stringify(before.valueOf(was)) !== JSON.stringify(after.valueOf(node))) marks.set(node.id, "changed");
  }
  const removed = before.graph.nodes.filter(({ id }) => !now.has(id));
  for (const { id } of removed) marks.set(id, "removed");
  const known = new Set(after.graph.edges.map(edgeKey));
  const edges = [...after.graph.edges, ...before.graph.edges.filter((edge) => !known.has(edgeKey(edge)) && (marks.get(edge.source) === "removed" || marks.get(edge.target) === "removed"))];
  const nodes = [...after.graph.nodes, ...removed.map((node) => ({ ...node, isStart: false }))];
  const count = (mark: Mark) => [...marks.values()].filter((each) => each === mark).length;
  return { graph: { nodes, edges }, marks, added: count("added"), removed: count("removed"), changed: count("changed") };
}

function edgeKey({ source, target, action }: { source: string; target: string; action: string }): string {
  return `${source}\n${target}\n${action}`;
}
