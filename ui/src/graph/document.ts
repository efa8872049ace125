/** The graph of a flow's document, read as far as it can be: a document with faults has a graph too. */
import type { Graph, GraphEdge, GraphNode } from "./model";

/** A node of a document's graph with its place in the document. */
export interface DocumentNode extends GraphNode {
  /** The keys that lead to it, such as `["nodes", "each", "nodes", "push"]`. */
  readonly keys: readonly (string | number)[];
  /** `on_failure` or `on_finish` if the flow names it there. */
  readonly role: "on_failure" | "on_finish" | null;
  /** The language makes it of a part of another node: nothing can be put behind it. */
  readonly isPart?: true;
}

export interface DocumentGraph extends Graph {
  readonly nodes: readonly DocumentNode[];
  /** The nodes inside agents: the question, and the tools that the model may call. */
  readonly parts: readonly DocumentNode[];
}

type Values = Readonly<Record<string, unknown>>;

/** Return the graph of a document that was read from YAML; null if there is no map of nodes in it. */
export function graphOf(document: unknown): DocumentGraph | null {
  if (!isMap(document) || !isMap(document.nodes)) return null;
  const nodes: DocumentNode[] = [];
  const edges: GraphEdge[] = [];
  readScope(document, ["nodes"], "", null, null, nodes, edges);
  const agents = nodes.filter(({ type }) => type === "agent").map((agent) => partsOf(agent, valueIn(document, agent.keys)));
  return { nodes, edges: [...edges, ...agents.flatMap((agent) => agent.edges)], parts: agents.flatMap(({ parts }) => parts) };
}

/** Return the graph with what is inside its agents, as that of an execution has it. */
export function wholeOf({ nodes, edges, parts }: DocumentGraph): Graph {
  return { nodes: [...nodes, ...parts], edges };
}

/** Return the value at a place of a document. */
export function valueIn(document: unknown, keys: readonly (string | number)[]): unknown {
  return keys.reduce<unknown>((value, key) => (isMap(value) || Array.isArray(value) ? (value as Values)[key] : undefined), document);
}

function readScope(
  holder: Values,
  keys: DocumentNode["keys"],
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

function partsOf({ id: parent, keys }: DocumentNode, agent: unknown): { parts: DocumentNode[]; edges: GraphEdge[] } {
  const parts = new Map<string, DocumentNode>();
  const edges: GraphEdge[] = [];
  const add = (label: string, type: string, at: DocumentNode["keys"]) => {
    const id = `${parent}/${label}`;
    if (!parts.has(id)) parts.set(id, { id, label, type, parent, branch: null, isStart: type === "llm", keys: at, role: null, isPart: true });
    return id;
  };
  const ask = add("ask", "llm", keys);
  const tools = valueIn(agent, ["params", "tools"]);
  for (const [i, tool] of (Array.isArray(tools) ? tools : []).entries()) {
    const at = [...keys, "params", "tools", i];
    if (!isMap(tool)) continue;
    const { mcp, name = tool.flow } = tool;
    if (isMap(mcp) && Array.isArray(mcp.tools)) {
      edges.push({ source: add(`list ${i}`, "mcp", at), target: ask, action: "default" });
      mcp.tools.forEach((each, j) => edges.push({ source: ask, target: add(String(each), "mcp", [...at, "mcp", "tools", j]), action: "default" }));
    } else if (typeof name === "string") edges.push({ source: ask, target: add(nameOfTool(name), "flow" in tool ? "flow" : "http.request", at), action: "default" });
  }
  return { parts: [...parts.values()], edges };
}

/** Return the name of a tool, which may be that of its flow, as the model reads it. */
function nameOfTool(name: string): string {
  return name.replace(/[^A-Za-z0-9_-]+/g, "_").replace(/^_+|_+$/g, "").slice(0, 64);
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
