import { expect, test } from "vitest";
import { diffLines } from "../diff/lines";
import { linePairs, pairToCompare, type Attempt } from "./attempts";

const failed = (attempt: number, message: string, data?: unknown): Attempt => ({ attempt, status: "failed", started_at: "2027-01-31T12:00:00.000Z", error: { type: "http.503", message, ...(data === undefined ? {} : { data }) } });

test("the last two attempts that ended in different ways are compared", () => {
  expect(pairToCompare([failed(1, "a"), failed(2, "b"), failed(3, "b"), failed(4, "b")])).toEqual([0, 1]);
  expect(pairToCompare([failed(1, "a"), failed(2, "b"), failed(3, "b", { n: 1 })])).toEqual([1, 2]);
  expect(pairToCompare([failed(1, "a", { n: 1, headers: { date: 1 } }), failed(2, "a", { n: 2, headers: { date: 2 } }), failed(3, "a", { n: 2, headers: { date: 3 } })])).toEqual([0, 1]);
  expect(pairToCompare([failed(1, "a"), { ...failed(2, "a"), status: "completed", error: undefined }])).toEqual([0, 1]);
  expect(pairToCompare([failed(1, "a"), failed(2, "a"), failed(3, "a")])).toEqual([1, 2]);
  expect(pairToCompare([failed(1, "a")])).toEqual([0, 0]);
});

test("what was replaced is next to what replaces it", () => {
  const pairs = linePairs(diffLines(["a", "b", "c", "d"], ["a", "x", "d", "e", "f"]));
  expect(pairs).toEqual([
    { left: "a", right: "a" },
    { left: "b", right: "x" },
    { left: "c", right: null },
    { left: "d", right: "d" },
    { left: null, right: "e" },
    { left: null, right: "f" },
  ]);
  expect(linePairs([{ kind: "removed", text: "a", before: 1, after: null }, 7, { kind: "added", text: "b", before: null, after: 9 }])).toEqual([{ left: "a", right: null }, 7, { left: null, right: "b" }]);
});
