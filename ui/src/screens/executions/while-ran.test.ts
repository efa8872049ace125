import { expect, test } from "vitest";
import { whileRan } from "./while-ran";

test("what was started in the last millisecond of a job is shown", () => {
  const job = { created_at: "2027-01-31T12:00:00.000Z", completed_at: "2027-01-31T12:00:01.999Z" };

  expect(whileRan(job)).toEqual({ since: job.created_at, until: "2027-01-31T12:00:02.000Z" });
});

test("a job that runs has no end yet", () => {
  expect(whileRan({ created_at: "2027-01-31T12:00:00.000Z" }).until).toBeUndefined();
});
