import { expect, test } from "vitest";
import { nodeAt, nodeOfPath, readFlow } from "./places";

const TEXT = `nodes:
  fetch: {type: log, next: each}
  each:
    type: foreach
    nodes:
      push:
        type: log
    params: {items: []}
`;

test("the node at the cursor is the innermost one", () => {
  const reading = readFlow(TEXT)!;
  const at = (word: string) => nodeAt(reading, TEXT.indexOf(word))?.id;
  expect([at("fetch"), at("next"), at("each:"), at("foreach"), at("push"), at("items")]).toEqual(["fetch", "fetch", "each", "each", "each/push", "each"]);
  expect(nodeAt(reading, 2)).toBeUndefined();
});

test("a fault belongs to the innermost node of its path", () => {
  const { graph } = readFlow(TEXT)!;
  expect(nodeOfPath(graph, "nodes.each.nodes.push.params")?.id).toBe("each/push");
  expect(nodeOfPath(graph, "nodes.each.params")?.id).toBe("each");
  expect(nodeOfPath(graph, "inputs.x")).toBeUndefined();
});

test("a text with syntax errors is read as far as possible", () => {
  expect(readFlow("nodes:\n  a: {type: log}\n  b: [\n")).toMatchObject({ hasErrors: true });
  expect(readFlow("nodes")).toBeNull();
});

test("the text that was read last is not read again", () => {
  const text = "nodes: {a: {type: log, next: b}, b: {type: log}}";
  const reading = readFlow(text);

  expect(reading?.graph.nodes.map(({ id }) => id)).toEqual(["a", "b"]);
  expect(readFlow(text)).toBe(reading);
  expect(readFlow(`${text}\n`)).not.toBe(reading);
});

test("the cursor in a tool of an agent is at that tool", () => {
  const text = "nodes:\n  a:\n    type: agent\n    params:\n      prompt: hi\n      tools:\n        - name: one\n          http.request: {url: /x}\n        - mcp: {url: /m, tools: [two]}\n";
  const reading = readFlow(text)!;
  const at = (word: string) => nodeAt(reading, text.indexOf(word))?.id;
  expect([at("prompt"), at("name: one"), at("/x"), at("/m"), at("two")]).toEqual(["a", "a/one", "a/one", "a/list 1", "a/two"]);
  expect(nodeOfPath(reading.graph, "nodes.a.params.tools.0.http.request.url")?.id).toBe("a/one");
});
