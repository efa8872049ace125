/** The graph of a flow's document, read as far as it can be: a document with faults has a graph too. */
import type { Graph, GraphEdge, GraphNode, Role } from "./model";

/** A node of a document's graph with its place in the document. */
export interface DocumentNode extends GraphNode {
  /** The keys that lead to it, such as `["nodes", "each", "nodes", "push"]`. */
  readonly keys: readonly (string | number)[];
  readonly role: Role | null;
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

/** Return the name of the node that an approval notifies by. */
export function noticeOf(node: unknown): unknown {
  return valueIn(node, ["type"]) === "approval" ? valueIn(node, ["params", "notify"]) : undefined;
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
  const roles = new Map<unknown, Role>();
  for (const node of Object.values(written)) roles.set(noticeOf(node), "notice");
  if (parent === null) {
    const { on_failure: failure, on_finish: finish } = holder;
    roles.set(finish, "finish").set(failure, failure === finish ? "both" : "failure");
  }
  const start = startOf(holder, written, roles);
  for (const [name, node] of Object.entries(written)) {
    const id = prefix + name;
    const at = [...keys, name];
    const type = isMap(node) && typeof node.type === "string" ? node.type : "";
    nodes.push({ id, label: name, type, parent, branch, isStart: name === start, keys: at, role: roles.get(name) ?? null });
    if (!isMap(node)) continue;
    for (const [action, target] of edgesOf(node)) edges.push({ source: id, target: prefix + target, action });
    if (isMap(node.nodes)) readScope(node, [...at, "nodes"], `${id}/`, id, null, nodes, edges);
    if (!isMap(node.branches)) continue;
    for (const [key, inner] of Object.entries(node.branches)) {
      if (isMap(inner)) readScope(inner, [...at, "branches", key, "nodes"], `${id}[${key}]/`, id, key, nodes, edges);
    }
  }
}

/** Numbers of tools and characters that the language allows. */
const MOST_TOOLS = 32;
const MOST_NAME = 64;
const MOST_MCP_NAME = 128;

/** Return what the language makes of an agent: the same nodes with the same names, without the one that answers calls that cannot be made. */
function partsOf({ id: parent, keys }: DocumentNode, agent: unknown): { parts: DocumentNode[]; edges: GraphEdge[] } {
  const parts = new Map<string, DocumentNode>();
  const edges: GraphEdge[] = [];
  const idOf = (label: string) => `${parent}/${label}`;
  const add = (label: string, type: string, at: DocumentNode["keys"]) => {
    parts.set(label, { id: idOf(label), label, type, parent, branch: null, isStart: type === "llm", keys: at, role: null, isPart: true });
  };
  const connect = (from: string, to: string) => edges.push({ source: idOf(from), target: idOf(to), action: "default" });
  add("ask", "llm", keys);
  const params = valueIn(agent, ["params"]);
  const { tools, response_schema: form = null } = isMap(params) ? params : {};
  const first: unknown[] = Array.isArray(tools) ? tools.slice(0, MOST_TOOLS) : [];
  const named = first.map((tool) => (isMap(tool) && !("mcp" in tool) ? nameOfTool(tool) : undefined));
  const taken = new Set(["ask", "rejected", ...named, ...(form === null ? [] : ["answer"])]);
  for (const [i, tool] of first.entries()) {
    const at = [...keys, "params", "tools", i];
    if (!isMap(tool)) continue;
    if ("mcp" in tool) {
      const list = `list ${i}`;
      add(list, "mcp", at);
      connect(list, "ask");
      const given = valueIn(tool, ["mcp", "tools"]);
      const all: unknown[] = Array.isArray(given) ? given : [];
      const own = [...new Set(all.slice(0, MOST_TOOLS))].filter((each): each is string => typeof each === "string" && each !== "" && [...each].length <= MOST_MCP_NAME);
      for (const each of own.slice(0, Math.max(0, 2 * MOST_TOOLS + 1 - parts.size))) {
        const shown = shownName(each, taken);
        taken.add(shown);
        add(shown, "mcp", [...at, "mcp", "tools", all.indexOf(each)]);
        connect("ask", shown);
      }
      continue;
    }
    const [name, type] = [named[i], ["http.request", "flow"].find((kind) => kind in tool)];
    if (name === undefined || type === undefined || name === "rejected" || parts.has(name)) continue;
    add(name, type, at);
    connect("ask", name);
  }
  return { parts: [...parts.values()], edges };
}

/** Return the name of a tool, by default that of its flow; undefined if it has none. */
export function nameOfTool({ name, flow }: Values): string | undefined {
  const found = name ?? (typeof flow === "string" && !flow.includes("${") ? flow.replace(/[^\w-]+/g, "_").replace(/^_+|_+$/g, "").slice(0, MOST_NAME) : undefined);
  return typeof found === "string" && /^[\w-]{1,64}$/.test(found) ? found : undefined;
}

/** Return the name by which models know a tool of an MCP server: its own, if they can and no other tool has it. */
function shownName(name: string, taken: ReadonlySet<unknown>): string {
  const own = name.replace(/[^\w-]+/g, "_").slice(0, MOST_NAME);
  let shown = own;
  for (let number = 2; taken.has(shown); number++) shown = `${own.slice(0, MOST_NAME - `_${number}`.length)}_${number}`;
  return shown;
}

/** Return the edges of a node as written: `next: x` is the action `default`. */
export function edgesOf(node: Values): [action: string, target: string][] {
  if (typeof node.next === "string") return [["default", node.next]];
  if (!isMap(node.next)) return [];
  return Object.entries(node.next).filter((entry): entry is [string, string] => typeof entry[1] === "string");
}

/** Return the first node: `start`, or the first that nothing leads to, or the first. */
function startOf(holder: Values, nodes: Values, aside: ReadonlyMap<unknown, unknown>): string | undefined {
  if (typeof holder.start === "string" && Object.hasOwn(nodes, holder.start)) return holder.start;
  const reached = new Set<string>();
  for (const [name, node] of Object.entries(nodes)) {
    if (!isMap(node)) continue;
    for (const [, target] of edgesOf(node)) if (target !== name) reached.add(target);
  }
  const candidates = Object.keys(nodes).filter((name) => !aside.has(name));
  return candidates.find((name) => !reached.has(name)) ?? candidates[0];
}

export function isMap(value: unknown): value is Values {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
