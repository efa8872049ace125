/** The JSON Schema of the flow language at a place of a document. */
import { isMap } from "../graph/document";
import type { Keys } from "./place";

export type Schema = Readonly<Record<string, unknown>> | boolean;

/** What a place allows: every schema that applies there, references followed. */
export type Applied = readonly Readonly<Record<string, unknown>>[];

const DEEPEST = 40;

export class FlowSchema {
  constructor(private readonly root: Readonly<Record<string, unknown>>) {}

  /** Return the schemas of a place. Args: data: The whole document; it chooses between alternatives. */
  at(path: Keys, data: unknown): Applied {
    let applied = this.expand(this.root, data, 0);
    let value = data;
    for (const key of path) {
      value = isMap(value) ? value[String(key)] : Array.isArray(value) ? value[Number(key)] : undefined;
      applied = applied.flatMap((schema) => this.child(schema, key).flatMap((each) => this.expand(each, value, 0)));
    }
    return applied;
  }

  /** Return the schemas of a key whatever its value is. */
  below(path: Keys, key: string, data: unknown): Applied {
    return this.at(path, data).flatMap((schema) => this.child(schema, key).flatMap((each) => this.expand(each, undefined, 0)));
  }

  private child(schema: Readonly<Record<string, unknown>>, key: string | number): Schema[] {
    if (typeof key === "number") return Array.isArray(schema.items) ? [schema.items[key] as Schema] : present(schema.items);
    if (isMap(schema.properties) && Object.hasOwn(schema.properties, key)) return present(schema.properties[key]);
    return present(schema.additionalProperties);
  }

  /** Return a schema with those that it refers to or that the value chooses. */
  private expand(schema: Schema, value: unknown, depth: number): Readonly<Record<string, unknown>>[] {
    if (typeof schema === "boolean" || depth > DEEPEST) return [];
    const found = [schema];
    const add = (each: unknown) => {
      if (isMap(each)) found.push(...this.expand(each, value, depth + 1));
    };
    if (typeof schema.$ref === "string") add(this.resolve(schema.$ref));
    for (const key of ["allOf", "anyOf", "oneOf"]) {
      const each = schema[key];
      if (Array.isArray(each)) each.forEach(add);
    }
    if (isMap(schema.if)) add(fits(schema.if, value) ? schema.then : schema.else);
    return found;
  }

  private resolve(reference: string): unknown {
    let at: unknown = this.root;
    for (const part of reference.replace(/^#\//, "").split("/")) at = isMap(at) ? at[part] : undefined;
    return at;
  }
}

function present(schema: unknown): Schema[] {
  return isMap(schema) ? [schema] : [];
}

/** Return true if a value fits the condition of an `if`: it uses `type`, `const`, `enum`, `pattern` and `properties`. */
function fits(condition: Readonly<Record<string, unknown>>, value: unknown): boolean {
  if (condition.type !== undefined && !isOfType(value, condition.type)) return false;
  if ("const" in condition && condition.const !== value) return false;
  if (Array.isArray(condition.enum) && !condition.enum.includes(value)) return false;
  if (typeof condition.pattern === "string" && typeof value === "string" && !new RegExp(condition.pattern).test(value)) return false;
  if (Array.isArray(condition.required) && (!isMap(value) || condition.required.some((key) => !Object.hasOwn(value, String(key))))) return false;
  if (!isMap(condition.properties) || !isMap(value)) return true;
  return Object.entries(condition.properties).every(([key, inner]) => !Object.hasOwn(value, key) || !isMap(inner) || fits(inner, value[key]));
}

export function isOfType(value: unknown, type: unknown): boolean {
  if (Array.isArray(type)) return type.some((each) => isOfType(value, each));
  switch (type) {
    case "object": return isMap(value);
    case "array": return Array.isArray(value);
    case "null": return value === null;
    case "integer": return Number.isInteger(value);
    default: return typeof value === type;
  }
}

export interface Property {
  readonly name: string;
  readonly description: string | undefined;
  readonly isRequired: boolean;
  readonly isDeprecated: boolean;
  /** What a value looks like: `map`, `list`, or anything else. */
  readonly shape: "map" | "list" | "scalar";
  readonly type: string | undefined;
  readonly default: unknown;
}

/** Return the keys that a place allows, required ones first. */
export function propertiesOf(schema: FlowSchema, applied: Applied, path: Keys, data: unknown): Property[] {
  const found = new Map<string, Property>();
  const forbidden = new Set<string>();
  const required = new Set(applied.flatMap((each) => (Array.isArray(each.required) ? each.required.map(String) : [])));
  for (const each of applied) {
    if (!isMap(each.properties)) continue;
    for (const [name, inner] of Object.entries(each.properties)) {
      if (inner === false) forbidden.add(name);
      if (found.has(name) || inner === false) continue;
      const below = schema.at([...path, name], data);
      const types = below.flatMap(({ type }) => (Array.isArray(type) ? type : type === undefined ? [] : [type])).map(String);
      found.set(name, {
        name,
        description: describe(below),
        isRequired: required.has(name),
        isDeprecated: below.some((inner) => inner.deprecationMessage !== undefined),
        shape: types.includes("object") && !types.includes("string") ? "map" : types.includes("array") && !types.includes("string") ? "list" : "scalar",
        type: typesOf(below),
        default: below.find((inner) => inner.default !== undefined && inner.default !== null)?.default,
      });
    }
  }
  const allowed = [...found.values()].filter(({ name }) => !forbidden.has(name));
  return allowed.sort((a, b) => Number(b.isRequired) - Number(a.isRequired) || Number(a.isDeprecated) - Number(b.isDeprecated));
}

export interface Choice {
  readonly value: string;
  readonly description: string | undefined;
}

/** Return the values that a place names: constants, listed values, examples, true and false. */
export function choicesOf(applied: Applied): Choice[] {
  const found = new Map<string, Choice>();
  const add = (value: unknown, description?: unknown) => {
    const text = typeof value === "string" ? value : JSON.stringify(value);
    if (!found.has(text)) found.set(text, { value: text, description: typeof description === "string" ? description : undefined });
  };
  for (const each of applied) {
    const notes = Array.isArray(each.enumDescriptions) ? each.enumDescriptions : [];
    if (Array.isArray(each.enum)) each.enum.forEach((value, index) => add(value, notes[index]));
    if ("const" in each) add(each.const);
    if (Array.isArray(each.examples)) each.examples.forEach((value) => add(value));
    if (each.type === "boolean" || (Array.isArray(each.type) && each.type.includes("boolean"))) [true, false].forEach((value) => add(value));
  }
  return [...found.values()];
}

export function describe(applied: Applied): string | undefined {
  // The most specific description comes last: that of the node type's parameters after that of all nodes.
  const texts = applied.flatMap(({ description }) => (typeof description === "string" ? [description] : []));
  return texts.find((text) => text !== "Parameters of the node type.") ?? texts[0];
}

/** Return the types that a place allows, as words. */
export function typesOf(applied: Applied): string | undefined {
  const types = new Set<string>();
  for (const { type, enum: listed } of applied) {
    for (const each of Array.isArray(type) ? type : type === undefined ? [] : [type]) if (each !== "null") types.add(String(each));
    if (Array.isArray(listed) && type === undefined) types.add("string");
  }
  return types.size === 0 ? undefined : [...types].join(" or ");
}
