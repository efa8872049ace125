import { expect, test } from "vitest";
import { localMinute } from "./period";

test("a moment is the minute of the reader's zone, and nothing is nothing", () => {
  const moment = new Date(2026, 2, 3, 4, 5, 59);

  expect(localMinute(moment.toISOString())).toBe("2026-03-03T04:05");
  expect([localMinute(undefined), localMinute("soon")]).toEqual(["", ""]);
});
