import { expect, test } from "vitest";
import { parse } from "yaml";
import { graphOf, isMap } from "../graph/document";
import { diffGraphs, type Version } from "./graphs";

function version(text: string): Version {
  const value = parse(text) as Record<string, Record<string, unknown>>;
  return { graph: graphOf(value)!, valueOf: ({ label }) => (isMap(value.nodes) ? value.nodes[label] : undefined) };
}

test("a graph of two revisions shows what was added, removed and changed", () => {
  const before = version("nodes: {a: {type: log, next: b}, b: {type: log, next: c}, c: {type: fail}}");
  const after = version("nodes: {a: {type: log, next: d}, d: {type: set, next: c}, c: {type: fail}}");
  const { graph, marks, added, removed, changed } = diffGraphs(before, after);
  expect(Object.fromEntries(marks)).toEqual({ a: "changed", d: "added", b: "removed" });
  expect([added, removed, changed]).toEqual([1, 1, 1]);
  expect(graph.edges.map(({ source, target }) => source + target)).toEqual(["ad", "dc", "ab", "bc"]);
});

test("equal revisions have no marks", () => {
  const same = version("nodes: {a: {type: log}}");
  expect(diffGraphs(same, same).marks.size).toBe(0);
});
