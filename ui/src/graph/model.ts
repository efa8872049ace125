/** A flow as nodes and edges: what the layout, the view and the diff of graphs have in common. */

export type Role = "failure" | "finish" | "both" | "notice";

export interface GraphNode {
  /** The path: `push`, `each/push` in a loop, `both[left]/push` in a branch. */
  readonly id: string;
  readonly label: string;
  readonly type: string;
  /** The id of the node whose child scope holds it. */
  readonly parent: string | null;
  /** The branch of that node that it belongs to. */
  readonly branch: string | null;
  readonly isStart: boolean;
  /** What runs it other than an edge: an end of the flow that it handles, or an approval that notifies by it. */
  readonly role?: Role | null;
}

export interface GraphEdge {
  readonly source: string;
  readonly target: string;
  readonly action: string;
}

export interface Graph {
  readonly nodes: readonly GraphNode[];
  readonly edges: readonly GraphEdge[];
}

export const EMPTY: Graph = { nodes: [], edges: [] };

export function isErrorAction(action: string): boolean {
  return action === "error" || action.startsWith("error.");
}

/** All actions that lead from one node to another, as one line of the picture. */
export interface Link {
  readonly source: string;
  readonly target: string;
  readonly actions: string[];
  isError: boolean;
}

export function linkKey(source: string, target: string): string {
  return `${source}\n${target}`;
}

/** Merge the edges between the same two nodes; edges to nodes that do not exist are left out. */
export function linksOf(graph: Graph): Link[] {
  const known = new Set(graph.nodes.map((node) => node.id));
  const links = new Map<string, Link>();
  for (const { source, target, action } of graph.edges) {
    if (!known.has(source) || !known.has(target)) continue;
    const key = linkKey(source, target);
    const link = links.get(key);
    if (link === undefined) {
      links.set(key, { source, target, actions: [action], isError: isErrorAction(action) });
    } else if (!link.actions.includes(action)) {
      link.actions.push(action);
      link.isError &&= isErrorAction(action);
    }
  }
  return [...links.values()];
}
