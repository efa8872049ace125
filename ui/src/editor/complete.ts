/** Completion: what may be written at a place of a flow's document. A function of text, schema and names; no state. */
import { parseDocument } from "yaml";
import { isMap } from "../graph/document";
import { actionsOf, namesBelow, nodeAround, targets, type Known } from "./names";
import { placeAt, type Keys, type Place } from "./place";
import { choicesOf, propertiesOf, type FlowSchema } from "./schema";

export interface Item {
  readonly label: string;
  /** What is inserted; `label` if absent. `$0` is where the cursor stands after it. */
  readonly insert?: string;
  readonly kind: "key" | "value" | "node" | "name" | "error";
  readonly detail?: string;
  readonly info?: string;
  /** Higher ones come first. */
  readonly boost?: number;
  /** Completion goes on behind it, as after `nodes.`. */
  readonly goesOn?: boolean;
}

export interface Completions {
  readonly from: number;
  readonly to: number;
  readonly items: readonly Item[];
}

/** Keys whose values are expressions without braces. */
const CONDITIONS = new Set(["when", "condition", "if"]);
/** Keys that name a node of their scope. */
const NODE_NAMES = new Set(["start", "on_failure", "on_finish"]);

/** Return what may stand at an offset; null if there is nothing to offer. */
export function complete(text: string, offset: number, schema: FlowSchema, known: Known): Completions | null {
  const place = placeAt(text, offset);
  if (place === null) return null;
  const data = dataWithout(text, place, offset);
  const expression = expressionIn(place);
  if (expression !== null) return inExpression(expression, place, offset, data, known);
  const rest = /^[\w.-]*/.exec(text.slice(offset))![0];
  const to = offset + (place.isFlow || place.quote === "" ? rest.length : 0);
  const isBeforeColon = /^\s*:(\s|$)/.test(text.slice(to, to + 80));
  const items = place.kind === "key" ? keysAt(place, data, schema, known, isBeforeColon) : valuesAt(place, data, schema);
  return items.length === 0 ? null : { from: place.from, to, items };
}

/**
 * Read the document without the word at the cursor, with the brackets that it lacks, or without its line: the reading with
 * the fewest errors counts.
 */
function dataWithout(text: string, place: Place, offset: number): unknown {
  const rest = /^[\w.-]*/.exec(text.slice(offset))![0].length;
  const lineStart = text.lastIndexOf("\n", offset - 1) + 1;
  const lineEnd = (text.indexOf("\n", offset) + 1 || text.length + 1) - 1;
  const before = text.slice(0, place.from);
  const variants = [before + text.slice(offset + rest), before + place.quote + place.closing + text.slice(lineEnd), text.slice(0, lineStart) + text.slice(lineEnd), text];
  let best: { value: unknown; errors: number } | undefined;
  for (const variant of variants) {
    const found = readWithErrors(variant);
    if (found.errors === 0) return found.value;
    if (best === undefined || found.errors < best.errors) best = found;
  }
  return best?.value;
}

export function read(text: string): unknown {
  return readWithErrors(text).value;
}

function readWithErrors(text: string): { value: unknown; errors: number } {
  try {
    const document = parseDocument(text, { logLevel: "silent", uniqueKeys: false });
    return { value: document.toJS({ maxAliasCount: 100 }) as unknown, errors: document.errors.length };
  } catch {
    return { value: undefined, errors: Infinity };
  }
}

/** Return the part of an expression before the cursor; null outside of expressions. */
function expressionIn(place: Place): { text: string; isWhole: boolean } | null {
  if (place.kind !== "value") return null;
  const open = place.word.lastIndexOf("${");
  if (open >= 0 && !place.word.slice(open).includes("}") && place.word[open - 1] !== "$") return { text: place.word.slice(open + 2), isWhole: false };
  const key = place.path.at(-1);
  if (CONDITIONS.has(String(key)) && !place.word.includes("${")) return { text: place.word, isWhole: true };
  return key === "script" ? { text: place.word, isWhole: true } : null;
}

function inExpression(expression: { text: string; isWhole: boolean }, place: Place, offset: number, data: unknown, known: Known): Completions | null {
  const written = /[\w$]+(?:(?:\.|\?\.)[\w$]*)*$|(?<![\w$)\]]\s*)$/.exec(expression.text)?.[0];
  if (written === undefined) return null;
  const parts = written.split(/\??\./);
  const word = parts.pop()!;
  const items = namesBelow(parts, data, place.path, known).map(({ name, detail, isMap: goesOn }): Item => {
    const isPlain = /^[A-Za-z_$][\w$]*$/.test(name);
    return { label: name, kind: "name", detail, goesOn: goesOn === true, insert: isPlain || parts.length === 0 ? (goesOn ? `${name}.` : name) : undefined };
  });
  return items.length === 0 ? null : { from: offset - word.length, to: offset, items };
}

function keysAt(place: Place, data: unknown, schema: FlowSchema, known: Known, isBeforeColon: boolean): Item[] {
  const { path } = place;
  const written = valueAt(data, path);
  const taken = new Set(isMap(written) ? Object.keys(written) : []);
  const applied = schema.at(path, data);
  const items: Item[] = [];
  const node = path.at(-1) === "next" ? nodeAround(data, path)?.node : undefined;
  if (node !== undefined) {
    for (const { name, isError } of actionsOf(node, known)) {
      if (!taken.has(name)) items.push({ label: name, insert: keyText(name, "scalar", place, isBeforeColon), kind: isError ? "error" : "key", detail: isError ? "error" : "action", boost: isError ? -1 : 1, goesOn: true });
    }
  }
  for (const property of propertiesOf(schema, applied, path, data)) {
    const { name } = property;
    if (taken.has(name) || items.some(({ label }) => label === name)) continue;
    items.push({
      label: name,
      insert: keyText(name, property.shape, place, isBeforeColon),
      kind: "key",
      detail: property.isRequired ? "required" : property.type,
      info: property.description,
      boost: property.isRequired ? 2 : property.isDeprecated ? -2 : 0,
      goesOn: property.shape === "scalar",
    });
  }
  // Below `key:` a value may stand on a line of its own.
  if (!place.isFlow && taken.size === 0) items.push(...valuesAt(place, data, schema));
  return items;
}

function keyText(name: string, shape: "map" | "list" | "scalar", place: Place, isBeforeColon: boolean): string {
  const key = place.quote === "" && !/^[A-Za-z_][\w.-]*$/.test(name) ? JSON.stringify(name) : name;
  if (isBeforeColon || place.quote !== "") return key;
  if (place.isFlow) return `${key}: `;
  const below = "\n" + " ".repeat(place.indent + 2);
  if (shape === "map") return `${key}:${below}`;
  return shape === "list" ? `${key}:${below}- ` : `${key}: `;
}

function valuesAt(place: Place, data: unknown, schema: FlowSchema): Item[] {
  const { path } = place;
  const key = path.at(-1);
  const isTarget = path.at(-2) === "next" || key === "next";
  const at = isTarget || NODE_NAMES.has(String(key)) ? namesAt(data, path) : [];
  const node = isTarget ? nodeAround(data, path) : undefined;
  const own = node?.path.at(-1);
  const items: Item[] = at.map((name): Item => ({ label: name, kind: "node", detail: typeOf(data, path, name), boost: name === own ? -1 : 1, insert: quotedFor(name, place) }));
  for (const { value, description } of choicesOf(schema.at(path, data))) {
    items.push({ label: value, kind: "value", info: description, insert: quotedFor(value, place) });
  }
  return items;
}

function namesAt(data: unknown, path: Keys): string[] {
  if (path.length > 1) {
    const found = targets(data, path);
    if (found.length > 0) return found;
  }
  return isMap(data) && isMap(data.nodes) ? Object.keys(data.nodes) : [];
}

function typeOf(data: unknown, path: Keys, name: string): string | undefined {
  const last = path.lastIndexOf("nodes");
  const node = valueAt(data, [...path.slice(0, Math.max(0, last)), "nodes", name]);
  return isMap(node) && typeof node.type === "string" ? node.type : undefined;
}

/** Return a value as it has to be written: words that YAML reads as something else are quoted. */
function quotedFor(value: string, place: Place): string {
  if (place.quote !== "") return value;
  return read(value) === value || /^(true|false|-?\d+(\.\d+)?)$/.test(value) ? value : JSON.stringify(value);
}

function valueAt(data: unknown, path: Keys): unknown {
  let value = data;
  for (const key of path) value = isMap(value) ? value[String(key)] : Array.isArray(value) ? value[Number(key)] : undefined;
  return value;
}
