import { expect, test } from "vitest";
import { fieldsOf, readAnswer } from "./form";

test("a field whose name all objects have is at fault only if something is wrong with it", () => {
  const fields = fieldsOf({ properties: { constructor: { type: "string" }, ["__proto__"]: { type: "integer" } }, required: ["constructor"] });
  const { data, faults } = readAnswer(fields, { constructor: "a", ["__proto__"]: "2" }, true);
  expect([Object.entries(data), ["constructor", "__proto__"].map((key) => faults.get(key))]).toEqual([[["constructor", "a"], ["__proto__", 2]], [undefined, undefined]]);
  expect([...readAnswer(fields, { constructor: "", ["__proto__"]: "x" }, true).faults.keys()]).toEqual(["constructor", "__proto__"]);
  expect(readAnswer(fields, { constructor: "", ["__proto__"]: "" }, false).faults.size).toBe(0);
});
