import { expect, test } from "vitest";
import { hoverAt } from "./hover";
import { FlowSchema } from "./schema";
import fixture from "./schema.fixture.json";

const schema = new FlowSchema(fixture);
const FLOW = "nodes:\n  a:\n    type: approval\n    params:\n      prompt: x\n    timeout: 1d\n";

function at(word: string) {
  return hoverAt(FLOW, FLOW.indexOf(word) + 2, schema);
}

test("a key says what it is for", () => {
  expect(at("timeout")).toMatchObject({ title: "timeout", text: "How long one attempt may take." });
  expect(at("prompt")?.title).toBe("prompt");
});

test("a node type says what it does", () => {
  expect(at("approval")?.text).toContain("Waits for an approval");
});

test("the name of a node and a text say nothing", () => {
  expect(hoverAt(FLOW, FLOW.indexOf("x\n"), schema)).toBeNull();
  expect(hoverAt("# note", 3, schema)).toBeNull();
});
