import { expect, test } from "vitest";
import { readFlow } from "./places";

test("the text that was read last is not read again", () => {
  const text = "nodes: {a: {type: log, next: b}, b: {type: log}}";
  const reading = readFlow(text);

  expect(reading?.graph.nodes.map(({ id }) => id)).toEqual(["a", "b"]);
  expect(readFlow(text)).toBe(reading);
  expect(readFlow(`${text}\n`)).not.toBe(reading);
});
