import { expect, test } from "vitest";
import { isOwnPlace } from "./places";

test("a place in another node than the step is in the document of a sub-flow", () => {
  const push = "nodes.both.branches.left.nodes.push.output";
  for (const [path, step] of [[push, "both.1[left]/push.2"], [push, "both.1"], ["nodes.each.nodes.push.params.script", "each.1[4]/push.1"], ["hooks.prep", "go.1"]] as const) {
    expect(isOwnPlace(path, step), `${path} ${step}`).toBe(true);
  }
  for (const step of ["both.1[right]/push.1", "call.1", "pus.1"]) expect(isOwnPlace(push, step), step).toBe(false);
});
