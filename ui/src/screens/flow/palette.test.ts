import { expect, test } from "vitest";
import type { NodeType } from "./language";
import { matching } from "./palette";

const TYPES = [
  ["wait", "Waits for a signal; action timeout if none arrives."],
  ["return", "Ends the flow. Inside a loop it ends that round."],
  ["foreach", "Runs the nodes inside once for each element of a list."],
  ["http.request", "Sends a request and returns the answer."],
  ["switch", "Ends with the action of the first case that is true."],
  ["transform", "Returns a value built from others."],
].map(([name, description]) => ({ name, description }) as NodeType);

test("a node type is found by the words that other systems have for it", () => {
  const first = (text: string) => matching(TYPES, text)[0]?.name;
  expect(["if", "loop", "Slack", "code", "java"].map(first)).toEqual(["switch", "foreach", "http.request", "transform", "transform"]);
  expect(first("switch off")).toBeUndefined();
});
