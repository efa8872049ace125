/** The graph of a flow's document, read as far as it can be: a document with faults has a graph too. */
import type { Graph, GraphEdge, GraphNode } from "./model";

/** A node of a document's graph with its place in the document. */
export interface DocumentNode extends GraphNode {
  /** The keys that lead to it, such as `["nodes", "each", "nodes", "push"]`. */
  readonly keys: readonly string[];
  /** `on_failure` or `on_finish` if the flow names it there. */
  readonly role: "on_failure" | "on_finish" | null;
}

export interface DocumentGraph extends Graph {
  readonly nodes: readonly DocumentNode[];
}

type Values = Readonly<Record<string, unknown>>;

/** Return the graph of a document that was read from YAML; null if there is no map of nodes in it. */
export function graphOf(document: unknown): DocumentGraph | null {
  if (!isMap(document) || !isMap(document.nodes)) return null;
  const nodes: DocumentNode[] = [];
  const edges: GraphEdge[] = [];
  readScope(document, ["nodes"], "", null, null, nodes, edges);
  return { nodes, edges };
}

function readScope(
  holder: Values,
  keys: readonly string[],
  prefix: string,
  parent: string | null,
  branch: string | null,
  nodes: DocumentNode[],
  edges: GraphEdge[],
): void {
  const written = holder.nodes;
  if (!isMap(written)) return;
  const handlers = new Map<unknown, "on_failure" | "on_finish">();
  if (parent === null) {
    for (const key of ["on_failure", "on_finish"] as const) if (typeof holder[key] === "string") handlers.set(holder[key], key);
  }
  const start = startOf(holder, written, handlers);
  for (const [name, node] of Object.entries(written)) {
    const id = prefix + name;
    const at = [...keys, name];
    const type = isMap(node) && typeof node.type === "string" ? node.type : "";
    nodes.push({ id, label: name, type, parent, branch, isStart: name === start, keys: at, role: handlers.get(name) ?? null });
    if (!isMap(node)) continue;
    for (const [action, target] of edgesOf(node)) edges.push({ source: id, target: prefix + target, action });
    if (isMap(node.nodes)) readScope(node, [...at, "nodes"], `${id}/`, id, null, nodes, edges);
    if (!isMap(node.branches)) continue;
    for (const [key, inner] of Object.entries(node.branches)) {
      if (isMap(inner)) readScope(inner, [...at, "branches", key, "nodes"], `${id}[${key}]/`, id, key, nodes, edges);
    }
  }
}

/** Return the edges of a node as written: `next: x` is the action `default`. */
export function edgesOf(node: Values): [action: string, target: string][] {
  if (typeof node.next === "string") return [["default", node.next]];
  if (!isMap(node.next)) return [];
  return Object.entries(node.next).filter((entry): entry is [string, string] => typeof entry[1] === "string");
}

/** Return the first node: `start`, or the first that nothing leads to, or the first. */
function startOf(holder: Values, nodes: Values, handlers: ReadonlyMap<unknown, unknown>): string | undefined {
  if (typeof holder.start === "string" && holder.start in nodes) return holder.start;
  const reached = new Set<string>();
  for (const [name, node] of Object.entries(nodes)) {
    if (!isMap(node)) continue;
    for (const [, target] of edgesOf(node)) if (target !== name) reached.add(target);
  }
  const candidates = Object.keys(nodes).filter((name) => !handlers.has(name));
  return candidates.find((name) => !reached.has(name)) ?? candidates[0];
}

export function isMap(value: unknown): value is Values {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
