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
