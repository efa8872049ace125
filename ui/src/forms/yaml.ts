/** What people type as JSON or YAML. */
import { parse } from "yaml";

/** Return the value of a text; whole numbers beyond those of JavaScript keep their digits. Raises: Error: It is neither JSON nor YAML. */
export function readYaml(text: string): unknown {
  return parse(text, (_, value: unknown) => (typeof value === "bigint" && Number.isSafeInteger(Number(value)) ? Number(value) : value), { logLevel: "error", intAsBigInt: true }) as unknown;
}
