import { expect, test } from "vitest";
import { parse } from "yaml";
import { applyChange, setIn } from "../../editor/edits";
import { FlowSchema } from "../../editor/schema";
import fixture from "../../editor/schema.fixture.json";
import { fieldsOfItem, newItem, partedFields } from "./items";

const schema = new FlowSchema(fixture);
const AT = ["nodes", "a", "params"];

function flow(type: string, params: unknown) {
  return { nodes: { a: { type, params } } };
}

test.each([["foreach", "items"], ["http.request", "body"], ["transform", "value"], ["return", "value"]])("the maps of %s %s are no form, because nothing names their fields", (type, name) => {
  expect(fieldsOfItem(schema, [...AT, name, 0], flow(type, { [name]: [{ order: "A", amount: 5 }] }))).toEqual([]);
});

test("the form of an item has the fields that it may have, and whatever else is written in it", () => {
  const item = { role: "user", content: "a", mine: 1 };
  const { written, left } = partedFields(schema, [...AT, "messages", 0], flow("llm", { messages: [item] }), item);
  expect(written.map(({ name }) => name).sort()).toEqual(["content", "mine", "role"]);
  expect(left.map(({ name }) => name)).not.toContain("role");
});

test.each(["tools:\n  - {name: old, flow: f}\n", "tools: []\n", "model: m\n"])("tools that are added one after the other to %j have different names", (text) => {
  const before = (parse(text) as { tools?: { name: string }[] }).tools ?? [];
  for (let i = 0; i < 3; i++) {
    const { tools } = parse(text) as { tools?: unknown[] };
    text = applyChange(text, setIn(text, ...newItem("tools", ["tools"], tools))!);
  }
  expect((parse(text) as { tools: { name: string }[] }).tools.map(({ name }) => name)).toEqual([...before.map(({ name }) => name), "new_tool", "new_tool_2", "new_tool_3"]);
});
