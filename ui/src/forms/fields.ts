/** Fields of a form, made from a JSON Schema, and what people type in them as values. */
import { stringify } from "yaml";
import { numberOf } from "../api/json";
import { isMap } from "../graph/document";
import { forms as texts } from "../texts/forms";
import { visible } from "../parts/visible";
import { choicesOf, describe, type Applied } from "../editor/schema";
import { readYaml } from "./yaml";

export type FieldKind = "text" | "lines" | "number" | "boolean" | "choice" | "date" | "structure";

export interface FormField {
  readonly name: string;
  /** What people read in place of the name. */
  readonly title?: string;
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
  /** The form of the text, such as "date-time". */
  readonly format: string | undefined;
}

/** Characters above which a text is written in several lines, as on the page of an approval's link. */
const LONG_TEXT = 200;
// A type that takes all of these turns what is no text into text.
const EVERYTHING = ["string", "number", "boolean", "object", "array"];

/** Return the field for a value. Args: applied: The schemas that apply to it. */
export function fieldOf(name: string, applied: Applied, isRequired: boolean, takesExpression: boolean): FormField {
  const types = [...new Set(applied.filter((each) => !isExpression(each)).flatMap(typesIn))].filter((type) => type !== "null");
  const enumerated = applied.flatMap((each) => (Array.isArray(each.enum) ? each.enum.filter((choice) => choice !== null).map(String) : []));
  const choices = enumerated.length > 0 ? enumerated : takesExpression ? choicesOf(applied).map(({ value }) => value) : [];
  const number = (key: string) => applied.map((each) => each[key]).find((value) => typeof value === "number");
  return {
    name,
    kind: kindOf(name, types, applied),
    isRequired,
    description: describe(applied),
    choices,
    default: applied.find((each) => each.default !== undefined && each.default !== null)?.default,
    isInteger: types.includes("integer") && !types.includes("number"),
    minimum: number("minimum"),
    maximum: number("maximum"),
    takesExpression,
    types,
    format: applied.map(({ format }) => format).find((format) => typeof format === "string"),
  };
}

function typesIn({ type }: Applied[number]): string[] {
  return (Array.isArray(type) ? type : type === undefined ? [] : [type]).map(String);
}

/** Return true for the alternative that lets an expression stand for the value. */
function isExpression({ pattern }: Applied[number]): boolean {
  return pattern === "\\$\\{";
}

function kindOf(name: string, types: readonly string[], applied: Applied): FieldKind {
  const isListed = applied.some(({ enum: listed }) => Array.isArray(listed));
  // One more alternative, such as a number beside two words, is typed.
  if (isListed && applied.every((each) => Array.isArray(each.enum) || isExpression(each) || typesIn(each).length === 0)) return "choice";
  if (EVERYTHING.every((type) => types.includes(type))) return "lines";
  if (types.includes("object") || types.includes("array")) return "structure";
  if (types.length === 0) return /(^|_)script$/.test(name) ? "lines" : "structure";
  if (types.every((type) => type === "boolean")) return "boolean";
  if (types.every((type) => type === "number" || type === "integer")) return "number";
  if (applied.some(({ format }) => format === "date")) return "date";
  const isLong = applied.some(({ maxLength }) => typeof maxLength === "number" && maxLength > LONG_TEXT);
  return isLong || ["script", "body", "prompt", "template", "query"].includes(name) ? "lines" : "text";
}

/** Return the fields of a flow's `inputs`: a JSON Schema for each name, required unless it has a default. */
export function inputFields(inputs: unknown): FormField[] {
  if (!isMap(inputs)) return [];
  return Object.entries(inputs).map(([name, schema]) => {
    const own = isMap(schema) ? schema : {};
    const isRequired = own.required !== false && !("default" in own);
    return { ...fieldOf(name, [own], isRequired, false), title: titleOf(name, own) };
  });
}

/** Return the title of a schema, or its name. */
export function titleOf(name: string, { title }: Readonly<Record<string, unknown>>): string {
  return visible((typeof title === "string" && title.trim()) || name);
}

/** Return how a value is shown in its field. */
export function textOf(field: FormField, value: unknown): string {
  if (value === undefined) return "";
  if (typeof value === "string" && (field.kind !== "structure" || (value.includes("${") && isReadAs(field, value)))) return value;
  if (field.kind === "structure") return stringify(value, { lineWidth: 0 }).trimEnd();
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** Return true if a text, typed without quotes, is that text. */
function isReadAs(field: FormField, text: string): boolean {
  const typed = valueOf(field, text);
  return "value" in typed && typed.value === text;
}

export type Typed = { readonly value: unknown } | { readonly fault: string };

/** Return the value that was typed; undefined for an empty field. */
export function valueOf(field: FormField, text: string): Typed {
  if (text.trim() === "") return { value: field.kind === "text" && text !== "" ? text : undefined };
  if (field.takesExpression && field.kind !== "structure" && text.includes("${")) return { value: text };
  switch (field.kind) {
    case "boolean":
      return { value: text === "true" };
    case "number": {
      const number = Number(text);
      if (!Number.isFinite(number)) return { fault: texts.notANumber };
      if (field.isInteger && !Number.isInteger(number)) return { fault: texts.notWhole };
      if (field.minimum !== undefined && number < field.minimum) return { fault: texts.atLeast(field.minimum) };
      if (field.maximum !== undefined && number > field.maximum) return { fault: texts.atMost(field.maximum) };
      return { value: numberOf(text.trim()) };
    }
    case "structure":
      return structure(field, text);
    case "choice":
      return { value: field.types.length > 0 && !field.types.includes("string") ? readYaml(text) : text };
    case "text":
      return { value: scalar(field, text) };
    default:
      return { value: text };
  }
}

/** A number of JSON, as commands read it too: "007" is text. */
const NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/;

/** Return true, false or a number if that was typed and the type takes it beside text. */
function scalar({ types }: FormField, text: string): unknown {
  if (types.includes("boolean") && (text === "true" || text === "false")) return text === "true";
  const isNumber = (types.includes("number") || (types.includes("integer") && /^-?\d+$/.test(text))) && NUMBER.test(text);
  return isNumber && Number.isFinite(Number(text)) ? numberOf(text) : text;
}

/** The beginning of a map, a list, or a text in quotes. */
const WRITTEN = /^\s*([[{"'|>]|- |[^\s:]+:(\s|$))/;
const QUOTED = /^\s*["'|>]/;

function structure(field: FormField, text: string): Typed {
  const isTemplate = field.takesExpression && text.includes("${");
  // One expression is the value itself.
  if (isTemplate && text.trimStart().startsWith("${")) return { value: text };
  let value: unknown;
  try {
    value = readYaml(text);
  } catch {
    return isTemplate && !WRITTEN.test(text) ? { value: text } : { fault: texts.notYaml };
  }
  if (isTemplate && typeof value === "string") return { value: QUOTED.test(text) ? value : text };
  // Keys take no expressions: "Order ${input.id}: paid" is a text.
  if (isTemplate && isMap(value) && Object.keys(value).some((key) => key.includes("${"))) return { value: text };
  if (field.types.length === 0 || field.types.includes("string")) return { value };
  if (field.types.includes("object") && isMap(value)) return { value };
  if (field.types.includes("array") && Array.isArray(value)) return { value };
  return field.types.some((type) => type !== "object" && type !== "array") ? { value } : { fault: field.types.includes("array") ? texts.writeList : texts.writeMap };
}
