/** Configuration values as people write them: JSON if it is JSON, and text if not. */

import { parseJson } from "../api/json";

export type Kind = "string" | "number" | "boolean" | "list" | "map" | "none";

/** Return the value that a text stands for. */
export function valueOf(text: string): unknown {
  try {
    return parseJson(text);
  } catch {
    return text;
  }
}

/** Return the text that stands for a value: without quotes if it is text that is not JSON. */
export function textOf(value: unknown): string {
  // A field for text makes one line break of a carriage return.
  if (typeof value === "string" && valueOf(value) === value && !value.includes("\r")) return value;
  return typeof value === "object" ? JSON.stringify(value, null, 2) : JSON.stringify(value);
}

export function kindOf(value: unknown): Kind {
  if (value === null) return "none";
  if (Array.isArray(value)) return "list";
  if (typeof value === "bigint") return "number";
  return typeof value === "object" ? "map" : (typeof value as Kind);
}
