/** What a document and its workspace have names for: nodes, secrets, configuration values, inputs, variables, elements of loops. */
import { edgesOf, isMap } from "../graph/document";
import type { Keys } from "./place";

type Values = Readonly<Record<string, unknown>>;

export interface Known {
  /** Names of the secrets of the workspace. */
  readonly secrets: string[];
  /** Names of its configuration values. */
  readonly config: string[];
  /** Actions of node types, by type; null if the parameters decide. */
  readonly actions: ReadonlyMap<string, readonly string[] | null>;
  /** Errors of node types, by type, and those of every node under an empty name. */
  readonly errors: ReadonlyMap<string, readonly string[]>;
}

/** The scopes around a place, the innermost first: the holder of each map of nodes, with its path. */
export function scopesAround(data: unknown, path: Keys): { readonly nodes: Values; readonly path: Keys }[] {
  const found: { nodes: Values; path: Keys }[] = [];
  let value: unknown = data;
  for (let depth = 0; depth <= path.length; depth++) {
    const isNodes = depth === 1 ? path[0] === "nodes" : depth > 1 && path[depth - 1] === "nodes" && isScope(path, depth);
    if (isNodes && isMap(value)) found.unshift({ nodes: value, path: path.slice(0, depth) });
    value = isMap(value) ? value[String(path[depth])] : Array.isArray(value) ? value[Number(path[depth])] : undefined;
  }
  return found;
}

/** `nodes` of a loop stands after a node's name; `nodes` of a branch after the branch's. Params may have a key of that name. */
function isScope(path: Keys, depth: number): boolean {
  if (path.slice(0, depth).includes("params")) return false;
  return path[depth - 3] === "nodes" || path[depth - 3] === "branches";
}

/** Return the node that a place is in, innermost first, with the path of the node. */
export function nodeAround(data: unknown, path: Keys): { readonly node: Values; readonly path: Keys } | undefined {
  const [scope] = scopesAround(data, path);
  const name = scope && path[scope.path.length];
  if (scope === undefined || name === undefined) return undefined;
  const node = scope.nodes[String(name)];
  return isMap(node) ? { node, path: [...scope.path, name] } : undefined;
}

/** Return the names of the nodes that an edge at a place may lead to. */
export function targets(data: unknown, path: Keys): string[] {
  const [scope] = scopesAround(data, path);
  return scope === undefined ? [] : Object.keys(scope.nodes);
}

/** Return the actions and errors that a node may name in its `next`, with what they are. */
export function actionsOf(node: Values, known: Known): { name: string; isError: boolean }[] {
  const type = typeof node.type === "string" ? node.type : "";
  const fixed = known.actions.get(type);
  const params = isMap(node.params) ? node.params : {};
  const own = fixed ?? (Array.isArray(params.cases) ? params.cases.flatMap((each) => (isMap(each) && typeof each.action === "string" ? [each.action] : [])) : []);
  const names = new Set([...own, ...(fixed === null || fixed === undefined ? ["default"] : []), ...("if" in node ? ["skipped"] : [])]);
  const errors = ["error", ...[...(known.errors.get(type) ?? []), ...(known.errors.get("") ?? [])].filter((each) => each !== "*").map((each) => `error.${each}`)];
  return [...[...names].map((name) => ({ name, isError: false })), ...[...new Set(errors)].map((name) => ({ name, isError: true }))];
}

const NODE_FIELDS = ["result", "status", "action", "error", "attempts"];
const EXECUTION_FIELDS = ["id", "started_at", "status"];
const TRIGGER_FIELDS = ["type", "name", "at", "due_at", "due_local", "last", "body", "headers", "query", "execution"];
const LAST_FIELDS = ["id", "due_at", "started_at", "completed_at", "result"];
const ERROR_FIELDS = ["type", "message", "node", "data"];

/** Return what may follow a path in an expression: the names below `before`. */
export function namesBelow(before: readonly string[], data: unknown, path: Keys, known: Known): { name: string; detail?: string; isMap?: boolean }[] {
  const document: Values = isMap(data) ? data : {};
  const [first, second] = before;
  if (first === undefined) return roots(document, path);
  if (first === "secrets") return before.length === 1 ? known.secrets.map((name) => ({ name, detail: "secret" })) : [];
  if (first === "config") return before.length === 1 ? known.config.map((name) => ({ name, detail: "configuration value" })) : [];
  if (first === "flow") {
    if (second === "input") return before.length === 2 ? namesOf(document.inputs, "input") : [];
    return before.length === 1 ? [{ name: "input", isMap: true }, { name: "id" }, { name: "name" }, { name: "version" }] : [];
  }
  if (first === "vars") return namesOf(valueAt(document.vars, before.slice(1)), "variable");
  if (first === "nodes") {
    if (before.length === 1) {
      const own = String(nodeAround(data, path)?.path.at(-1) ?? "");
      const all = scopesAround(data, path).flatMap(({ nodes }) => Object.entries(nodes));
      const scopes = all.length > 0 ? all : Object.entries(isMap(document.nodes) ? document.nodes : {});
      return scopes.filter(([name]) => name !== own).map(([name, node]) => ({ name, detail: isMap(node) ? String(node.type ?? "") : "", isMap: true }));
    }
    return before.length === 2 ? NODE_FIELDS.map((name) => ({ name })) : [];
  }
  if (first === "call") {
    const tool = toolAround(data, path);
    if (tool === undefined) return [];
    if (before.length === 1) return [{ name: "arguments", isMap: true }, { name: "id" }, { name: "name" }];
    return second === "arguments" && before.length === 2 ? namesOf(valueAt(tool, ["parameters", "properties"]), "argument") : [];
  }
  if (first === "trigger" && second === "last" && before.length === 2) return LAST_FIELDS.map((name) => ({ name }));
  const fields = { execution: EXECUTION_FIELDS, trigger: TRIGGER_FIELDS, error: ERROR_FIELDS }[first];
  return before.length === 1 && fields !== undefined ? fields.map((name) => ({ name })) : [];
}

function roots(document: Values, path: Keys): { name: string; detail?: string; isMap?: boolean }[] {
  const names = [
    { name: "input", detail: "the result before this node" },
    { name: "nodes", detail: "results of nodes", isMap: true },
    { name: "flow", detail: "the flow and its input", isMap: true },
    { name: "vars", detail: "variables", isMap: true },
    { name: "config", detail: "configuration values of the workspace", isMap: true },
    { name: "secrets", detail: "secrets of the workspace", isMap: true },
    { name: "execution", detail: "this execution", isMap: true },
    { name: "trigger", detail: "what started it", isMap: true },
  ];
  if (toolAround(document, path) !== undefined) names.unshift({ name: "call", detail: "the call of the tool", isMap: true });
  const last = path.at(-1);
  if (last === "output" || last === "collect" || last === "post") names.unshift({ name: "result", detail: "the result of this node" });
  for (const { path: at } of scopesAround(document, path).slice(0, -1)) {
    const loop = nodeAround(document, at.slice(0, -1))?.node;
    if (loop === undefined || !("nodes" in loop)) continue;
    const as = isMap(loop.params) && typeof loop.params.as === "string" ? loop.params.as : "item";
    names.unshift({ name: as, detail: "the element of the loop" }, { name: "index", detail: "its number, from 0" });
  }
  if (isReachedByError(document, path)) names.unshift({ name: "error", detail: "what has failed", isMap: true });
  return names;
}

/** Return the tool of an agent that a place is in. */
function toolAround(data: unknown, path: Keys): Values | undefined {
  const around = nodeAround(data, path);
  const [params, tools, place] = path.slice(around?.path.length);
  const listed = around?.node.type === "agent" && params === "params" && tools === "tools" && isMap(around.node.params) ? around.node.params.tools : undefined;
  const tool: unknown = Array.isArray(listed) ? listed[Number(place)] : undefined;
  return isMap(tool) ? tool : undefined;
}

/** Return true if an error leads to the node, or it is the flow's handler. */
function isReachedByError(document: Values, path: Keys): boolean {
  const [scope] = scopesAround(document, path);
  const name = scope && path[scope.path.length];
  if (scope === undefined || name === undefined) return false;
  if (scope.path.length === 1 && document.on_failure === name) return true;
  return Object.values(scope.nodes).some((node) => isMap(node) && edgesOf(node).some(([action, target]) => target === name && action.startsWith("error")));
}

function namesOf(value: unknown, detail: string): { name: string; detail: string; isMap: boolean }[] {
  return isMap(value) ? Object.entries(value).map(([name, inner]) => ({ name, detail, isMap: detail === "variable" && isMap(inner) })) : [];
}

function valueAt(value: unknown, keys: readonly string[]): unknown {
  for (const key of keys) value = isMap(value) ? value[key] : undefined;
  return value;
}
