import { expect, test } from "vitest";
import { parse } from "yaml";
import cases from "./agents.fixture.json";
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
  expect(graph.nodes.find(({ id }) => id === "tell")!.role).toBe("failure");
  expect(graph.nodes.find(({ id }) => id === "each/both[right]/b")!.keys).toEqual(["nodes", "each", "nodes", "both", "branches", "right", "nodes", "b"]);
});

test.each(["", "a: 1", "nodes: text", "nodes: [1]", "- 1"])("a document without nodes (%s) has no graph", (text) => {
  expect(graphOf(parse(text))).toBeNull();
});

test("what runs aside is no start, and one node may handle both ends", () => {
  const { nodes } = graphOf(parse("on_failure: end\non_finish: end\nnodes:\n  tell: {type: log}\n  ask: {type: approval, params: {notify: tell}}\n  end: {type: log}\n"))!;
  expect(nodes.map(({ id, isStart, role }) => [id, isStart, role])).toEqual([["tell", false, "notice"], ["ask", true, null], ["end", false, "both"]]);
});

test("a start that no node has begins no graph, whatever objects have of their own", () => {
  expect(graphOf(parse("start: toString\nnodes: {a: {type: log}}"))!.nodes.map(({ id, isStart }) => [id, isStart])).toEqual([["a", true]]);
});

test.each(["nodes: {a: }", "nodes: {a: {next: [b]}, b: 1}", "nodes: {a: {type: 3, nodes: {x: {}}, branches: {l: 1}}}"])("a half-written document (%s) has a graph", (text) => {
  expect(graphOf(parse(text))!.nodes.length).toBeGreaterThan(0);
});

test("inside an agent are its question and the tools that the document names, half-written ones left out", () => {
  const { nodes, parts, edges } = graphOf(parse(`nodes:
  answer:
    type: agent
    next: end
    params:
      tools:
        - {name: orders, http.request: {url: /orders}}
        - {flow: Find an order}
        - {mcp: {url: /mcp, tools: [search, orders]}}
        - {description: nothing yet}
        - text
  end: {type: return}
`))!;
  expect(nodes.map(({ id }) => id)).toEqual(["answer", "end"]);
  expect(parts.map(({ id, type }) => `${id} ${type}`)).toEqual(["answer/ask llm", "answer/orders http.request", "answer/Find_an_order flow", "answer/list 2 mcp", "answer/search mcp", "answer/orders_2 mcp"]);
  expect(parts.find(({ label }) => label === "search")!.keys).toEqual(["nodes", "answer", "params", "tools", 2, "mcp", "tools", 0]);
  expect(edges.map(({ source, target }) => `${source} > ${target}`)).toEqual(["answer > end", "answer/ask > answer/orders", "answer/ask > answer/Find_an_order", "answer/list 2 > answer/ask", "answer/ask > answer/search", "answer/ask > answer/orders_2"]);
  expect(graphOf(parse("nodes: {a: {type: agent, params: {tools: 3}}}"))!.parts.map(({ id }) => id)).toEqual(["a/ask"]);
});

// A test of the language reads the same cases.
test.each(cases)("inside an agent with $case are the nodes that the language makes", ({ params, nodes }) => {
  const { parts, edges } = graphOf({ nodes: { a: { type: "agent", params } } })!;
  expect(parts.map(({ type, label }) => `${type} ${label}`)).toEqual(nodes);
  expect(edges).toHaveLength(nodes.length - 1);
});
