/** Changes to a flow's text that are made on its graph or in a form. */
import { parse } from "yaml";
import { addNode, applyChange, connect, freeName, insertAfter, insertBefore, removeIn, removeNode, setIn, valueAt } from "../../editor/edits";
import { edgesOf, isMap, valueIn, type DocumentNode } from "../../graph/document";
import { isErrorAction } from "../../graph/model";
import type { Keys } from "../../editor/place";
import type { NodeType } from "./language";
import type { Reading } from "./places";

/** Return what a new node of a type begins with: the type's first example without its edges, or its required parameters. */
export function newNode(type: NodeType): Record<string, unknown> {
  const [example] = type.examples;
  if (example !== undefined) {
    try {
      const value = parse(example) as unknown;
      if (isMap(value)) {
        const { next: _, ...rest } = value;
        return { type: type.name, ...rest };
      }
    } catch {
      // A type of a package may have an example that is no YAML.
    }
  }
  const required = Array.isArray(type.params_schema.required) ? type.params_schema.required.map(String) : [];
  return required.length === 0 ? { type: type.name } : { type: type.name, params: Object.fromEntries(required.map((name) => [name, ""])) };
}

/** Return a name for a node of a type that no node of the document has. */
export function nameFor(type: NodeType, reading: Reading | undefined): string {
  const names = reading?.graph.nodes.map(({ label }) => label) ?? [];
  return freeName(type.name.split(".").at(-1) ?? type.name, names);
}

/** Return the action by which a node of a type usually goes on; empty if it never does. Args: type: Undefined if it is not known. */
function usualAction(type: NodeType | undefined): string {
  const actions = type?.actions ?? ["default"];
  return actions.includes("default") ? "default" : (actions[0] ?? "");
}

/** Args: before: The type of the node that it comes after. */
export function withNodeAfter(text: string, node: DocumentNode, name: string, type: NodeType, before?: NodeType): string | null {
  return insertAfter(text, node.keys, name, newNode(type), usualAction(before) || "default", usualAction(type));
}

export function withNodeBefore(text: string, node: DocumentNode, name: string, type: NodeType): string | null {
  return insertBefore(text, node.keys, name, newNode(type), usualAction(type) || "default");
}

export function withNode(text: string, name: string, type: NodeType): string | null {
  return addNode(text, name, newNode(type));
}

export function withoutNode(text: string, node: DocumentNode, type?: NodeType): string | null {
  return removeNode(text, node.keys, usualAction(type) || "default");
}

export function withEdge(text: string, node: DocumentNode, action: string, target: string): string | null {
  return connect(text, node.keys, action, target);
}

export function withoutEdge(text: string, node: DocumentNode, value: unknown, action: string): string | null {
  const isShort = isMap(value) && typeof value.next === "string" && action === "default";
  const change = removeIn(text, isShort ? [...node.keys, "next"] : [...node.keys, "next", action]);
  return change && applyChange(text, change);
}

export function withValue(text: string, keys: Keys, value: unknown): string | null {
  const change = value === undefined ? removeIn(text, keys) : setIn(text, keys, value);
  // What is not there need not be removed.
  if (change === null && value === undefined) return text;
  return change && applyChange(text, change);
}

/** Return the value of a node as it was read. */
export function nodeValue(reading: Reading, node: DocumentNode): Readonly<Record<string, unknown>> {
  const value = valueIn(reading.value, node.keys);
  return isMap(value) ? value : {};
}

export function edgesAt(reading: Reading, node: DocumentNode): [string, string][] {
  return edgesOf(nodeValue(reading, node));
}

/** Return the node at which the flow ends or goes on; undefined if there are several. Args: isEnd: Whether a node ends the flow. */
export function lastNode(reading: Reading, isEnd: (node: DocumentNode) => boolean): DocumentNode | undefined {
  const last = reading.graph.nodes.filter((node) => node.parent === null && node.role === null && edgesAt(reading, node).every(([action]) => isErrorAction(action)));
  const open = last.filter((node) => !isEnd(node));
  const found = open.length > 0 ? open : last;
  return found.length === 1 ? found[0] : undefined;
}

/** Return the nodes of the same scope: the only ones that an edge may lead to. */
export function siblings(reading: Reading, node: DocumentNode): DocumentNode[] {
  return reading.graph.nodes.filter((each) => each.parent === node.parent && each.branch === node.branch);
}

export const RHYTHMS = ["hour", "day", "workdays", "week", "month"] as const;
export type Rhythm = (typeof RHYTHMS)[number];

/** Return the cron expression of a rhythm: weekly on Monday, monthly on the first. Args: time: As `06:30`; of hours, the minute counts. */
export function cronOf(rhythm: Rhythm, time: string): string {
  const [hour, minute] = time.split(":").map(Number);
  return `${minute || 0} ${{ hour: "* * * *", day: `${hour || 0} * * *`, workdays: `${hour || 0} * * 1-5`, week: `${hour || 0} * * 1`, month: `${hour || 0} 1 * *` }[rhythm]}`;
}

/** The names of new triggers by their types, and what they begin with. */
const TRIGGERS = {
  schedule: ["scheduled", {}],
  webhook: ["received", { verify: { scheme: "standard", secret: "${secrets.WEBHOOK_SECRET}" } }],
} as const;

export type NewTrigger = keyof typeof TRIGGERS;

export function isNewTrigger(name: string | null): name is NewTrigger {
  return name !== null && Object.hasOwn(TRIGGERS, name);
}

/** Return the text with one more trigger, with what was chosen for it, and the place of that in it; null if the text cannot be changed. */
export function withTrigger(text: string, type: NewTrigger, chosen: object = {}): { text: string; at: number } | null {
  const [wanted, begin] = TRIGGERS[type];
  const present = valueAt(text, ["triggers"]);
  const name = freeName(wanted, isMap(present) ? Object.keys(present) : []);
  const changed = withValue(text, ["triggers", name], { type, ...begin, ...chosen });
  return changed === null ? null : { text: changed, at: changed.lastIndexOf(`${name}:`) };
}
