/**
 * Changes to a YAML text at the places of its syntax tree.
 *
 * Only the characters of the changed value are replaced, so comments, quotes and layout of everything else stay as they
 * were written.
 */
import { isCollection, isMap as isYamlMap, isPair, isScalar, isSeq, parseDocument, stringify, visit, type CST, type Document, type Pair, type YAMLMap, type YAMLSeq } from "yaml";
import { isMap, noticeOf, valueIn } from "../graph/document";
import type { Keys } from "./place";

export interface TextChange {
  readonly from: number;
  readonly to: number;
  readonly insert: string;
}

export function applyChange(text: string, { from, to, insert }: TextChange): string {
  return text.slice(0, from) + insert + text.slice(to);
}

function parse(text: string): Document.Parsed {
  return parseDocument(text, { logLevel: "silent", uniqueKeys: false, keepSourceTokens: true });
}

/** Return the change that sets a value; null if the text cannot be changed there. */
export function setIn(text: string, keys: Keys, value: unknown): TextChange | null {
  const document = parse(text);
  if (document.errors.length > 0) return null;
  for (let depth = keys.length; depth > 0; depth--) {
    const holder = depth === 1 ? document.contents : document.getIn(keys.slice(0, depth - 1), true);
    const key = keys[depth - 1]!;
    // What is missing on the way is made around the value.
    const nested = keys.slice(depth).reduceRight<unknown>((inner, each) => ({ [each]: inner }), value);
    if (isYamlMap(holder)) return setInMap(text, holder, String(key), nested);
    if (isSeq(holder) && typeof key === "number" && holder.items[key] !== undefined) return replaceItem(text, holder.items[key], nested);
    if (isSeq(holder) && key === holder.items.length) return addItem(text, holder, nested);
    if (holder === null && depth === 1) return { from: 0, to: text.length, insert: text + written({ [key]: nested }, 0) };
  }
  return null;
}

function setInMap(text: string, map: YAMLMap, key: string, value: unknown): TextChange | null {
  const pair = pairOf(map, key);
  if (pair !== undefined) return replaceValue(text, map, pair, value);
  const range = map.range!;
  if (map.flow) return addWithin(map, flowPair(key, value));
  const indent = indentOf(text, map);
  const at = endOfLine(text, range[1]);
  const line = written({ [key]: value }, indent);
  const isAtStart = at === 0 || text[at - 1] === "\n";
  return { from: at, to: at, insert: isAtStart ? " ".repeat(indent) + line : `\n${" ".repeat(indent)}${line.replace(/\n$/, "")}` };
}

function replaceValue(text: string, map: YAMLMap, pair: Pair, value: unknown): TextChange | null {
  const keyEnd = (pair.key as { range?: [number, number, number] }).range?.[1];
  if (keyEnd === undefined) return null;
  const from = endOfColon(pair);
  if (from === undefined) return { from: keyEnd, to: keyEnd, insert: `: ${flow(value)}` };
  const old = pair.value as { range?: [number, number, number] } | null;
  const range = old?.range;
  let to = range === undefined ? from : Math.max(from, range[1]);
  if (map.flow) return { from, to, insert: ` ${flow(value)}` };
  const indent = indentOf(text, map);
  // A scalar stays on its line with the comment behind it.
  if (isInline(value)) {
    if (range !== undefined && range[0] === range[1]) to = from;
    const endsLine = to > from && text[to - 1] === "\n";
    const kept = isScalar(old) && typeof value === "string" ? inQuotesOf(text, range!, value) : undefined;
    return { from, to, insert: ` ${kept ?? inline(value)}${endsLine ? "\n" : ""}` };
  }
  if (isScalar(old) && isSmall(value)) return { from, to, insert: ` ${flow(value)}` };
  const isFlowCollection = range !== undefined && (text[range[0]] === "{" || text[range[0]] === "[");
  if (isFlowCollection && typeof value === "object") return { from, to, insert: ` ${flow(value)}` };
  const block = written({ x: value }, indent).replace(/^x:/, "");
  return { from, to: to === from ? endOfLine(text, to) : to, insert: text[to - 1] === "\n" && to > from ? block : block.replace(/\n$/, "") };
}

/** Keep the kind of quotes that the old value has. */
function inQuotesOf(text: string, range: readonly number[], value: string): string | undefined {
  const quote = text[range[0]!];
  if (quote === '"') return JSON.stringify(value);
  return quote === "'" && !value.includes("\n") ? `'${value.replaceAll("'", "''")}'` : undefined;
}

function replaceItem(text: string, item: unknown, value: unknown): TextChange | null {
  const range = (item as { range?: [number, number, number] }).range;
  if (range === undefined) return null;
  const [from, to] = range;
  return { from, to: text[to - 1] === "\n" ? to - 1 : to, insert: isInline(value) ? inline(value) : flow(value) };
}

/** Add to what stands within braces or brackets: directly behind the last one, before its comma and its comment. */
function addWithin(holder: YAMLMap | YAMLSeq, insert: string): TextChange {
  type Placed = { range?: [number, number, number] } | null;
  const last = holder.items.at(-1) as Placed | Pair<Placed, Placed> | undefined;
  const end = (isPair(last) ? (last.value ?? last.key) : last)?.range?.[1];
  const at = end ?? holder.range![0] + 1;
  return { from: at, to: at, insert: end === undefined ? insert : `, ${insert}` };
}

function addItem(text: string, list: YAMLSeq, value: unknown): TextChange | null {
  const [from, end] = list.range!;
  if (list.flow) return addWithin(list, flow(value));
  const indent = from - (text.lastIndexOf("\n", from - 1) + 1);
  const at = endOfLine(text, end);
  const item = `${" ".repeat(indent)}${stringify([value], { lineWidth: 0 }).replace(/\n$/, "").replace(/\n(?=.)/g, `\n${" ".repeat(indent)}`)}`;
  return { from: at, to: at, insert: at === 0 || text[at - 1] === "\n" ? `${item}\n` : `\n${item}` };
}

/** Return the change that removes an item of a list; the last one takes its key with it. */
function removeItem(text: string, keys: Keys, list: YAMLSeq): TextChange | null {
  const item = list.items[Number(keys.at(-1))] as { range?: [number, number, number] } | undefined;
  if (item?.range === undefined) return null;
  if (list.items.length === 1) return removeIn(text, keys.slice(0, -1));
  const [start, end] = item.range;
  if (list.flow) {
    const after = /^\s*,\s*/.exec(text.slice(end))?.[0].length ?? 0;
    const before = after > 0 ? 0 : (/,\s*$/.exec(text.slice(0, start))?.[0].length ?? 0);
    return { from: start - before, to: end + after, insert: "" };
  }
  const dash = dashOf(list, item);
  const from = text.lastIndexOf("\n", dash) + 1;
  // A list that begins behind the dash of another one leaves that dash to its next item.
  if (text.slice(from, dash).trim() !== "") return { from: dash, to: dashOf(list, list.items[1]), insert: "" };
  return { from, to: text[end - 1] === "\n" ? end : Math.min(text.length, endOfLine(text, end) + 1), insert: "" };
}

/** Return where the colon of a key ends; within braces, a key without a value may have none. */
function endOfColon(pair: Pair): number | undefined {
  const colon = pair.srcToken?.sep?.find(({ type }) => type === "map-value-ind");
  return colon && colon.offset + 1;
}

/** Return where the dash of an item is; a comment behind it may have others. */
function dashOf(list: YAMLSeq, item: unknown): number {
  const { items } = list.srcToken as CST.BlockSequence;
  return items[list.items.indexOf(item)]!.start.find(({ type }) => type === "seq-item-ind")!.offset;
}

/** Return the change that removes a key with its value, or an item of a list; null if it is not there. */
export function removeIn(text: string, keys: Keys): TextChange | null {
  const document = parse(text);
  const holder = keys.length === 1 ? document.contents : document.getIn(keys.slice(0, -1), true);
  if (document.errors.length === 0 && isSeq(holder)) return removeItem(text, keys, holder);
  if (document.errors.length > 0 || !isYamlMap(holder)) return null;
  const pair = pairOf(holder, String(keys.at(-1)));
  if (pair === undefined) return null;
  const [start, keyEnd] = (pair.key as { range: [number, number, number] }).range;
  const range = (pair.value as { range?: [number, number, number] } | null)?.range;
  let to = Math.max(keyEnd, range?.[1] ?? 0, endOfColon(pair) ?? 0);
  if (holder.flow) {
    const after = /^\s*,\s*/.exec(text.slice(to))?.[0].length ?? 0;
    const before = after > 0 ? 0 : (/,\s*$/.exec(text.slice(0, start))?.[0].length ?? 0);
    return { from: start - before, to: to + after, insert: "" };
  }
  // The last key of a map takes the map with it: a key without a value means null.
  if (holder.items.length === 1 && keys.length > 1) return removeIn(text, keys.slice(0, -1));
  const lineStart = text.lastIndexOf("\n", start - 1) + 1;
  if (text[to - 1] !== "\n") to = Math.min(text.length, endOfLine(text, to) + 1);
  const isAlone = text.slice(lineStart, start).trim() === "";
  return isAlone ? { from: lineStart, to, insert: "" } : { from: start, to: nextKeyOf(holder, pair) ?? to, insert: "" };
}

function nextKeyOf(map: YAMLMap, pair: Pair): number | undefined {
  const next = map.items[map.items.indexOf(pair as never) + 1];
  return (next?.key as { range?: [number, number, number] } | undefined)?.range?.[0];
}

/**
 * Add a node after another one: that one leads to it, and it leads where that one led.
 *
 * @param action The action by which that one leads to it.
 * @param onAction The action by which it leads on; empty if it ends its scope: then it leads nowhere.
 */
export function insertAfter(text: string, node: Keys, name: string, added: Readonly<Record<string, unknown>>, action = "default", onAction = "default"): string | null {
  const next = [...node, "next"];
  const isReplaced = typeof valueAt(text, next) === "string" && valueAt(text, [...node, "if"]) === undefined;
  const onward = onwardOf(text, node, action);
  const whole = onward !== undefined && onAction !== "" ? { ...added, next: edge(onAction, onward) } : added;
  // A node that its condition skips leads on by `default`, whatever its type.
  const linked = isReplaced ? changed(text, setIn(text, next, edge(action, name))) : connect(text, node, action, name);
  if (linked === null) return null;
  const document = parse(linked);
  const holder = document.getIn(node.slice(0, -1), true);
  if (document.errors.length > 0 || !isYamlMap(holder)) return null;
  const pair = pairOf(holder, String(node.at(-1)));
  if (pair === undefined || holder.flow || holder.items.at(-1) === pair) {
    const change = setInMap(linked, holder, name, whole);
    return change && applyChange(linked, change);
  }
  const indent = indentOf(linked, holder);
  const end = (pair.value as { range?: [number, number, number] } | null)?.range?.[1] ?? (pair.key as { range: [number, number, number] }).range[1];
  const at = endOfLine(linked, end);
  const line = written({ [name]: whole }, indent);
  const isAtStart = linked[at - 1] === "\n";
  return applyChange(linked, { from: at, to: at, insert: isAtStart ? " ".repeat(indent) + line : `\n${" ".repeat(indent)}${line.replace(/\n$/, "")}` });
}

function edge(action: string, target: string): unknown {
  return action === "default" ? target : { [action]: target };
}

/** Return where a node leads by an action, or by the only name that it has for all. */
function onwardOf(text: string, node: Keys, action: string): string | undefined {
  const next = valueAt(text, [...node, "next"]);
  const onward = isMap(next) && Object.hasOwn(next, action) ? next[action] : next;
  return typeof onward === "string" ? onward : undefined;
}

/** Keys of a scope that name a node of it. */
export const NAMING = ["start", "on_failure", "on_finish"];

/** Add a node before another one: what led to that one, or named it, leads to it or names it, and it leads to that one. */
export function insertBefore(text: string, node: Keys, name: string, added: Readonly<Record<string, unknown>>, onAction = "default"): string | null {
  const next = String(node.at(-1));
  const linked = redirect(text, node, () => name);
  return linked && changed(linked, setIn(linked, [...node.slice(0, -1), name], { ...added, next: edge(onAction, next) }));
}

/** Add a node that nothing leads to, at the end of the flow's nodes. */
export function addNode(text: string, name: string, added: Readonly<Record<string, unknown>>): string | null {
  return changed(text, setIn(text, ["nodes", name], added));
}

function changed(text: string, change: TextChange | null): string | null {
  return change && applyChange(text, change);
}

/** Let an action of a node lead to another one. */
export function connect(text: string, node: Keys, action: string, target: string): string | null {
  const next = valueAt(text, [...node, "next"]);
  let change: TextChange | null;
  if (isMap(next)) change = setIn(text, [...node, "next", action], target);
  else if (action === "default") change = setIn(text, [...node, "next"], target);
  else change = setIn(text, [...node, "next"], typeof next === "string" ? { default: next, [action]: target } : { [action]: target });
  return change && applyChange(text, change);
}

/**
 * Remove a node: what led to it, or named it, leads to or names what came after it, if there is something. An approval
 * that notified by it notifies no more.
 *
 * @param action The action by which it usually leads on.
 */
export function removeNode(text: string, node: Keys, action = "default"): string | null {
  const onward = onwardOf(text, node, action) ?? onwardOf(text, node, "default");
  const left = redirect(unnotified(text, node), node, (sibling) => (onward === node.at(-1) || onward === sibling ? undefined : onward));
  return left && changed(left, removeIn(left, node));
}

/** Remove the name of a node from the approvals that notify by it, with what only a notice can have. */
function unnotified(text: string, node: Keys): string {
  const holder = node.slice(0, -1);
  const siblings = valueAt(text, holder);
  const asking = Object.entries(isMap(siblings) ? siblings : {}).filter(([, value]) => noticeOf(value) === node.at(-1));
  const keys = asking.flatMap(([sibling]) => ["link", "remind", "notify"].map((key) => [...holder, sibling, "params", key]));
  return keys.reduce((left, each) => changed(left, removeIn(left, each)) ?? left, text);
}

/** Let what leads to a node, or names it, lead elsewhere. Args: target: The new target, by the sibling that leads there; undefined to remove what led to it. */
function redirect(text: string, node: Keys, target: (sibling?: string) => string | undefined): string | null {
  const name = String(node.at(-1));
  const whole = valueAt(text, []);
  const siblings = valueIn(whole, node.slice(0, -1));
  const edges: [keys: Keys, sibling?: string][] = NAMING.map((key) => [[...node.slice(0, -2), key]]);
  for (const [sibling, value] of Object.entries(isMap(siblings) ? siblings : {})) {
    if (sibling === name || !isMap(value)) continue;
    const at = [...node.slice(0, -1), sibling, "next"];
    edges.push(...(isMap(value.next) ? Object.keys(value.next).map((action): [Keys, string] => [[...at, action], sibling]) : [[at, sibling] as [Keys, string]]));
  }
  return edges.reduce<string | null>((result, [keys, sibling]) => {
    if (result === null || valueIn(whole, keys) !== name) return result;
    const onward = target(sibling);
    return changed(result, onward === undefined ? removeIn(result, keys) : setIn(result, keys, onward));
  }, text);
}

/** Return a name that is not taken: `log`, `log_2`. */
export function freeName(wanted: string, taken: Iterable<string>): string {
  const names = new Set(taken);
  const stem = wanted.replace(/[^A-Za-z0-9_]+/g, "_").replace(/^_+|_+$/g, "") || "node";
  let name = stem;
  for (let number = 2; names.has(name); number++) name = `${stem}_${number}`;
  return name;
}

/** Return the text in the usual layout, with its comments; null if it has errors. */
export function format(text: string): string | null {
  // Numbers of JavaScript would lose the last digits of large ones.
  const document = parseDocument(text, { logLevel: "silent", uniqueKeys: false, intAsBigInt: true });
  if (document.errors.length > 0) return null;
  // Inside braces, the server reads a colon before a comma or a brace as a part of the key: `{name:}`.
  visit(document, {
    Pair(_, { value }, path) {
      const isInline = path.some((around) => isCollection(around) && around.flow === true);
      if (isInline && isScalar(value) && value.value === null && value.source === "") delete value.source;
    },
  });
  try {
    return document.toString({ lineWidth: 120, flowCollectionPadding: false });
  } catch {
    // An alias that refers to nothing.
    return null;
  }
}

export function valueAt(text: string, keys: Keys): unknown {
  const document = parse(text);
  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: 100 });
  } catch {
    return undefined;
  }
  for (const key of keys) value = isMap(value) ? value[String(key)] : Array.isArray(value) ? value[Number(key)] : undefined;
  return value;
}

function pairOf(map: YAMLMap, key: string): Pair | undefined {
  return map.items.find((pair) => String(isScalar(pair.key) ? pair.key.value : pair.key) === key);
}

function indentOf(text: string, map: YAMLMap): number {
  const start = (map.items[0]?.key as { range?: [number, number, number] } | undefined)?.range?.[0] ?? map.range![0];
  return start - (text.lastIndexOf("\n", start - 1) + 1);
}

/** Return the end of the line at an offset; the offset itself if a line begins there. */
function endOfLine(text: string, offset: number): number {
  if (offset > 0 && text[offset - 1] === "\n") return offset;
  const end = text.indexOf("\n", offset);
  return end < 0 ? text.length : end;
}

function isInline(value: unknown): boolean {
  if (typeof value === "string") return !value.includes("\n");
  return typeof value !== "object" || value === null || Object.keys(value).length === 0;
}

/** A few scalars by name stand on one line, as people write edges. */
function isSmall(value: unknown): boolean {
  return isMap(value) && Object.values(value).every((inner) => typeof inner !== "object") && flow(value).length <= 80;
}

function inline(value: unknown): string {
  return stringify(value, { lineWidth: 0 }).replace(/\n$/, "");
}

/** Return a value as it stands within braces and brackets, on one line. */
function flow(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(flow).join(", ")}]`;
  if (isMap(value)) return `{${Object.entries(value).map(([key, inner]) => flowPair(key, inner)).join(", ")}}`;
  if (typeof value === "string" && /[\n\r]/.test(value)) return JSON.stringify(value);
  return stringify([value], { lineWidth: 0, collectionStyle: "flow", flowCollectionPadding: false }).replace(/\n$/, "").slice(1, -1);
}

function flowPair(key: string, value: unknown): string {
  return `${flow(key)}: ${flow(value)}`;
}

/** Return a map in block style; lines after the first have the indentation. */
function written(value: Readonly<Record<string, unknown>>, indent: number): string {
  return stringify(value, { lineWidth: 0 }).replace(/\n(?=.)/g, `\n${" ".repeat(indent)}`);
}
