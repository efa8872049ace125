/** Fields of a form, made from a JSON Schema, and what people type in them as values. */
import { parse, stringify } from "yaml";
import { isMap } from "../graph/document";
import { forms as texts } from "../texts/forms";
import { choicesOf, describe, type Applied } from "../editor/schema";

export type FieldKind = "text" | "lines" | "number" | "boolean" | "choice" | "date" | "structure";

export interface FormField {
  readonly name: string;
  readonly kind: FieldKind;
  readonly isRequired: boolean;
  readonly description: string | undefined;
  readonly choices: readonly string[];
  readonly default: unknown;
  readonly isInteger: boolean;
  readonly minimum: number | undefined;
  readonly maximum: number | undefined;
  /** An expression may stand for the value. */
  readonly takesExpression: boolean;
  readonly types: readonly string[];
}

/** Return the field for a value. Args: applied: The schemas that apply to it. */
export function fieldOf(name: string, applied: Applied, isRequired: boolean, takesExpression: boolean): FormField {
  const types = [...new Set(applied.flatMap(({ type }) => (Array.isArray(type) ? type : type === undefined ? [] : [type])).map(String))].filter((type) => type !== "null");
  const enumerated = applied.flatMap((each) => (Array.isArray(each.enum) ? each.enum.map(String) : []));
  const choices = enumerated.length > 0 ? enumerated : takesExpression ? choicesOf(applied).map(({ value }) => value) : [];
  const number = (key: string) => applied.map((each) => each[key]).find((value) => typeof value === "number");
  return {
    name,
    kind: kindOf(name, types, enumerated, applied),
    isRequired,
    description: describe(applied),
    choices,
    default: applied.find((each) => each.default !== undefined && each.default !== null)?.default,
    isInteger: types.includes("integer") && !types.includes("number"),
    minimum: number("minimum"),
    maximum: number("maximum"),
    takesExpression,
    types,
  };
}

function kindOf(name: string, types: readonly string[], choices: readonly string[], applied: Applied): FieldKind {
  if (choices.length > 0) return "choice";
  const plain = types.filter((type) => type !== "string");
  const isOnly = (type: string) => plain.length > 0 && plain.every((each) => each === type);
  if (plain.length > 0 && (plain.includes("object") || plain.includes("array"))) return "structure";
  if (isOnly("boolean")) return "boolean";
  if (isOnly("number") || isOnly("integer")) return "number";
  if (types.length === 0) return "structure";
  if (applied.some(({ format }) => format === "date")) return "date";
  return ["script", "body", "prompt", "template", "query"].includes(name) ? "lines" : "text";
}

/** Return the fields of a flow's `inputs`: a JSON Schema for each name, required unless it has a default. */
export function inputFields(inputs: unknown): FormField[] {
  if (!isMap(inputs)) return [];
  return Object.entries(inputs).map(([name, schema]) => {
    const own = isMap(schema) ? schema : {};
    const isRequired = own.required !== false && !("default" in own);
    return fieldOf(name, [own], isRequired, false);
  });
}

/** Return how a value is shown in its field. */
export function textOf(field: FormField, value: unknown): string {
  if (value === undefined) return "";
  if (typeof value === "string" && (field.kind !== "structure" || value.includes("${"))) return value;
  if (field.kind === "structure") return stringify(value, { lineWidth: 0 }).trimEnd();
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

export type Typed = { readonly value: unknown } | { readonly fault: string };

/** Return the value that was typed; undefined for an empty field. */
export function valueOf(field: FormField, text: string): Typed {
  if (text.trim() === "") return { value: field.kind === "text" && text !== "" ? text : undefined };
  if (field.takesExpression && text.includes("${")) return { value: text };
  switch (field.kind) {
    case "boolean":
      return { value: text === "true" };
    case "number": {
      const number = Number(text);
      if (!Number.isFinite(number)) return { fault: texts.notANumber };
      if (field.isInteger && !Number.isInteger(number)) return { fault: texts.notWhole };
      if (field.minimum !== undefined && number < field.minimum) return { fault: texts.atLeast(field.minimum) };
      if (field.maximum !== undefined && number > field.maximum) return { fault: texts.atMost(field.maximum) };
      return { value: number };
    }
    case "structure":
      return structure(field, text);
    case "choice":
      return { value: field.types.length > 0 && !field.types.includes("string") ? parse(text) : text };
    default:
      return { value: text };
  }
}

function structure(field: FormField, text: string): Typed {
  try {
    const value = parse(text) as unknown;
    if (field.types.length === 0 || field.types.includes("string")) return { value };
    if (field.types.includes("object") && isMap(value)) return { value };
    if (field.types.includes("array") && Array.isArray(value)) return { value };
    return field.types.some((type) => type !== "object" && type !== "array") ? { value } : { fault: field.types.includes("array") ? texts.writeList : texts.writeMap };
  } catch {
    return { fault: texts.notYaml };
  }
}
