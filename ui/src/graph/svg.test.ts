import { expect, test } from "vitest";
import { layoutGraph } from "./layout";
import { svgOf } from "./svg";

test("a picture for documents has every node and line, and names as text", () => {
  const node = (id: string) => ({ id, label: id, type: "log", parent: null, branch: null, isStart: false });
  const svg = svgOf(layoutGraph({ nodes: [node("<b>&"), node("end")], edges: [{ source: "<b>&", target: "end", action: "big" }, { source: "<b>&", target: "end", action: "error" }] }));
  expect(svg).toContain("&lt;b&gt;&amp;</text>");
  expect(svg).toContain(">big, error</text>");
  expect(svg.match(/marker-end/g)).toHaveLength(1);
  expect(svg).not.toMatch(/NaN|undefined/);
});

test("a long name is cut where its box ends, between letters", () => {
  const name = (label: string) => svgOf(layoutGraph({ nodes: [{ id: "a", label, type: "", parent: null, branch: null, isStart: true }], edges: [] })).match(/600">(.*?)</)![1];
  expect(name("x".repeat(20))).toBe("x".repeat(20));
  expect(name("x".repeat(21))).toBe(`${"x".repeat(19)}…`);
  expect(name("名".repeat(10))).toBe("名".repeat(10));
  expect(name("🚀".repeat(11))).toBe(`${"🚀".repeat(9)}…`);
});
