import { expect, test } from "vitest";
import { expressionOf, member } from "./paths";

test.each([
  [["nodes", "x", "result", "a", 0], "nodes.x.result.a[0]"],
  [["nodes", "push-all", "result"], 'nodes["push-all"].result'],
  [["input", "a b", "", "1st"], 'input["a b"][""]["1st"]'],
  [["input", 'say "hi"\n', "}"], 'input["say \\"hi\\"\\n"]["}"]'],
  [["input", "$ok_1", "ß"], 'input.$ok_1["ß"]'],
])("%j is %s", ([root, ...keys], path) => {
  expect(keys.reduce<string>(member, root as string)).toBe(path);
});

test("the path of a value that is read gives the value", () => {
  const keys = ["a", "b-c", '"', "\\", "\u2028", "${x}", "0"];
  const value = keys.reduceRight<unknown>((inner, key) => ({ [key]: [inner] }), "found");
  const path = keys.reduce((outer, key) => member(member(outer, key), 0), "input");
  expect(new Function("input", `return ${path}`)(value)).toBe("found");
  expect(expressionOf("input.a")).toBe("${input.a}");
});
