import { expect, test } from "vitest";
import { parse } from "yaml";
import { graphOf } from "./document";

const FLOW = `
on_failure: tell
nodes:
  fetch: {type: http.request, next: {default: each, error: sorry}}
  each:
    type: foreach
    nodes:
      push: {type: http.request, next: both}
      both:
        type: parallel
        branches:
          left: {nodes: {a: {type: log}}}
          right: {nodes: {a: {type: log, next: b}, b: {type: log}}}
  sorry: {type: fail}
  tell: {type: webhook}
`;

test("the graph of a document has the paths that the API uses", () => {
  const graph = graphOf(parse(FLOW))!;
  expect(graph.nodes.map(({ id, parent, branch }) => [id, parent, branch])).toEqual([
    ["fetch", null, null],
    ["each", null, null],
    ["each/push", "each", null],
    ["each/both", "each", null],
    ["each/both[left]/a", "each/both", "left"],
    ["each/both[right]/a", "each/both", "right"],
    ["each/both[right]/b", "each/both", "right"],
    ["sorry", null, null],
    ["tell", null, null],
  ]);
  expect(graph.edges).toEqual([
    { source: "fetch", target: "each", action: "default" },
    { source: "fetch", target: "sorry", action: "error" },
    { source: "each/push", target: "each/both", action: "default" },
    { source: "each/both[right]/a", target: "each/both[right]/b", action: "default" },
  ]);
  expect(graph.nodes.filter(({ isStart }) => isStart).map(({ id }) => id)).toEqual(["fetch", "each/push", "each/both[left]/a", "each/both[right]/a"]);
  expect(graph.nodes.find(({ id }) => id === "tell")!.role).toBe("on_failure");
  expect(graph.nodes.find(({ id }) => id === "each/both[right]/b")!.keys).toEqual(["nodes", "each", "nodes", "both", "branches", "right", "nodes", "b"]);
});

test.each(["", "a: 1", "nodes: text", "nodes: [1]", "- 1"])("a document without nodes (%s) has no graph", (text) => {
  expect(graphOf(parse(text))).toBeNull();
});

test.each(["nodes: {a: }", "nodes: {a: {next: [b]}, b: 1}", "nodes: {a: {type: 3, nodes: {x: {}}, branches: {l: 1}}}"])("a half-written document (%s) has a graph", (text) => {
  expect(graphOf(parse(text))!.nodes.length).toBeGreaterThan(0);
});
