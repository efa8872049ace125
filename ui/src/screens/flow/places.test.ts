import { expect, test } from "vitest";
import { Drafts } from "../../app/drafts";
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

test("a draft is kept until it is forgotten", () => {
  const stored = new Map<string, string>();
  const drafts = new Drafts({ getItem: (key) => stored.get(key) ?? null, setItem: (key, value) => void stored.set(key, value), removeItem: (key) => void stored.delete(key) });
  const draft = { text: "a", etag: '"1"', revision: 1, at: "2026-01-01T00:00:00Z" };
  expect(drafts.keep("w.f", draft)).toBe(true);
  expect(drafts.load("w.f")).toEqual(draft);
  drafts.forget("w.f");
  expect(drafts.load("w.f")).toBeUndefined();
  stored.set("flowrunner.draft.w.f", "{broken");
  expect(drafts.load("w.f")).toBeUndefined();
});

test("a draft for which there is no room is not kept", () => {
  const full = new Drafts({ getItem: () => null, setItem: () => { throw new Error("QuotaExceededError"); }, removeItem: () => {} });
  expect(full.keep("k", { text: "", etag: "", revision: 0, at: "" })).toBe(false);
});
