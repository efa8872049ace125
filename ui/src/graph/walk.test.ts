import { expect, test } from "vitest";
import { layoutGraph } from "./layout";
import type { GraphNode } from "./model";
import { walk, type Step } from "./walk";

function node(id: string, parent: string | null = null, isStart = false): GraphNode {
  return { id, label: id, type: "log", parent, branch: null, isStart };
}

const layout = layoutGraph({
  nodes: [node("a", null, true), node("b"), node("c"), node("each"), node("each/x", "each", true), node("each/y", "each"), node("end"), node("sorry")],
  edges: [
    { source: "a", target: "b", action: "left" },
    { source: "a", target: "c", action: "right" },
    { source: "b", target: "each", action: "default" },
    { source: "c", target: "each", action: "default" },
    { source: "each/x", target: "each/y", action: "default" },
    { source: "each", target: "end", action: "default" },
    { source: "a", target: "sorry", action: "error" },
    { source: "end", target: "a", action: "again" },
  ],
});

function path(from: string, ...steps: Step[]): string[] {
  return steps.map((step) => (from = walk(layout, from, step)));
}

test("down follows the links, into loops and out of them", () => {
  const [first, ...rest] = path("a", "down", "down", "down", "down", "down", "down");
  expect(["b", "c"]).toContain(first);
  expect(rest).toEqual(["each", "each/x", "each/y", "end", "end"]);
});

test("up leads back to the start of a loop, to its node, and to the start", () => {
  expect(path("each/y", "up", "up", "up").slice(0, 2)).toEqual(["each/x", "each"]);
  expect(path("b", "up", "up")).toEqual(["a", "a"]);
});

test("left and right stay within the row", () => {
  expect(path("b", "right", "left", "left")).toEqual(["c", "b", "b"]);
});

test("home is the start and end the last row", () => {
  expect(path("each/y", "first", "last")).toEqual(["a", "end"]);
});

test("a node that is gone leads to the start", () => {
  expect(path("gone", "down")).toEqual(["a"]);
});
