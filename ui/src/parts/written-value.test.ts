import { expect, it } from "vitest";
import { kindOf, textOf, valueOf } from "./written-value";

it.each([
  ["#orders", "#orders", "string"],
  ["500", 500, "number"],
  ['"500"', "500", "string"],
  ["12345678901234567890", 12345678901234567890n, "number"],
  ["true", true, "boolean"],
  ["[1", "[1", "string"],
  ['"a\\r\\nb"', "a\r\nb", "string"],
  ["", "", "string"],
  ["null", null, "none"],
  ['{\n  "a": [\n    1\n  ]\n}', { a: [1] }, "map"],
  ["[]", [], "list"],
])("reads %o as it was written, and writes it so again", (text, value, kind) => {
  expect(valueOf(text)).toEqual(value);
  expect(kindOf(value)).toBe(kind);
  expect(textOf(value)).toBe(text);
});
