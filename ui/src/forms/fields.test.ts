import { expect, test } from "vitest";
import { inputFields, textOf, valueOf } from "./fields";

const fields = inputFields({
  region: { type: "string", enum: ["eu", "us"], default: "eu" },
  limit: { type: "integer", minimum: 1, maximum: 10 },
  dry: { type: "boolean", required: false },
  tags: { type: "array" },
  day: { type: "string", format: "date" },
  any: {},
});
const [region, limit, dry, tags, day, any] = fields;

test("inputs become fields that fit their types", () => {
  expect([region, limit, dry, tags, day, any].map((field) => field!.kind)).toEqual(["choice", "number", "boolean", "structure", "date", "structure"]);
  expect([region, limit, dry].map((field) => field!.isRequired)).toEqual([false, true, false]);
});

test("what is typed becomes a value of the type, or a fault", () => {
  expect(valueOf(limit!, "7")).toEqual({ value: 7 });
  expect(valueOf(limit!, "7.5")).toEqual({ fault: "This is not a whole number" });
  expect(valueOf(limit!, "11")).toEqual({ fault: "At most 10" });
  expect(valueOf(limit!, "x")).toEqual({ fault: "This is not a number" });
  expect(valueOf(limit!, "")).toEqual({ value: undefined });
  expect(valueOf(dry!, "false")).toEqual({ value: false });
  expect(valueOf(tags!, "[a, 1]")).toEqual({ value: ["a", 1] });
  expect(valueOf(tags!, "a: 1")).toEqual({ fault: "Write a list: [a, b]" });
  expect(valueOf(tags!, "[")).toEqual({ fault: "This is not valid JSON or YAML" });
  expect(valueOf(any!, '{"a": null}')).toEqual({ value: { a: null } });
});

test("a number that JSON cannot hold is no number", () => {
  const [amount] = inputFields({ amount: { type: "number" } });
  for (const text of ["1e999", "-1e999", "Infinity", "NaN"]) expect(valueOf(amount!, text)).toEqual({ fault: "This is not a number" });
  expect(valueOf(amount!, "1e300")).toEqual({ value: 1e300 });
});

test("a value is shown as it can be typed again", () => {
  for (const value of [["a", 1], { a: { b: [1] } }, 3, true, "text"]) expect(valueOf(any!, textOf(any!, value))).toEqual({ value });
});

test("there are no fields for a flow without inputs", () => {
  expect(inputFields(undefined)).toEqual([]);
  expect(inputFields([1])).toEqual([]);
});
