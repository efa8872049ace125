import { expect, test } from "vitest";
import { lengthOf } from "./retention";

test.each([
  [null, undefined, 86_400],
  [2_592_000, 30, 86_400],
  [5400, 90, 60],
  [301, 301, 1],
])("%s seconds are %s times %s", (seconds, number, unit) => {
  expect(lengthOf(seconds)).toEqual({ number, unit });
});
